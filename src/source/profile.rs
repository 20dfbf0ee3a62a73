//! The source of a profile of the AWS shared files: [`files`] reads them, [`plan`] decides the method of each profile
//! of the chain, and [`build`] makes a source from the plan.

pub(crate) mod build;
pub(crate) mod child_files;
pub(crate) mod dependencies;
pub(crate) mod description;
pub(crate) mod files;
pub(crate) mod plan;

use std::path::PathBuf;
use std::sync::Arc;

use crate::aws::settings::Settings;
use crate::context::Context;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::outcome::{Lookup, TraceStep};
use crate::model::text::Escaped;
use crate::shared_config::SharedConfig;
use crate::shared_config::error::ParseWarning;
use crate::shared_config::locate::NamedPaths;
use crate::shared_config::other_tools;
use crate::shared_config::section::{Property, Section};
use crate::source::profile::dependencies::{USED_PROPERTIES, dependencies};
use crate::source::profile::files::{ProfileFiles, digest};
use crate::source::profile::plan::link::Method;
use crate::source::role_narrowing::RoleNarrowing;
use crate::source::spec::SourceKind;
use crate::source::{BoxFuture, Source};

const DEFAULT: &str = "default";

const REGION: &str = "region";

/// The credentials of a profile in `~/.aws/credentials` and `~/.aws/config`, or in the files that
/// `AWS_SHARED_CREDENTIALS_FILE`, `AWS_CONFIG_FILE` and `AWS_SHARED_CONFIG_FILE` name.
///
/// The profile may use each method of the SDKs: keys, a role of another profile, web identity, SSO, a process. The
/// files are read through the [`Context`], and parsed once per change for all sources.
///
/// ```
/// use credenza::{ConfigCredentials, Context, Lookup, Source};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("credentials");
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// std::fs::write(&path, "[dev]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = secret\n").unwrap();
/// let source = ConfigCredentials::new().profile("dev").credentials_file(&path);
/// let Lookup::Found(credentials) = source.load(&Context::from_environment()).await else { panic!() };
/// assert_eq!(&*credentials.access_key_id, "AKIAEXAMPLE");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct ConfigCredentials {
    /// The name of the source: `profile`, or `profile NAME` if the profile has been named.
    name: Box<str>,
    profile: Option<Box<str>>,
    credentials_file: Option<PathBuf>,
    config_file: Option<PathBuf>,
    /// Narrows the request for the role of the profile.
    narrowing: Option<Arc<RoleNarrowing>>,
}

impl Default for ConfigCredentials {
    fn default() -> Self {
        Self { name: "profile".into(), profile: None, credentials_file: None, config_file: None, narrowing: None }
    }
}

impl ConfigCredentials {
    /// Makes a source for the profile that `AWS_PROFILE` or `AWS_DEFAULT_PROFILE` names, else for `default`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns this source with this profile instead of the profile of the environment. The profile must exist.
    #[must_use]
    pub fn profile(mut self, profile: &str) -> Self {
        self.name = format!("profile {}", Escaped(profile)).into();
        self.profile = Some(profile.into());
        self
    }

