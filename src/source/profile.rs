//! A profile of the AWS shared files.

use std::path::PathBuf;
use std::sync::Arc;

use crate::credentials::{Credentials, Escaped};
use crate::files::{Contents, FileError, Owner, Wanted};
use crate::shared_files::{Content, Location, Named, Origin, Place, Section, SharedFiles, locate, render};
use crate::source::spec::{SourceKind, SourceSpec};
use crate::source::{Answer, Boxed, Failure, Kind, Source};
use crate::world::World;

const DEFAULT: &str = "default";

/// What this source looks at in a profile; it loads again when one of these changes.
const USED: &[&str] = &[
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    SESSION_TOKEN,
    ACCOUNT_ID,
    REGION,
    "role_arn",
    "source_profile",
    "credential_source",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
    "sso_account_id",
    "credential_process",
    "login_session",
];

const ACCESS_KEY_ID: &str = "aws_access_key_id";
const SECRET_ACCESS_KEY: &str = "aws_secret_access_key";
const SESSION_TOKEN: &str = "aws_session_token";
const ACCOUNT_ID: &str = "aws_account_id";
const REGION: &str = "region";

/// Settings that obtain credentials in a way that is not there yet, and that win over static keys in the SDKs' order.
const BEFORE_KEYS: &[&str] = &[
    "role_arn",
    "source_profile",
    "credential_source",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
    "sso_account_id",
];

/// The same, for those that count only where there are no static keys.
const AFTER_KEYS: &[&str] = &["credential_process", "login_session"];

/// Static keys of a profile in `~/.aws/credentials` and `~/.aws/config`, or wherever `AWS_SHARED_CREDENTIALS_FILE`,
/// `AWS_CONFIG_FILE` and `AWS_SHARED_CONFIG_FILE` point.
///
/// The files are read through the [`World`], once per change however many sources look at them.
///
/// ```
/// use credenza::source::profile::ConfigCredentials;
/// use credenza::source::{Answer, Source};
/// use credenza::{clock::Clock, files::Files, world::World};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("credentials");
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// std::fs::write(&path, "[dev]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = secret\n").unwrap();
/// let source = ConfigCredentials::new().profile("dev").credentials_file(&path);
/// let world = World { files: Files::unwatched(), ..World::default() };
/// let Answer::Found(credentials) = source.load(&world).await else { panic!() };
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
    /// The profile that `AWS_PROFILE` names, else `default`, in the files of the user.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This profile, whatever `AWS_PROFILE` says. It has to exist.
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
    pub fn of(profile: Option<Box<str>>, credentials_file: Option<PathBuf>, config_file: Option<PathBuf>) -> Self {
        let mut source = Self { credentials_file, config_file, ..Self::default() };
        if let Some(profile) = profile {
            source = source.profile(&profile);
        }
        source
    }

    /// Reads the files, which are parsed once per change in this process.
    async fn open<'a>(&'a self, world: &'a World) -> Result<Opened<'a>, Failure> {
        let named = Named { credentials: self.credentials_file.clone(), config: self.config_file.clone() };
        let environment = &world.environment;
        let location = locate(environment.variables(), environment.home(), &named)
            .map_err(|error| Failure::misconfigured(error.to_string()))?;
        let (profile, is_named) = match (&self.profile, environment.get("AWS_PROFILE")) {
            (Some(profile), _) => (&**profile, true),
            (None, Some(profile)) => (profile, true),
            (None, None) => (DEFAULT, false),
        };
        let wanted = |place: &Place| Wanted { path: place.path.clone(), required: place.origin == Origin::Named };
        let key: Vec<Wanted> = [&location.config, &location.credentials].into_iter().flatten().map(wanted).collect();
        let (of, digest_of) = (location.clone(), profile.to_owned());
        let digest = move |parsed: &Parsed| parsed.as_ref().map_or(0, |read| read.digest(&digest_of));
        let parsed = world.files.parsed(&key, move |contents| parse(&of, contents), digest).await;
        Ok(Opened { parsed, location, profile, is_named })
    }

    async fn look(&self, world: &World) -> Result<Answer, Failure> {
        let opened = self.open(world).await?;
        let Some(section) = opened.section()? else {
            let message = format!("there is no profile {} in {}", Escaped(opened.profile), places(&opened.location));
            // A file that is being written may not have come to it yet.
            return if opened.is_named {
                Err(Failure::new(Kind::Unsettled, message))
            } else {
                Ok(Answer::not_configured(message))
            };
        };
        credentials(section)
    }
}

