//! A profile of the AWS shared files.

pub(crate) mod build;
pub(crate) mod dependencies;
pub(crate) mod files;
pub(crate) mod plan;

use std::path::PathBuf;

use crate::aws::settings::Settings;
use crate::context::Context;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::outcome::Lookup;
use crate::model::outcome::TraceStep;
use crate::model::text::Escaped;
use crate::shared_config::locate::NamedPaths;
use crate::shared_config::property::{Property, Section};
use crate::shared_config::{SharedConfig, render};
use crate::source::profile::files::{ProfileFiles, digest};
use crate::source::spec::{SourceKind, SourceSpec};
use crate::source::{BoxFuture, Source};

const DEFAULT: &str = "default";

const REGION: &str = "region";

/// The credentials of a profile in `~/.aws/credentials` and `~/.aws/config`, or wherever `AWS_SHARED_CREDENTIALS_FILE`,
/// `AWS_CONFIG_FILE` and `AWS_SHARED_CONFIG_FILE` point.
///
/// Whatever the profile says is done, as the SDKs do it: keys, a role over another profile, web identity, SSO, a process.
/// The files are read through the [`Context`], once per change however many sources look at them.
///
/// ```
/// use credenza::{ConfigCredentials, Context, Lookup, Source};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let (config, credentials) = (folder.path().join("config"), folder.path().join("credentials"));
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// std::fs::write(&config, "[profile dev]\nregion = eu-west-1\n").unwrap();
/// std::fs::write(&credentials, "[dev]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = secret\n").unwrap();
/// let source = ConfigCredentials::new().profile("dev").config_file(config).credentials_file(credentials);
/// let Lookup::Found(credentials) = source.load(&Context::from_environment()).await else { panic!() };
/// assert_eq!(&*credentials.access_key_id, "AKIAEXAMPLE");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct ConfigCredentials {
    /// `profile`, with the name where one was given.
    name: Box<str>,
    profile: Option<Box<str>>,
    credentials_file: Option<PathBuf>,
    config_file: Option<PathBuf>,
}

impl Default for ConfigCredentials {
    fn default() -> Self {
        Self { name: "profile".into(), profile: None, credentials_file: None, config_file: None }
    }
}

impl ConfigCredentials {
    /// The profile that `AWS_PROFILE` or `AWS_DEFAULT_PROFILE` names, else `default`, in the files of the user.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This profile, whatever `AWS_PROFILE` and `AWS_DEFAULT_PROFILE` say. It has to exist.
    #[must_use]
    pub fn profile(mut self, profile: &str) -> Self {
        self.name = format!("profile {}", Escaped(profile)).into();
        self.profile = Some(profile.into());
        self
    }

    /// This credentials file. It has to exist.
    #[must_use]
    pub fn credentials_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials_file = Some(path.into());
        self
    }

    /// This config file. It has to exist.
    #[must_use]
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config_file = Some(path.into());
        self
    }

    /// What somebody wrote down, each part or none.
    #[must_use]
    pub(crate) fn of(
        profile: Option<Box<str>>,
        credentials_file: Option<PathBuf>,
        config_file: Option<PathBuf>,
    ) -> Self {
        let mut source = Self { credentials_file, config_file, ..Self::default() };
        if let Some(profile) = profile {
            source = source.profile(&profile);
        }
        source
    }

    /// The profile that a chain names, if this is one.
    #[must_use]
    pub(crate) fn of_spec(kind: &SourceKind) -> Option<Self> {
        match kind {
            SourceKind::Profile { name, credentials_file, config_file } => {
                Some(Self::of(name.clone(), credentials_file.clone(), config_file.clone()))
            }
            _ => None,
        }
    }

    /// Reads the files, which are parsed once per change in this process.
    async fn open<'a>(&'a self, context: &'a Context) -> Result<OpenedProfile<'a>, SourceError> {
        let named = NamedPaths { credentials: self.credentials_file.clone(), config: self.config_file.clone() };
        let (profile, is_named) = match (&self.profile, context.environment.profile()) {
            (Some(profile), _) => (&**profile, true),
            (None, Some(profile)) => (profile, true),
            (None, None) => (DEFAULT, false),
        };
        let of = profile.to_owned();
        let digest = move |files: &SharedConfig| digest(plan::dependencies(files, &of), plan::USED);
        Ok(OpenedProfile { profiles: ProfileFiles::open(context, &named, digest).await?, profile, is_named })
    }

    /// The source that the profile comes to; what is not configured says why.
    async fn planned(&self, context: &Context) -> Result<Result<Box<dyn Source>, String>, SourceError> {
        let opened = self.open(context).await?;
        let Some(section) = opened.section()? else {
            let missing = opened.missing();
            return if opened.is_named { Err(missing) } else { Ok(Err(missing.message.into())) };
        };
        let trusted = |property: &Property| opened.profiles.trusted(context, property);
        Ok(match plan::plan(opened.profiles.files()?, section, &trusted)? {
            Some(link) => Ok(build::build(link, &opened.settings(context)?)),
            None => Err(format!(
                "profile {} says nothing about credentials; give it {}",
                Escaped(section.name()),
                plan::WAYS
            )),
        })
    }
}

