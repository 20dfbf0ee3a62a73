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

/// Checks file trust for a property: its file may decide where requests go. The error is a reason for the user: `the
/// file belongs to user 1001, …`.
pub(crate) type TrustCheck<'a> = &'a dyn Fn(&Property) -> Result<(), String>;

/// The settings for calls to AWS of one profile. They are plain data: two profiles with equal settings send equal
/// requests.
///
/// A setting that is wrong, or that comes from an untrusted file, is kept as an error. It fails only the calls that
/// need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The region: `AWS_REGION`, else `AWS_DEFAULT_REGION`, else `region` of the profile. The AWS CLI and most SDKs use
    /// this order; botocore does not know `AWS_REGION`. `None` if the region is unknown.
    pub(crate) region: Option<Box<str>>,
    pub(crate) region_location: Option<Location>,
    /// Use FIPS endpoints: `AWS_USE_FIPS_ENDPOINT`, else `use_fips_endpoint`.
    pub(crate) use_fips: bool,
    /// Use dual-stack endpoints: `AWS_USE_DUALSTACK_ENDPOINT`, else `use_dualstack_endpoint`.
    pub(crate) use_dualstack: bool,
    /// The choice of STS endpoint: `AWS_STS_REGIONAL_ENDPOINTS`, else `sts_regional_endpoints`.
    pub(crate) sts_regional: StsRegional,
    pub(crate) endpoints: Endpoints,
    /// The S3 endpoint of the profile: that of its `services` section, else its `endpoint_url`.
    pub(crate) s3_endpoint: Option<Result<Box<str>, SettingError>>,
    /// The endpoint of the metadata service: `AWS_EC2_METADATA_SERVICE_ENDPOINT` or `ec2_metadata_service_endpoint`,
    /// else the address of the mode that `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE` or
    /// `ec2_metadata_service_endpoint_mode` names.
    pub(crate) metadata_service: ConfiguredEndpoint,
    /// The MFA device of the keys of the profile: `mfa_serial`.
    pub(crate) mfa_serial: Option<Box<str>>,
    /// The path of the CA bundle: `AWS_CA_BUNDLE`, else `ca_bundle`.
    pub(crate) ca_bundle: Option<Result<Box<Path>, SettingError>>,
    pub(crate) ca_bundle_location: Option<Location>,
    /// The error of a variable that is not UTF-8. It fails every call, because the variable may name another service.
    pub(crate) unreadable: Option<SettingError>,
}

/// `legacy`: the global endpoint of STS for the regions that are older than regional endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum StsRegional {
    /// `regional`: the endpoint of the region. It is the default of all SDKs today.
    #[default]
    Regional,
    /// Always `sts.amazonaws.com`.
    Legacy,
    /// The setting has another value.
    Refused(SettingError),
}

/// The configured endpoint of each service, with precedence applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Endpoints {
    pub(crate) sts: ConfiguredEndpoint,
    pub(crate) sso: ConfiguredEndpoint,
    pub(crate) sso_oidc: ConfiguredEndpoint,
    pub(crate) signin: ConfiguredEndpoint,
}

/// A configured URL, or the reason why it must not be used. `None` if no URL is configured.
pub(crate) type ConfiguredEndpoint = Option<Result<Url, SettingError>>;

/// A setting that must not be used. It becomes a [`SourceError`] when a call needs the setting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SettingError {
    /// The line of a property. `None` for a variable: then the message names the variable, and the error gets the
    /// location of the profile.
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

impl From<SourceError> for SettingError {
    fn from(SourceError { location, message, hint, .. }: SourceError) -> Self {
        Self { location, message, hint }
    }
}

impl From<SettingError> for SourceError {
    fn from(SettingError { location, message, hint }: SettingError) -> Self {
        Self { hint, ..Self::misconfigured(message).at(location) }
    }
}

impl Settings {
    /// Returns the settings of the environment and of a profile, if there is one. `trusted` checks the file of a
    /// property.
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
            s3_endpoint: reader.s3_endpoint(),
            metadata_service: reader.metadata_service(),
            mfa_serial: reader.mfa_serial(),
            ca_bundle,
            ca_bundle_location,
            unreadable: environment.check_text(&reader::VARIABLES).err().map(SettingError::from),
        }
    }

    /// Returns the settings of the environment, for a profile that cannot be read.
    ///
    /// The unreadable profile may name another metadata service than the default. The default service would then give
    /// the keys of a different principal. So the endpoint of the metadata service is an error, unless a variable names
    /// it.
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

    /// Returns the settings of the environment alone, for sources of `credenza.toml` that use no profile.
    pub(crate) fn of_environment(environment: &Environment) -> Self {
        Self::new(environment, &SharedConfig::default(), None, &|_| Ok(()))
    }

    /// Returns the settings with this region. `None` keeps the region as it is.
    pub(crate) fn with_region(mut self, region: Option<Box<str>>) -> Self {
        if region.is_some() {
            (self.region, self.region_location) = (region, None);
        }
        self
    }

    /// Adds the location that the user has to correct to the error of a call. That is the setting of the region if a
    /// wrong region may be the cause, else `location`.
    pub(crate) fn locate(&self, error: SourceError, location: Option<&Location>) -> SourceError {
        match (self.region_location.as_ref().filter(|_| error.is_of_region), location) {
            // A variable has no line to point at: name it in the message, and use the location of the profile.
            (Some(variable), Some(location)) if variable.is_variable() => {
                error.while_trying(variable).at(location.clone())
            }
            (Some(location), _) | (None, Some(location)) => error.at(location.clone()),
            (None, None) => error,
        }
    }

    /// Returns the parts of a cache key: all settings that influence the answer of a service, without locations.
    pub(crate) fn cache_parts(&self) -> impl Hash {
        let Self {
            region,
            region_location: _,
            use_fips,
            use_dualstack,
            sts_regional,
            endpoints,
            s3_endpoint: _,
            metadata_service,
            mfa_serial: _,
            ca_bundle,
            ca_bundle_location: _,
            unreadable,
        } = self;
        (region, use_fips, use_dualstack, sts_regional, endpoints, metadata_service, ca_bundle, unreadable)
    }
}

impl Endpoints {
    pub(crate) fn of(&self, service: Service) -> &ConfiguredEndpoint {
        match service {
            Service::Sts => &self.sts,
            Service::Sso => &self.sso,
            Service::SsoOidc => &self.sso_oidc,
            Service::Signin => &self.signin,
        }
    }
}