impl Source for ConfigCredentials {
    fn name(&self) -> &str {
        &self.name
    }

    fn load<'a>(&'a self, world: &'a World) -> Boxed<'a, Answer> {
        Box::pin(async move { self.look(world).await.unwrap_or_else(Answer::Failing) })
    }

    fn region<'a>(&'a self, world: &'a World) -> Boxed<'a, Option<Box<str>>> {
        Box::pin(async move {
            let opened = self.open(world).await.ok()?;
            let region = opened.section().ok()??.get(REGION)?.value().trim();
            (!region.is_empty()).then(|| region.into())
        })
    }
}

/// Both files as they were read: what they say, and whose they are.
struct Read {
    files: SharedFiles,
    owners: Vec<(PathBuf, Owner)>,
}

/// The files, or why there are none; the kind of failure is the same for all of these.
type Parsed = Result<Read, Box<str>>;

impl Read {
    fn digest(&self, profile: &str) -> u64 {
        // A profile that is there and one that is not differ, whatever it says; 0 is for files that cannot be read.
        self.files.profile(profile).map_or(1, |section| section.digest(USED) | 2)
    }
}

/// The files of a source and its profile in them.
struct Opened<'a> {
    parsed: Arc<Parsed>,
    location: Location,
    profile: &'a str,
    is_named: bool,
}

impl Opened<'_> {
    fn read(&self) -> Result<&Read, Failure> {
        (*self.parsed).as_ref().map_err(|message| Failure::new(Kind::Unsettled, message.clone()))
    }

    fn section(&self) -> Result<Option<&Section>, Failure> {
        Ok(self.read()?.files.profile(self.profile))
    }
}

/// What the bytes of both files come to. A missing file is as bad as whoever named it says.
fn parse(location: &Location, contents: Vec<Result<Contents, FileError>>) -> Parsed {
    let mut read: [Option<(&Place, Contents)>; 2] = [None, None];
    let mut owners = Vec::new();
    let places = [&location.config, &location.credentials].into_iter().enumerate();
    let present = places.filter_map(|(slot, place)| place.as_ref().map(|place| (slot, place)));
    for ((slot, place), content) in present.zip(contents) {
        match content {
            Ok(content) => {
                owners.push((place.path.clone(), content.owner));
                read[slot] = Some((place, content));
            }
            Err(error) if error.is_missing() => match place.origin {
                Origin::Named => return Err(error.to_string().into()),
                Origin::Variable(variable) => {
                    tracing::warn!(variable, %error, "a variable names a shared file that is missing; it counts as empty, as in the SDKs");
                }
                Origin::Default => {}
            },
            Err(error) => return Err(error.to_string().into()),
        }
    }
    let content =
        |slot: usize| read[slot].as_ref().map(|(place, content)| Content { path: &place.path, bytes: &content.bytes });
    let files = SharedFiles::parse(content(0), content(1)).map_err(|error| error.to_string())?;
    for warning in files.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(Read { files, owners })
}

/// The static keys of a profile, in the order in which the SDKs look at its settings.
fn credentials(section: &Section) -> Result<Answer, Failure> {
    unsupported(section, BEFORE_KEYS)?;
    let value = |name| section.get(name).map(|property| property.value().trim()).filter(|value| !value.is_empty());
    let (key, secret) = match (value(ACCESS_KEY_ID), value(SECRET_ACCESS_KEY)) {
        (Some(key), Some(secret)) => (key, secret),
        (None, None) => {
            unsupported(section, AFTER_KEYS)?;
            return Ok(Answer::not_configured(format!(
                "profile {} says nothing about credentials",
                Escaped(section.name())
            )));
        }
        (Some(_), None) => return Err(half(section, ACCESS_KEY_ID, SECRET_ACCESS_KEY)),
        (None, Some(_)) => return Err(half(section, SECRET_ACCESS_KEY, ACCESS_KEY_ID)),
    };
    let said_at = |error: crate::credentials::Unusable| {
        Failure::misconfigured(format!("{}: {error}", stands(section, ACCESS_KEY_ID)))
    };
    let credentials = Credentials::new(key, secret).map_err(said_at)?;
    let credentials = credentials.with_session_token(value(SESSION_TOKEN)).map_err(said_at)?;
    Ok(Answer::Found(credentials.with_account_id(value(ACCOUNT_ID))))
}

