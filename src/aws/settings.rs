//! The settings for calls to AWS, from the environment, a profile and its `services` section.

mod reader;
#[cfg(test)]
mod tests;

use std::hash::Hash;
use std::path::Path;

use crate::aws::service::Service;
use crate::aws::settings::reader::{METADATA_ENDPOINT, SettingReader};
use crate::http::url::Url;
use crate::model::error::SourceError;
use crate::model::location::Location;
use crate::os::environment::Environment;
use crate::shared_config::SharedConfig;
use crate::shared_config::section::{Property, Section};

/// Checks if the file of a property may decide where requests go. The error is the reason, for the user:
/// `the file belongs to user 1001, …`.
pub(crate) type TrustCheck<'a> = &'a dyn Fn(&Property) -> Result<(), String>;

/// The settings for calls to AWS of one profile. They are plain data: profiles with equal settings call AWS alike.
///
/// A setting that is wrong, or that comes from an untrusted file, is kept as an error. It fails only the calls that
/// need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's `region`: the environment before the profile, as in all SDKs.
    /// (botocore does not know `AWS_REGION`; the AWS CLI and the other SDKs use it first.) `None` if it is unknown.
    pub(crate) region: Option<Box<str>>,
    /// The location of the region.
    pub(crate) region_location: Option<Location>,
    /// `AWS_USE_FIPS_ENDPOINT`, `use_fips_endpoint`.
    pub(crate) use_fips: bool,
    /// `AWS_USE_DUALSTACK_ENDPOINT`, `use_dualstack_endpoint`.
    pub(crate) use_dualstack: bool,
    /// `AWS_STS_REGIONAL_ENDPOINTS`, `sts_regional_endpoints`.
    pub(crate) sts_regional: StsRegional,
    /// The configured endpoints of the services.
    pub(crate) endpoints: Endpoints,
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT`, `ec2_metadata_service_endpoint`; else the address of the mode that
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE` or `ec2_metadata_service_endpoint_mode` names.
    pub(crate) metadata_service: ConfiguredEndpoint,
    /// `AWS_CA_BUNDLE`, `ca_bundle`.
    pub(crate) ca_bundle: Option<Result<Box<Path>, SettingError>>,
    /// The location of the path of the CA bundle.
    pub(crate) ca_bundle_location: Option<Location>,
}

/// The endpoint of STS in the regions that are older than its regional endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum StsRegional {
    /// The endpoint of the region, the default of all SDKs today.
    #[default]
    Regional,
    /// `sts.amazonaws.com`.
    Legacy,
    /// The setting has another value.
    Refused(SettingError),
}

/// The configured endpoint of each service, with precedence applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Endpoints {
    /// `AWS_ENDPOINT_URL_STS`.
    pub(crate) sts: ConfiguredEndpoint,
    /// `AWS_ENDPOINT_URL_SSO`.
    pub(crate) sso: ConfiguredEndpoint,
    /// `AWS_ENDPOINT_URL_SSO_OIDC`.
    pub(crate) sso_oidc: ConfiguredEndpoint,
    /// `AWS_ENDPOINT_URL_SIGNIN`.
    pub(crate) signin: ConfiguredEndpoint,
}

/// A configured URL, or the reason why it must not be used. `None` without a setting.
pub(crate) type ConfiguredEndpoint = Option<Result<Url, SettingError>>;

/// A setting that must not be used. It becomes a [`SourceError`] when a call needs the setting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SettingError {
    /// The line of a property. `None` for a variable: the message names it, and the location is that of the profile.
    location: Option<Location>,
    message: Box<str>,
    hint: Option<Box<str>>,
}

impl SettingError {
    pub(crate) fn new(message: impl Into<Box<str>>) -> Self {
        Self { location: None, message: message.into(), hint: None }
    }

    fn at(self, location: impl Into<Option<Location>>) -> Self {
        Self { location: location.into(), ..self }
    }

    fn with_hint(self, hint: impl Into<Box<str>>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<SettingError> for SourceError {
    fn from(SettingError { location, message, hint }: SettingError) -> Self {
        Self { hint, ..Self::misconfigured(message).at(location) }
    }
}

impl Settings {
    /// The settings of a profile, or without one. `trusted` checks the file of a property.
    #[must_use]
    pub(crate) fn new(
        environment: &Environment,
        files: &SharedConfig,
        profile: Option<&Section>,
        trusted: TrustCheck<'_>,
    ) -> Self {
        let reader = SettingReader { environment, files, profile, trusted };
        let (region, region_location) = reader.region().unzip();
        let (ca_bundle, ca_bundle_location) = reader.ca_bundle().unzip();
        Self {
            region,
            region_location,
            use_fips: reader.is_true("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
            use_dualstack: reader.is_true("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
            sts_regional: reader.sts_regional(),
            endpoints: reader.endpoints(),
            metadata_service: reader.metadata_service(),
            ca_bundle,
            ca_bundle_location,
        }
    }

    /// The settings of the environment, for a profile that cannot be read.
    ///
    /// The profile may name another metadata service. A metadata service gives keys to every client, so that a guess
    /// could serve the keys of another principal: its endpoint is an error, unless a variable names it.
    #[must_use]
    pub(crate) fn without_profile(environment: &Environment, error: &SourceError) -> Self {
        let mut settings = Self::of_environment(environment);
        if environment.get(METADATA_ENDPOINT.0).is_none() {
            let message = format!(
                "the endpoint of the metadata service is unknown, because the profile cannot be read: {}",
                error.message
            );
            let (location, hint) = (error.location.clone(), error.hint.clone());
            settings.metadata_service = Some(Err(SettingError { location, message: message.into(), hint }));
        }
        settings
    }

    /// The settings of the environment alone, for sources of `credenza.toml` that use no profile.
    #[must_use]
    pub(crate) fn of_environment(environment: &Environment) -> Self {
        Self::new(environment, &SharedConfig::default(), None, &|_| Ok(()))
    }

    /// The same settings in another region. `None` keeps the region.
    #[must_use]
    pub(crate) fn with_region(mut self, region: Option<Box<str>>) -> Self {
        if region.is_some() {
            (self.region, self.region_location) = (region, None);
        }
        self
    }

    /// The error of a call with these settings, at the location that a person has to correct: the location of the
    /// region if the region may be wrong, else `location`.
    #[must_use]
    pub(crate) fn locate(&self, error: SourceError, location: Option<&Location>) -> SourceError {
        match (self.region_location.as_ref().filter(|_| error.is_of_region), location) {
            // A variable has no file: the message names it, and the location is that of the profile.
            (Some(variable), Some(location)) if variable.is_variable() => {
                error.while_trying(variable).at(location.clone())
            }
            (Some(location), _) | (None, Some(location)) => error.at(location.clone()),
            (None, None) => error,
        }
    }

    /// The parts of a cache key: all settings that influence the answer of a service. Locations do not.
    pub(crate) fn cache_parts(&self) -> impl Hash {
        let Self {
            region,
            region_location: _,
            use_fips,
            use_dualstack,
            sts_regional,
            endpoints,
            metadata_service,
            ca_bundle,
            ca_bundle_location: _,
        } = self;
        (region, use_fips, use_dualstack, sts_regional, endpoints, metadata_service, ca_bundle)
    }
}

impl Endpoints {
    /// The configured endpoint of this service.
    #[must_use]
    pub(crate) fn of(&self, service: Service) -> &ConfiguredEndpoint {
        match service {
            Service::Sts => &self.sts,
            Service::Sso => &self.sso,
            Service::SsoOidc => &self.sso_oidc,
            Service::Signin => &self.signin,
        }
    }
}
