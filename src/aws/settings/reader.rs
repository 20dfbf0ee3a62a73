//! Reads the settings for calls to AWS, in the precedence of the SDKs.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use crate::aws::settings::{ConfiguredEndpoint, Endpoints, SettingError, StsRegional, TrustCheck};
use crate::http::url::Url;
use crate::model::location::Location;
use crate::model::text::Escaped;
use crate::os::environment::Environment;
use crate::shared_config::SharedConfig;
use crate::shared_config::section::{Property, Section};

/// A variable and the property with an equal meaning.
pub(super) const METADATA_ENDPOINT: (&str, &str) =
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint");
const METADATA_MODE: (&str, &str) = ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ec2_metadata_service_endpoint_mode");

const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// All variables that decide about a call to AWS.
pub(super) const VARIABLES: [&str; 12] = [
    REGION_VARIABLES[0],
    REGION_VARIABLES[1],
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_SSO",
    "AWS_ENDPOINT_URL_SSO_OIDC",
    "AWS_ENDPOINT_URL_SIGNIN",
    "AWS_CA_BUNDLE",
];

/// Reads settings from the environment and from a profile.
pub(super) struct SettingReader<'a> {
    pub(super) environment: &'a Environment,
    pub(super) files: &'a SharedConfig,
    pub(super) profile: Option<&'a Section>,
    pub(super) trusted: TrustCheck<'a>,
}

impl<'a> SettingReader<'a> {
    /// A property of the profile, unless it is empty.
    fn property(&self, name: &str) -> Option<(&'a str, &'a Property)> {
        let property = self.profile?.get(name)?;
        Some((property.value().trim(), property)).filter(|(value, _)| !value.is_empty())
    }

    /// The error if the file of a property must not decide where requests go.
    fn check_trust(&self, name: &str, property: &Property) -> Result<(), SettingError> {
        (self.trusted)(property).map_err(|why| {
            SettingError::new(format!("{name} is not used, because it says where requests go and {why}"))
                .at(property.location())
        })
    }

    /// Returns the region and the location of its setting.
    pub(super) fn region(&self) -> Option<(Box<str>, Location)> {
        let variable = |name: &str| Some((self.environment.get(name)?, Location::variable(name)));
        let property = || {
            let (value, at) = self.property("region")?;
            let location = at.location().with_property("region");
            Some((value, self.profile.iter().fold(location, |location, profile| location.in_profile(profile.name()))))
        };
        let (value, location) = REGION_VARIABLES.into_iter().find_map(variable).or_else(property)?;
        Some((value.into(), location))
    }

    /// Returns true if the variable, or else the property, is `true`. The variable takes precedence, also with the
    /// value `false`.
    pub(super) fn is_true(&self, variable: &str, name: &str) -> bool {
        let value = self.environment.get(variable).or_else(|| self.property(name).map(|(value, _)| value));
        value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub(super) fn mfa_serial(&self) -> Option<Box<str>> {
        self.property("mfa_serial").map(|(serial, _)| serial.into())
    }

    pub(super) fn sts_regional(&self) -> StsRegional {
        const VARIABLE: &str = "AWS_STS_REGIONAL_ENDPOINTS";
        const NAME: &str = "sts_regional_endpoints";
        let setting = match (self.environment.get(VARIABLE), self.property(NAME)) {
            (Some(text), _) => SettingText::variable(VARIABLE, text),
            (None, Some((text, property))) => SettingText::property(NAME, text, property),
            (None, None) => return StsRegional::default(),
        };
        match setting.text.to_ascii_lowercase().as_str() {
            "regional" => StsRegional::Regional,
            "legacy" => StsRegional::Legacy,
            _ => StsRegional::Refused(
                setting.error(format_args!("is {}", Escaped(setting.text)), "write regional or legacy"),
            ),
        }
    }

    pub(super) fn endpoints(&self) -> Endpoints {
        if self.ignores_endpoints() {
            return Endpoints::default();
        }
        Endpoints {
            sts: self.endpoint("AWS_ENDPOINT_URL_STS", "sts"),
            sso: self.endpoint("AWS_ENDPOINT_URL_SSO", "sso"),
            sso_oidc: self.endpoint("AWS_ENDPOINT_URL_SSO_OIDC", "sso_oidc"),
            signin: self.endpoint("AWS_ENDPOINT_URL_SIGNIN", "signin"),
        }
    }

    /// Returns the endpoint of a service. The order is that of the SDKs: the variable of the service,
    /// `AWS_ENDPOINT_URL`, the `services` section of the profile, `endpoint_url` of the profile.
    fn endpoint(&self, variable: &str, service: &str) -> ConfiguredEndpoint {
        for variable in [variable, "AWS_ENDPOINT_URL"] {
            if let Some(text) = self.environment.get(variable) {
                return Some(SettingText::variable(variable, text).url());
            }
        }
        Some(self.endpoint_of_profile(service)?.and_then(|setting| setting.url()))
    }

    /// Returns the S3 endpoint of a profile that names one, without a slash at its end. As in the SDKs, a variable takes
    /// precedence. Without an endpoint in the profile the variables do not count: they hold for all keys of the user.
    pub(super) fn s3_endpoint(&self) -> Option<Result<Box<str>, SettingError>> {
        if self.ignores_endpoints() {
            return None;
        }
        let of_profile = self.endpoint_of_profile("s3")?;
        let variable = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
            .into_iter()
            .find_map(|name| Some(SettingText::variable(name, self.environment.get(name)?)));
        Some(variable.map_or(of_profile, Ok).and_then(|setting| {
            setting.url()?;
            Ok(setting.text.trim().trim_end_matches('/').into())
        }))
    }

    fn ignores_endpoints(&self) -> bool {
        self.is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls")
    }

    /// Returns the endpoint of a service in the `services` section of the profile, else `endpoint_url` of the profile.
    fn endpoint_of_profile(&self, service: &str) -> Option<Result<SettingText<'a>, SettingError>> {
        if let Some(of_service) = self.endpoint_in_services(service) {
            return Some(of_service);
        }
        let (text, property) = self.property("endpoint_url")?;
        let trusted = self.check_trust("endpoint_url", property);
        Some(trusted.map(|()| SettingText::property("endpoint_url", text, property)))
    }