    /// Returns this source with this credentials file, which must exist.
    #[must_use]
    pub fn credentials_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials_file = Some(path.into());
        self
    }

    /// Returns this source with this config file, which must exist.
    #[must_use]
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config_file = Some(path.into());
        self
    }

    /// Returns this source with the role of its profile narrowed. Other credentials of the profile stay as they are.
    pub(crate) fn narrowed(self, narrowing: Option<Arc<RoleNarrowing>>) -> Self {
        Self { narrowing, ..self }
    }

    /// Makes a source with those settings that are given.
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

    /// Makes the source of this specification. `None` if the specification is not about a profile.
    pub(crate) fn of_spec(kind: &SourceKind) -> Option<Self> {
        match kind {
            SourceKind::Profile { name, credentials_file, config_file } => {
                Some(Self::of(name.clone(), credentials_file.clone(), config_file.clone()))
            }
            _ => None,
        }
    }

    async fn open<'a>(&'a self, context: &'a Context) -> Result<OpenedProfile<'a>, SourceError> {
        let named = NamedPaths { credentials: self.credentials_file.clone(), config: self.config_file.clone() };
        let (profile, is_named) = match &self.profile {
            Some(profile) => (&**profile, true),
            None => context.environment.profile()?.map_or((DEFAULT, false), |profile| (profile, true)),
        };
        let name = profile.to_owned();
        let digest = move |files: &SharedConfig| digest(dependencies(files, &name), USED_PROPERTIES);
        let profiles = ProfileFiles::open(context, &named, digest).await?;
        if let Ok(files) = profiles.files()
            && !files.warnings().is_empty()
        {
            let in_use = dependencies(files, profile);
            let is_in_use = |warning: &ParseWarning| {
                warning.is_about_section(profile)
                    || in_use.iter().any(|section| warning.is_about_section(section.name()))
            };
            profiles.log_warnings(is_in_use);
        }
        Ok(OpenedProfile { profiles, profile, is_named })
    }

    /// Returns hints about properties of the profiles in use that only other tools read.
    pub(crate) async fn hints(&self, context: &Context) -> Vec<String> {
        let Ok(opened) = self.open(context).await else { return Vec::new() };
        let Ok(files) = opened.profiles.files() else { return Vec::new() };
        let is_profile =
            |section: &&Section| files.profile(section.name()).is_some_and(|profile| std::ptr::eq(profile, *section));
        dependencies(files, opened.profile).into_iter().filter(is_profile).flat_map(other_tools::hints).collect()
    }

    /// Plans and builds the source of the profile. The inner error is the reason why the source is *not configured*.
    async fn planned(&self, context: &Context) -> Result<Result<Box<dyn Source>, String>, SourceError> {
        let opened = self.open(context).await?;
        let Some(section) = opened.section()? else {
            let missing = opened.missing();
            return if opened.is_named { Err(missing) } else { Ok(Err(missing.to_string())) };
        };
        let trusted = |property: &Property| opened.profiles.check(context, property);
        Ok(match plan::plan(opened.profiles.files()?, section, &trusted)? {
            Some(mut link) => {
                if let Some(narrowing) = &self.narrowing
                    && let Method::Role { role, .. } | Method::WebIdentity { role, .. } = &mut link.method
                {
                    narrowing.apply(role).map_err(|error| error.at(link.location.clone()))?;
                }
                let files = opened.profiles.files()?;
                let s3_endpoint = |name: &str| opened.profiles.settings(context, files.profile(name)).s3_endpoint;
                Ok(build::build(link, &opened.settings(context)?, &s3_endpoint))
            }
            None => Err(format!(
                "profile {} has no properties for credentials; give it {}",
                Escaped(section.name()),
                plan::METHODS
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
                Err(error) => error.into(),
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
            settings.unwrap_or_else(|error| Settings::without_profile(&context.environment, &error))
        })
    }

    fn trace<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, (Vec<TraceStep>, Lookup)> {
        Box::pin(async move {
            match self.planned(context).await {
                Ok(Ok(source)) => source.trace(context).await,
                Ok(Err(reason)) => (Vec::new(), Lookup::not_configured(reason)),
                Err(error) => (Vec::new(), error.into()),
            }
        })
    }
}

struct OpenedProfile<'a> {
    profiles: ProfileFiles,
    profile: &'a str,
    is_named: bool,
}

impl OpenedProfile<'_> {
    /// Makes an error of a missing profile. The error is unsettled: another program may be writing the file, and may
    /// yet add the profile.
    fn missing(&self) -> SourceError {
        let message = format!("there is no profile {} in {}", Escaped(self.profile), self.profiles.paths());
        let files = self.profiles.files();
        let hint = files.map_or_else(|_| plan::LIST_PROFILES.into(), |files| plan::missing_hint(files, self.profile));
        SourceError::new(ErrorKind::Unsettled, message).with_hint(hint)
    }

    fn section(&self) -> Result<Option<&Section>, SourceError> {
        Ok(self.profiles.files()?.profile(self.profile))
    }

    fn settings(&self, context: &Context) -> Result<Settings, SourceError> {
        Ok(self.profiles.settings(context, self.section()?))
    }
}

#[cfg(test)]
mod tests;