impl Source for ConfigCredentials {
    fn name(&self) -> &str {
        &self.name
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            match self.planned(context).await {
                Ok(Ok(source)) => source.load(context).await,
                Ok(Err(reason)) => Lookup::not_configured(reason),
                Err(failure) => failure.into(),
            }
        })
    }

    fn region<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        Box::pin(async move {
            let opened = self.open(context).await.ok()?;
            let region = opened.section().ok()??.get(REGION)?.value().trim();
            (!region.is_empty()).then(|| region.into())
        })
    }

    fn settings<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Settings> {
        Box::pin(async move {
            let settings = self.open(context).await.and_then(|opened| match opened.section()? {
                None if opened.is_named => Err(opened.missing()),
                _ => opened.settings(context),
            });
            settings.unwrap_or_else(|failure| Settings::without_profile(&context.environment, &failure))
        })
    }

    fn trace<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, (Vec<TraceStep>, Lookup)> {
        Box::pin(async move {
            match self.planned(context).await {
                Ok(Ok(source)) => source.trace(context).await,
                Ok(Err(reason)) => (Vec::new(), Lookup::not_configured(reason)),
                Err(failure) => (Vec::new(), failure.into()),
            }
        })
    }
}

/// The files of a source and its profile in them.
struct OpenedProfile<'a> {
    profiles: ProfileFiles,
    profile: &'a str,
    is_named: bool,
}

impl OpenedProfile<'_> {
    /// A file that is being written may not have come to the profile yet.
    fn missing(&self) -> SourceError {
        let (profile, places) = (Escaped(self.profile), self.profiles.places());
        let message = format!("there is no profile {profile} in {places}; `credenza profiles` lists those that are");
        SourceError::new(ErrorKind::Unsettled, message)
    }

    fn section(&self) -> Result<Option<&Section>, SourceError> {
        Ok(self.profiles.files()?.profile(self.profile))
    }

    fn settings(&self, context: &Context) -> Result<Settings, SourceError> {
        Ok(self.profiles.settings(context, self.section()?))
    }
}

/// How each of all profiles comes by its credentials, in a few words: `role arn:… ← profile base (keys)`; what is wrong,
/// if that is it. The time is that of the text: a chain that is too long is not followed for each profile in it.
pub(crate) fn describe<'f>(
    files: &'f SharedConfig,
    trusted: &'f dyn Fn(&Property) -> Result<(), String>,
) -> impl Iterator<Item = (&'f Section, String)> {
    let mut depths = plan::Depths::new(files);
    files.profiles().filter_map(|name| files.profile(name)).map(move |section| {
        let planned = match depths.is_too_long(section) {
            true => Err(plan::too_long(section)),
            false => plan::plan(files, section, trusted),
        };
        let described = match planned {
            Ok(Some(link)) => link.to_string(),
            Ok(None) => "no credentials".into(),
            Err(failure) => format!("wrong: {failure}"),
        };
        (section, described)
    })
}

/// Settings that say where requests go and whose certificates are good there.
const DECIDING: [&str; 4] =
    ["endpoint_url", "ca_bundle", "ec2_metadata_service_endpoint", "ec2_metadata_service_endpoint_mode"];