    /// Returns the endpoint in the `services` section that the profile names. Both the reference and the section decide
    /// where requests go, so both files must be trusted.
    fn endpoint_in_services(&self, service: &str) -> Option<Result<SettingText<'a>, SettingError>> {
        let (name, reference) = self.property("services")?;
        let Some(section) = self.files.services(name) else {
            return Some(Err(SettingError::new(format!(
                "services names [services {}], which does not exist",
                Escaped(name)
            ))
            .with_hint("add it, or correct the name")
            .at(reference.location())));
        };
        let property = section.get(service)?;
        let endpoint = property.sub_property("endpoint_url").filter(|endpoint| !endpoint.value().trim().is_empty())?;
        let setting = SettingText {
            name: format!("{service}.endpoint_url of [services {}]", Escaped(name)).into(),
            text: endpoint.value(),
            location: Some(Location::line(property.path(), endpoint.line() as usize)),
        };
        let trusted = self.check_trust("services", reference);
        let trusted = trusted.and_then(|()| self.check_trust(&setting.name, property));
        Some(trusted.map(|()| setting))
    }

    /// Returns the endpoint of the metadata service. As in botocore, an endpoint takes precedence over a mode (IPv4 or
    /// IPv6), and a variable over a property.
    pub(super) fn metadata_service(&self) -> ConfiguredEndpoint {
        if let Some(setting) = self.trusted_setting(METADATA_ENDPOINT) {
            return Some(setting.and_then(|setting| setting.url()));
        }
        Some(self.trusted_setting(METADATA_MODE)?.and_then(|mode| {
            let address = match mode.text.to_ascii_lowercase().as_str() {
                "ipv4" => "http://169.254.169.254",
                "ipv6" => "http://[fd00:ec2::254]",
                _ => return Err(mode.error("is neither IPv4 nor IPv6", "write one of them")),
            };
            Url::parse(address).map_err(|error| SettingError::new(error.to_string()))
        }))
    }

    /// Returns the variable, else the property. It is an error if the file of the property is not trusted to decide
    /// where requests go.
    fn trusted_setting(&self, (variable, name): (&'a str, &'a str)) -> Option<Result<SettingText<'a>, SettingError>> {
        match self.environment.text(variable) {
            Ok(Some(text)) => return Some(Ok(SettingText::variable(variable, text))),
            Ok(None) => {}
            Err(error) => return Some(Err(error.into())),
        }
        let (text, property) = self.property(name)?;
        Some(self.check_trust(name, property).map(|()| SettingText::property(name, text, property)))
    }

    pub(super) fn ca_bundle(&self) -> Option<(Result<Box<Path>, SettingError>, Location)> {
        const VARIABLE: &str = "AWS_CA_BUNDLE";
        const NAME: &str = "ca_bundle";
        let expand = |path: &str| self.environment.expand(Path::new(path)).into();
        if let Some(path) = self.environment.get(VARIABLE) {
            return Some((Ok(expand(path)), Location::variable(VARIABLE)));
        }
        let (path, property) = self.property(NAME)?;
        let bundle = self.check_trust(NAME, property).map(|()| expand(path));
        Some((bundle, property.location().with_property(NAME)))
    }
}

/// The text of one setting, and its origin for messages.
struct SettingText<'a> {
    /// The name of the variable or of the property.
    name: Cow<'a, str>,
    text: &'a str,
    /// The line of the property. `None` for a variable.
    location: Option<Location>,
}

impl<'a> SettingText<'a> {
    fn variable(name: &'a str, text: &'a str) -> Self {
        Self { name: name.into(), text, location: None }
    }

    fn property(name: &'a str, text: &'a str, property: &Property) -> Self {
        Self { name: name.into(), text, location: Some(property.location()) }
    }

    /// The error of a wrong setting: `NAME WHY; FIX, or remove the line`.
    fn error(&self, why: impl fmt::Display, fix: &str) -> SettingError {
        let undo = if self.location.is_some() { "remove the line" } else { "unset it" };
        SettingError::new(format!("{} {why}", self.name))
            .with_hint(format!("{fix}, or {undo}"))
            .at(self.location.clone())
    }

    /// The URL of an endpoint.
    fn url(&self) -> Result<Url, SettingError> {
        const FIX: &str = "write one such as https://host:port";
        let url = Url::parse(self.text).map_err(|error| self.error(error, FIX))?;
        if url.has_query() {
            return Err(self.error("has a query (?…), which no endpoint can have", FIX));
        }
        Ok(url)
    }
}