fn half(section: &Section, there: &str, missing: &str) -> Failure {
    Failure::misconfigured(format!("{}: {there} stands there without {missing}", stands(section, there)))
}

/// Ways to obtain credentials that are known and not there yet are an error, not silence.
fn unsupported(section: &Section, names: &[&str]) -> Result<(), Failure> {
    match names.iter().find(|name| section.get(name).is_some()) {
        None => Ok(()),
        Some(name) => {
            let message = format!(
                "{}: profile {} uses {name}, which is not supported yet; static keys in a profile are",
                stands(section, name),
                Escaped(section.name())
            );
            Err(Failure::misconfigured(message))
        }
    }
}

/// Where a property stands: `/home/me/.aws/config, line 3`.
fn stands(section: &Section, name: &str) -> String {
    section.get(name).map_or_else(String::new, |property| {
        format!("{}, line {}", Escaped(&property.path().to_string_lossy()), property.line())
    })
}

/// The places of both files, for messages.
fn places(location: &Location) -> String {
    let places: Vec<String> = [&location.credentials, &location.config]
        .into_iter()
        .flatten()
        .map(|place| Escaped(&place.path.to_string_lossy()).to_string())
        .collect();
    if places.is_empty() { "the home directory, which is unknown".into() } else { places.join(" or ") }
}