/// The settings of the profile that a chain uses, except those about credentials and roles, as the text of a config
/// file of their own whose `[default]` they are; empty when the chain has no profile, or it does not exist.
///
/// # Errors
/// When the settings say where requests go or who may answer them (`endpoint_url`, `ca_bundle`) and the file belongs to
/// somebody who is not trusted with that, or the files cannot be read.
pub(crate) async fn settings(sources: &[SourceSpec], context: &Context) -> Result<String, SourceError> {
    let profile = sources.iter().find_map(|spec| ConfigCredentials::of_spec(&spec.kind));
    // Without a profile in the chain the settings are still those of the profile that the user works with, as far as
    // its files can be read.
    let (source, needed) = (profile.clone().unwrap_or_default(), profile.is_some());
    let opened = match source.open(context).await {
        Err(_) if !needed => return Ok(String::new()),
        opened => opened?,
    };
    let files = match opened.profiles.files() {
        Err(_) if !needed => return Ok(String::new()),
        files => files?,
    };
    let Some(section) = files.profile(opened.profile) else { return Ok(String::new()) };
    let text = render(files, section);
    if DECIDING.iter().any(|name| text.contains(name)) {
        let services = section.get("services").and_then(|name| files.services(name.value()));
        let of_services = services.into_iter().flat_map(Section::properties);
        for (name, property) in section.properties().chain(of_services) {
            let decides = |known: &&str| name == *known || property.sub_property(known).is_some();
            let Some(setting) = DECIDING.iter().find(|known| decides(known)) else { continue };
            opened.profiles.trusted(context, property).map_err(|distrust| {
                let message = format!(
                    "profile {}: it sets {setting} in line {}, and {} {distrust}",
                    Escaped(opened.profile),
                    property.line(),
                    Escaped(&property.path().to_string_lossy())
                );
                SourceError::misconfigured(message)
            })?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::http::client::HttpClient;
    use crate::login::cache::file_name;
    use crate::model::credentials::Credentials;
    use crate::os::clock::Clock;
    use crate::os::environment::Environment;
    use crate::os::files::Files;
    use ring::digest::SHA1_FOR_LEGACY_USE_ONLY;

    async fn load(
        source: &ConfigCredentials,
        config: &str,
        credentials: &str,
        variables: &[(&str, &str)],
    ) -> (Lookup, Option<Box<str>>) {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        for (name, text) in [("config", config), ("credentials", credentials)] {
            if !text.is_empty() {
                std::fs::write(home.path().join(".aws").join(name), text).unwrap();
            }
        }
        let home = ("HOME", home.path().to_str().unwrap());
        let context = Context {
            clock: crate::os::clock::Clock::system(),
            environment: Environment::new(variables.iter().copied().chain([home])),
            files: Files::unwatched(),
            ..Context::default()
        };
        (source.load(&context).await, source.region(&context).await)
    }

    /// What a profile fails with in a network without names; `@` is its home.
    async fn failure(config: &str, variables: &[(&str, &str)]) -> String {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/config"), config.replace('@', home.path().to_str().unwrap())).unwrap();
        std::fs::write(home.path().join("token"), "jwt").unwrap();
        let cache = home.path().join(".aws/sso/cache");
        std::fs::create_dir_all(&cache).unwrap();
        let log_in = r#"{"accessToken":"hush","expiresAt":"2099-01-01T00:00:00Z"}"#;
        for key in ["work", "https://d.example/start"] {
            std::fs::write(cache.join(file_name(&SHA1_FOR_LEGACY_USE_ONLY, key)), log_in).unwrap();
        }
        let here = ("HOME", home.path().to_str().unwrap());
        let context = Context {
            environment: Environment::new(variables.iter().copied().chain([here])),
            clock: Clock::system(),
            files: Files::unwatched(),
            http_client: HttpClient::with_names(Arc::default(), HashMap::new()),
            ..Context::default()
        };
        let Lookup::Failed(failure) = ConfigCredentials::new().profile("dev").load(&context).await else { panic!() };
        failure.to_string().replace(here.1, "@")
    }

    #[tokio::test]
    async fn a_region_that_is_none_is_told_where_it_is_written() {
        let role = "[profile dev]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n";
        let web = "[profile dev]\nrole_arn = arn:aws:iam::1:role/r\nweb_identity_token_file = @/token\n";
        let base = format!("[profile base]\nregion = base\n{KEYS}");
        let sso =
            "sso_account_id = 1\nsso_role_name = r\nsso_region = eu-wset-1\nsso_start_url = https://d.example/start\n";
        let none = "is none: it must look like eu-west-1";
        let unknown = "see that eu-wset-1 is a region of AWS";
        for (config, variables, place, told) in [
            (
                format!("{role}region = eu_west\n{base}"),
                &[][..],
                "@/.aws/config, line 4: profile dev: the region",
                none,
            ),
            (format!("{web}region = eu_west\n"), &[], "@/.aws/config, line 4: profile dev: the region", none),
            (
                format!("{role}region = eu-west-1\n{base}"),
                &[("AWS_REGION", "x y")],
                "@/.aws/config, line 2: profile dev: AWS_REGION: the",
                none,
            ),
            (
                format!("{role}region = eu-wset-1\n{base}"),
                &[],
                "@/.aws/config, line 4: profile dev: AssumeRole",
                unknown,
            ),
            (format!("{web}region = eu-wset-1\n"), &[], "@/.aws/config, line 4: profile dev: AssumeRoleWith", unknown),
            (
                web.to_owned(),
                &[("AWS_DEFAULT_REGION", "eu-wset-1")],
                "@/.aws/config, line 3: profile dev: AWS_DEFAULT_REGION: Assume",
                unknown,
            ),
            (
                "[profile dev]\nsso_session = work\nsso_account_id = 1\nsso_role_name = r\n[sso-session work]\n\
                 sso_region = eu-wset-1\nsso_start_url = https://d.example/start\n"
                    .into(),
                &[],
                "@/.aws/config, line 6: profile dev: GetRoleCredentials",
                unknown,
            ),
            (format!("[profile dev]\n{sso}"), &[], "@/.aws/config, line 4: profile dev: GetRoleCredentials", unknown),
            // A host that no region is part of is another matter.
            (
                format!("{role}region = eu-wset-1\nendpoint_url = https://sts.example\n{base}"),
                &[],
                "@/.aws/config, line 2: profile dev: AssumeRole",
                "see that the endpoint is written right",
            ),
        ] {
            let failure = failure(&config, variables).await;
            assert!(failure.starts_with(place) && failure.contains(told), "{place} … {told}: {failure}");
        }
    }

    #[tokio::test]
    async fn a_token_that_is_not_there_is_told_with_what_to_do() {
        let web =
            |path: &str| format!("[profile dev]\nrole_arn = arn:aws:iam::1:role/r\nweb_identity_token_file = {path}\n");
        let torn = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&torn, "hush-first\nhush-second").unwrap();
        let torn = torn.path().to_str().unwrap();
        let of_torn = failure(&web(torn), &[]).await;
        let told = format!(
            "@/.aws/config, line 3: profile dev: the token file {torn} contains a control character within the token (a \
             line break, perhaps); see that it holds the token alone, in one line"
        );
        assert_eq!(of_torn, told);
        for (path, told) in [("@/gone", "there is no such file"), ("@", "it is a directory"), ("/dev/null", "is empty")]
        {
            let failure = failure(&web(path), &[]).await;
            assert!(failure.starts_with("@/.aws/config, line 3: profile dev: "), "{failure}");
            let advice = "; see that whoever writes the token does so there, and that we may read it";
            assert!(failure.contains(told) && failure.ends_with(advice), "{failure}");
        }
    }

    const KEYS: &str = "aws_access_key_id = AKIA1\naws_secret_access_key = hush\n";

    #[tokio::test]
    async fn keys_of_the_profile_that_is_meant() {
        let source = ConfigCredentials::new();
        let config = "[profile dev]\nregion = eu-west-1\n";
        let credentials =
            format!("[dev]\n{KEYS}aws_session_token = tok\naws_account_id = 123456789012\n[default]\n{KEYS}");
        let (answer, region) = load(&source, config, &credentials, &[("AWS_PROFILE", "dev")]).await;
        let Lookup::Found(found) = answer else { panic!("{answer:?}") };
        assert_eq!(
            (&*found.access_key_id, found.session_token.is_some(), found.account_id.as_deref()),
            ("AKIA1", true, Some("123456789012"))
        );
        assert_eq!(region.as_deref(), Some("eu-west-1"));
        let (answer, region) = load(&source, config, &credentials, &[]).await;
        assert!(matches!(answer, Lookup::Found(Credentials { session_token: None, .. })), "{answer:?}");
        assert_eq!(region, None);
    }

    #[test]
    fn a_list_says_of_every_profile_what_its_plan_says() {
        const ROLE: &str = "role_arn = arn:aws:iam::1:role/r\n";
        let mut config = String::new();
        // Chains just long enough and too long, into keys, into circles, and out of profiles that are roles only at first.
        for (name, length, last) in [
            ("a", 256, format!("[profile a256]\n{KEYS}")),
            ("b", 400, format!("[profile b400]\n{KEYS}")),
            ("c", 400, format!("[profile c400]\n{ROLE}source_profile = c390\n")),
            ("d", 400, format!("[profile d400]\n{ROLE}source_profile = d0\n")),
            ("e", 255, format!("[profile e255]\n{ROLE}source_profile = e255\n")),
            ("f", 258, format!("[profile f258]\n{ROLE}{KEYS}source_profile = a1\n")),
            ("g", 258, String::new()),
            ("h", 258, format!("[profile h258]\n{ROLE}credential_source = Environment\n")),
        ] {
            for at in 0..length {
                config += &format!("[profile {name}{at}]\n{ROLE}source_profile = {name}{}\n", at + 1);
            }
            config += &last;
        }
        let content = crate::shared_config::FileContent { path: std::path::Path::new("/c"), bytes: config.as_bytes() };
        let files = SharedConfig::parse(Some(content), None).unwrap();
        let (mut listed, mut too_long) = (0, 0);
        for (section, described) in describe(&files, &|_| Ok(())) {
            let planned = match plan::plan(&files, section, &|_| Ok(())) {
                Ok(Some(link)) => link.to_string(),
                Ok(None) => "no credentials".into(),
                Err(failure) => format!("wrong: {failure}"),
            };
            assert_eq!(described, planned, "{}", section.name());
            listed += 1;
            too_long += usize::from(described.contains("more than 256"));
        }
        assert!(listed > 2000 && too_long > 600, "{listed} {too_long}");
    }

    #[tokio::test]
    async fn the_three_answers() {
        let (unnamed, named) = (ConfigCredentials::new(), ConfigCredentials::new().profile("dev"));
        let half = "[default]\naws_access_key_id = AKIA1\n";
        let blank = "[default]\naws_access_key_id =\naws_secret_access_key =\n";
        let table: &[(&ConfigCredentials, &str, &str, &str)] = &[
            (&unnamed, "", "", "not configured: there is no profile default"),
            (
                &unnamed,
                "[default]\nregion = x\n",
                "",
                "not configured: profile default says nothing about credentials; give it keys, role_arn",
            ),
            (&unnamed, "", blank, "not configured: profile default says nothing"),
            (&named, "[profile dev]\nregion = x\n", "", "not configured: profile dev says nothing"),
            (&named, "", "", "Unsettled: there is no profile dev in"),
            (
                &unnamed,
                "",
                half,
                "credentials, line 2: profile default: aws_access_key_id stands there without aws_secret_access_key",
            ),
            (&unnamed, "[default\n", "", "config, line 1: expected a `]`"),
            (&unnamed, "[default]\nsource_profile = x\n", &format!("[default]\n{KEYS}"), "found"),
            (&unnamed, "[default]\nrole_arn = a b\n", "", "config, line 2: profile default: role_arn is no name"),
            (&unnamed, "[default]\ncredential_process = false\n", &format!("[default]\n{KEYS}"), "found"),
            (
                &unnamed,
                "[default]\ncredential_process = exit 7\n",
                "",
                "profile default: the credential_process failed",
            ),
        ];
        for (source, config, credentials, expected) in table {
            let shown = match load(source, config, credentials, &[]).await.0 {
                Lookup::Found(_) => "found".to_owned(),
                Lookup::NotConfigured(reason) => format!("not configured: {reason}"),
                Lookup::Failed(failure) => format!("{:?}: {failure}", failure.kind),
            };
            assert!(shown.contains(expected), "{config:?} {credentials:?}: {shown}");
            assert!(!shown.contains("hush"));
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_as_bad_as_whoever_named_it_says() {
        let absent = "/nonexistent/credentials";
        let (answer, _) = load(&ConfigCredentials::new(), "", "", &[("AWS_SHARED_CREDENTIALS_FILE", absent)]).await;
        assert!(matches!(answer, Lookup::NotConfigured(_)), "{answer:?}");
        let (answer, _) = load(&ConfigCredentials::new().credentials_file(absent), "", "", &[]).await;
        assert!(matches!(&answer, Lookup::Failed(failure) if failure.kind == ErrorKind::Unsettled), "{answer:?}");
    }
}