/// The settings of the profile that a chain uses, except those about credentials and roles, as the text of a config
/// file of their own whose `[default]` they are; empty when the chain has no profile, or it does not exist.
///
/// # Errors
/// When the settings say where requests go (`endpoint_url`) and the file belongs to somebody who is not trusted with
/// that, or the files cannot be read.
pub async fn settings(sources: &[SourceSpec], world: &World) -> Result<String, Failure> {
    let profile = sources.iter().find_map(|spec| match &spec.kind {
        SourceKind::Profile { name, credentials_file, config_file } => {
            Some(ConfigCredentials::of(name.clone(), credentials_file.clone(), config_file.clone()))
        }
        _ => None,
    });
    // Without a profile in the chain the settings are still those of the profile that the user works with, as far as
    // its files can be read.
    let (source, needed) = (profile.clone().unwrap_or_default(), profile.is_some());
    let opened = match source.open(world).await {
        Err(_) if !needed => return Ok(String::new()),
        opened => opened?,
    };
    let read = match opened.read() {
        Err(_) if !needed => return Ok(String::new()),
        read => read?,
    };
    let Some(section) = read.files.profile(opened.profile) else { return Ok(String::new()) };
    let text = render(&read.files, section);
    if text.contains("endpoint_url") {
        for (path, owner) in &read.owners {
            owner.trusted(world.uid(), &world.trusted_owners).map_err(|distrust| {
                let message = format!(
                    "profile {}: it sets endpoint_url{}, and {} {distrust}",
                    Escaped(opened.profile),
                    section.get("endpoint_url").map(|it| format!(" in line {}", it.line())).unwrap_or_default(),
                    Escaped(&path.to_string_lossy())
                );
                Failure::misconfigured(message)
            })?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Files;
    use crate::world::Environment;

    async fn load(
        source: &ConfigCredentials,
        config: &str,
        credentials: &str,
        variables: &[(&str, &str)],
    ) -> (Answer, Option<Box<str>>) {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        for (name, text) in [("config", config), ("credentials", credentials)] {
            if !text.is_empty() {
                std::fs::write(home.path().join(".aws").join(name), text).unwrap();
            }
        }
        let home = ("HOME", home.path().to_str().unwrap());
        let world = World {
            environment: Environment::new(variables.iter().copied().chain([home])),
            files: Files::unwatched(),
            ..World::default()
        };
        (source.load(&world).await, source.region(&world).await)
    }

    const KEYS: &str = "aws_access_key_id = AKIA1\naws_secret_access_key = hush\n";

    #[tokio::test]
    async fn keys_of_the_profile_that_is_meant() {
        let source = ConfigCredentials::new();
        let config = "[profile dev]\nregion = eu-west-1\n";
        let credentials =
            format!("[dev]\n{KEYS}aws_session_token = tok\naws_account_id = 123456789012\n[default]\n{KEYS}");
        let (answer, region) = load(&source, config, &credentials, &[("AWS_PROFILE", "dev")]).await;
        let Answer::Found(found) = answer else { panic!("{answer:?}") };
        assert_eq!(
            (&*found.access_key_id, found.session_token.is_some(), found.account_id.as_deref()),
            ("AKIA1", true, Some("123456789012"))
        );
        assert_eq!(region.as_deref(), Some("eu-west-1"));
        let (answer, region) = load(&source, config, &credentials, &[]).await;
        assert!(matches!(answer, Answer::Found(Credentials { session_token: None, .. })), "{answer:?}");
        assert_eq!(region, None);
    }

    #[tokio::test]
    async fn the_three_answers() {
        let (unnamed, named) = (ConfigCredentials::new(), ConfigCredentials::new().profile("dev"));
        let half = "[default]\naws_access_key_id = AKIA1\n";
        let blank = "[default]\naws_access_key_id =\naws_secret_access_key =\n";
        let table: &[(&ConfigCredentials, &str, &str, &str)] = &[
            (&unnamed, "", "", "not configured: there is no profile default"),
            (&unnamed, "[default]\nregion = x\n", "", "not configured: profile default says nothing about credentials"),
            (&unnamed, "", blank, "not configured: profile default says nothing"),
            (&named, "[profile dev]\nregion = x\n", "", "not configured: profile dev says nothing"),
            (&named, "", "", "Unsettled: there is no profile dev in"),
            (&unnamed, "", half, "credentials, line 2: aws_access_key_id stands there without aws_secret_access_key"),
            (&unnamed, "[default\n", "", "config, line 1: expected a `]`"),
            (&unnamed, "[default]\nrole_arn = x\n", &format!("[default]\n{KEYS}"), "Misconfigured: "),
            (&unnamed, "[default]\nrole_arn = x\n", "", "profile default uses role_arn, which is not supported yet"),
            (
                &unnamed,
                "[default]\ncredential_process = x\n",
                "",
                "uses credential_process, which is not supported yet",
            ),
            (&unnamed, "[default]\nsso_session = x\n", "", "uses sso_session, which is not supported yet"),
            (&unnamed, "[default]\ncredential_process = x\n", &format!("[default]\n{KEYS}"), "found"),
        ];
        for (source, config, credentials, expected) in table {
            let shown = match load(source, config, credentials, &[]).await.0 {
                Answer::Found(_) => "found".to_owned(),
                Answer::NotConfigured(reason) => format!("not configured: {reason}"),
                Answer::Failing(failure) => format!("{:?}: {failure}", failure.kind),
            };
            assert!(shown.contains(expected), "{config:?} {credentials:?}: {shown}");
            assert!(!shown.contains("hush"));
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_as_bad_as_whoever_named_it_says() {
        let absent = "/nonexistent/credentials";
        let (answer, _) = load(&ConfigCredentials::new(), "", "", &[("AWS_SHARED_CREDENTIALS_FILE", absent)]).await;
        assert!(matches!(answer, Answer::NotConfigured(_)), "{answer:?}");
        let (answer, _) = load(&ConfigCredentials::new().credentials_file(absent), "", "", &[]).await;
        assert!(matches!(&answer, Answer::Failing(failure) if failure.kind == Kind::Unsettled), "{answer:?}");
    }
}
