//! What the environment, a profile and its `services` section say about calling AWS.

use std::hash::Hash;
use std::path::Path;

use crate::aws::service::Service;
use crate::http::url::Url;
use crate::model::error::SourceError;
use crate::model::location::Location;
use crate::model::text::Escaped;
use crate::os::environment::Environment;
use crate::shared_config::SharedConfig;
use crate::shared_config::property::{Property, Section};

/// Whether the file a property stands in may decide where requests go; if not, why, for the user.
pub(crate) type TrustCheck<'a> = &'a dyn Fn(&Property) -> Result<(), String>;

/// How to call AWS for one profile. It is plain data: two profiles with equal settings call alike.
///
/// A setting that must not be obeyed or makes no sense is kept as a refusal, and fails only the call that needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's `region`: the environment before the profile, as in all SDKs.
    /// (botocore does not know `AWS_REGION`; the AWS CLI and the other SDKs ask it first.) `None` is unknown.
    pub(crate) region: Option<Box<str>>,
    /// The place of the region.
    pub(crate) region_location: Option<Location>,
    /// `AWS_USE_FIPS_ENDPOINT`, `use_fips_endpoint`.
    pub(crate) use_fips: bool,
    /// `AWS_USE_DUALSTACK_ENDPOINT`, `use_dualstack_endpoint`.
    pub(crate) use_dualstack: bool,
    /// `AWS_STS_REGIONAL_ENDPOINTS`, `sts_regional_endpoints`.
    pub(crate) sts_regional: StsRegional,
    /// Endpoints that somebody configured.
    pub(crate) endpoints: Endpoints,
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT`, `ec2_metadata_service_endpoint`; else the address of the mode that
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE` or `ec2_metadata_service_endpoint_mode` names.
    pub(crate) metadata_service: ConfiguredEndpoint,
    /// `AWS_CA_BUNDLE`, `ca_bundle`.
    pub(crate) ca_bundle: Option<Result<Box<Path>, SettingError>>,
    /// The place of the CA bundle's path.
    pub(crate) ca_bundle_location: Option<Location>,
}

/// A variable, and the property of the same meaning.
const METADATA_ENDPOINT: (&str, &str) = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint");
const METADATA_MODE: (&str, &str) = ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ec2_metadata_service_endpoint_mode");

const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// Where STS is asked in the regions that are older than its regional endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum StsRegional {
    /// In the region, as all SDKs do today.
    #[default]
    Regional,
    /// At `sts.amazonaws.com`.
    Legacy,
    /// Somebody wrote something else.
    Refused(SettingError),
}

/// The configured endpoint of each service, after precedence.
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

/// Nothing, a URL, or the reason why what is configured must not be used.
pub(crate) type ConfiguredEndpoint = Option<Result<Url, SettingError>>;

/// A message for the user that says which setting, where it stands and what is wrong with it.
pub(crate) type SettingError = Box<str>;

impl Settings {
    /// What holds for a profile, or without one. `trusted` judges the file that a property stands in.
    #[must_use]
    pub(crate) fn new(
        environment: &Environment,
        files: &SharedConfig,
        profile: Option<&Section>,
        trusted: TrustCheck<'_>,
    ) -> Self {
        let sources = SettingSources { environment, files, profile, trusted };
        let (region, region_location) = sources.region().unzip();
        let (ca_bundle, ca_bundle_location) = sources.ca_bundle().unzip();
        Self {
            region,
            region_location,
            use_fips: sources.is_true("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
            use_dualstack: sources.is_true("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
            sts_regional: sources.sts_regional(),
            endpoints: sources.endpoints(),
            metadata_service: sources.metadata_service(),
            ca_bundle,
            ca_bundle_location,
        }
    }

    /// What the environment says where the profile cannot be read: it may have said something else of the metadata
    /// service, which gives keys to whoever asks, and so must not be guessed.
    #[must_use]
    pub(crate) fn without_profile(environment: &Environment, failure: &SourceError) -> Self {
        let mut settings = Self::of_environment(environment);
        if environment.get(METADATA_ENDPOINT.0).is_none() {
            let refusal =
                format!("where the metadata service is stands in the profile, which cannot be read: {failure}");
            settings.metadata_service = Some(Err(refusal.into()));
        }
        settings
    }

    /// What the environment says by itself, for sources of `credenza.toml` that stand on no profile.
    #[must_use]
    pub(crate) fn of_environment(environment: &Environment) -> Self {
        Self::new(environment, &SharedConfig::default(), None, &|_| Ok(()))
    }

    /// The same in another region; `None` keeps the region.
    #[must_use]
    pub(crate) fn with_region(mut self, region: Option<Box<str>>) -> Self {
        if region.is_some() {
            (self.region, self.region_location) = (region, None);
        }
        self
    }

    /// The error of a call that was made with these settings, at the place that a person has to look at: the place of
    /// the region if the region may be wrong, else `location`.
    #[must_use]
    pub(crate) fn locate(&self, error: SourceError, location: Option<&Location>) -> SourceError {
        match (self.region_location.as_ref().filter(|_| error.is_of_region), location) {
            // A variable has no file, so that the message names it and the location is the profile's.
            (Some(variable), Some(location)) if variable.is_variable() => {
                error.while_trying(variable).at(location.clone())
            }
            (Some(location), _) | (None, Some(location)) => error.at(location.clone()),
            (None, None) => error,
        }
    }

    /// All that decides what a service answers. Where a setting is written does not.
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
    /// What is configured for this service.
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

struct SettingSources<'a> {
    environment: &'a Environment,
    files: &'a SharedConfig,
    profile: Option<&'a Section>,
    trusted: TrustCheck<'a>,
}

impl<'a> SettingSources<'a> {
    /// A property of the profile that says something.
    fn property(&self, name: &str) -> Option<(&'a str, &'a Property)> {
        let property = self.profile?.get(name)?;
        Some((property.value().trim(), property)).filter(|(value, _)| !value.is_empty())
    }

    /// The region and its place.
    fn region(&self) -> Option<(Box<str>, Location)> {
        let variable = |name: &str| Some((self.environment.get(name)?, Location::variable(name)));
        let property = || {
            let (value, at) = self.property("region")?;
            let location = at.location().with_property("region");
            Some((value, self.profile.iter().fold(location, |location, profile| location.in_profile(profile.name()))))
        };
        let (value, location) = REGION_VARIABLES.into_iter().find_map(variable).or_else(property)?;
        Some((value.into(), location))
    }

    /// The variable decides if it says anything at all, so that `false` there beats `true` in the profile.
    fn is_true(&self, variable: &str, name: &str) -> bool {
        let value = self.environment.get(variable).or_else(|| self.property(name).map(|(value, _)| value));
        value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn sts_regional(&self) -> StsRegional {
        const VARIABLE: &str = "AWS_STS_REGIONAL_ENDPOINTS";
        const NAME: &str = "sts_regional_endpoints";
        let (value, origin) = match (self.environment.get(VARIABLE), self.property(NAME)) {
            (Some(value), _) => (value, VARIABLE.to_owned()),
            (None, Some((value, property))) => (value, origin(NAME, property)),
            (None, None) => return StsRegional::default(),
        };
        match value.to_ascii_lowercase().as_str() {
            "regional" => StsRegional::Regional,
            "legacy" => StsRegional::Legacy,
            _ => StsRegional::Refused(format!("{origin} is {}, and must be regional or legacy", Escaped(value)).into()),
        }
    }

    fn endpoints(&self) -> Endpoints {
        if self.is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls") {
            return Endpoints::default();
        }
        Endpoints {
            sts: self.endpoint("AWS_ENDPOINT_URL_STS", "sts"),
            sso: self.endpoint("AWS_ENDPOINT_URL_SSO", "sso"),
            sso_oidc: self.endpoint("AWS_ENDPOINT_URL_SSO_OIDC", "sso_oidc"),
            signin: self.endpoint("AWS_ENDPOINT_URL_SIGNIN", "signin"),
        }
    }

    /// The order of the SDKs: the service's variable, `AWS_ENDPOINT_URL`, the service in the `services` section of the
    /// profile, `endpoint_url` of the profile.
    fn endpoint(&self, variable: &str, service: &str) -> ConfiguredEndpoint {
        for variable in [variable, "AWS_ENDPOINT_URL"] {
            if let Some(text) = self.environment.get(variable) {
                return Some(url(text, variable, "unset it"));
            }
        }
        if let Some(of_service) = self.endpoint_in_services(service) {
            return Some(of_service);
        }
        let (text, property) = self.property("endpoint_url")?;
        Some(
            (self.trusted)(property)
                .map_err(Into::into)
                .and_then(|()| url(text, &origin("endpoint_url", property), REMOVE)),
        )
    }

    /// Both the reference and the section behind it decide where requests go, so both have to be trusted.
    fn endpoint_in_services(&self, service: &str) -> ConfiguredEndpoint {
        let (name, reference) = self.property("services")?;
        let Some(section) = self.files.services(name) else {
            let origin = origin("services", reference);
            return Some(Err(format!(
                "{origin} names [services {}], which does not exist; add it, or correct the name",
                Escaped(name)
            )
            .into()));
        };
        let property = section.get(service)?;
        let endpoint = property.sub_property("endpoint_url").filter(|endpoint| !endpoint.value().trim().is_empty())?;
        let origin = format!(
            "{service}.endpoint_url of [services {}] ({} line {})",
            Escaped(name),
            Escaped(&property.path().to_string_lossy()),
            endpoint.line()
        );
        let trusted = (self.trusted)(reference).and_then(|()| (self.trusted)(property));
        Some(trusted.map_err(Into::into).and_then(|()| url(endpoint.value(), &origin, REMOVE)))
    }

    /// The order of botocore: an endpoint before a mode, and of each the variable before the profile.
    fn metadata_service(&self) -> ConfiguredEndpoint {
        if let Some((text, origin, undo)) = self.trusted_value(METADATA_ENDPOINT) {
            return Some(text.and_then(|text| url(text, &origin, undo)));
        }
        let (text, origin, undo) = self.trusted_value(METADATA_MODE)?;
        Some(text.and_then(|text| match text.to_ascii_lowercase().as_str() {
            "ipv4" => Url::parse("http://169.254.169.254").map_err(|bad| bad.to_string().into()),
            "ipv6" => Url::parse("http://[fd00:ec2::254]").map_err(|bad| bad.to_string().into()),
            _ => Err(format!("{origin} is neither IPv4 nor IPv6; write one of them, or {undo}").into()),
        }))
    }

    /// The variable, else the property, whose file may decide where requests go; where that stands, and what else can be
    /// done about a wrong one than to correct it.
    fn trusted_value(
        &self,
        (variable, name): (&str, &str),
    ) -> Option<(Result<&'a str, SettingError>, String, &'static str)> {
        if let Some(text) = self.environment.get(variable) {
            return Some((Ok(text), variable.to_owned(), "unset it"));
        }
        let (text, property) = self.property(name)?;
        let text = (self.trusted)(property).map(|()| text).map_err(Into::into);
        Some((text, origin(name, property), REMOVE))
    }

    fn ca_bundle(&self) -> Option<(Result<Box<Path>, SettingError>, Location)> {
        const VARIABLE: &str = "AWS_CA_BUNDLE";
        const NAME: &str = "ca_bundle";
        let expand = |path: &str| self.environment.expand(Path::new(path)).into();
        if let Some(path) = self.environment.get(VARIABLE) {
            return Some((Ok(expand(path)), Location::variable(VARIABLE)));
        }
        let (path, property) = self.property(NAME)?;
        let bundle = (self.trusted)(property).map(|()| expand(path)).map_err(Into::into);
        Some((bundle, property.location().with_property(NAME)))
    }
}

/// What else can be done about a wrong property than to correct it.
const REMOVE: &str = "remove the line";

/// The URL of an endpoint. `undo` is what else can be done about one that is none.
fn url(text: &str, origin: &str, undo: &str) -> Result<Url, SettingError> {
    let refused =
        |why: &str| SettingError::from(format!("{origin} {why}; write one such as https://host:port, or {undo}"));
    let url = Url::parse(text).map_err(|bad| refused(&bad.to_string()))?;
    if url.has_query() {
        return Err(refused("has a query (?…), which no endpoint can have"));
    }
    Ok(url)
}

fn origin(name: &str, property: &Property) -> String {
    format!("{name} ({} line {})", Escaped(&property.path().to_string_lossy()), property.line())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_config::{FileContent, SharedFile};

    struct Case<'a> {
        variables: &'a [(&'a str, &'a str)],
        config: &'a str,
        credentials: &'a str,
        trusted: bool,
    }

    impl Default for Case<'_> {
        fn default() -> Self {
            Self { variables: &[], config: "", credentials: "", trusted: true }
        }
    }

    impl Case<'_> {
        /// The settings of the profile `p`. Without trust only the credentials file may not decide.
        fn settings(&self) -> Settings {
            let config = FileContent { path: Path::new("/c"), bytes: self.config.as_bytes() };
            let credentials = FileContent { path: Path::new("/k"), bytes: self.credentials.as_bytes() };
            let files = SharedConfig::parse(Some(config), Some(credentials)).unwrap();
            let trusted = |property: &Property| match property.file() {
                SharedFile::Credentials if !self.trusted => Err("not of this file".to_owned()),
                _ => Ok(()),
            };
            let environment = Environment::new([("HOME", "/h")].into_iter().chain(self.variables.iter().copied()));
            Settings::new(&environment, &files, files.profile("p"), &trusted)
        }
    }

    fn of(variables: &[(&str, &str)], config: &str) -> Settings {
        Case { variables, config, ..Case::default() }.settings()
    }

    /// `-`, the URL, or `!` and the refusal.
    fn shown(configured: &ConfiguredEndpoint) -> String {
        match configured {
            None => "-".into(),
            Some(Ok(url)) => url.to_string(),
            Some(Err(refusal)) => format!("!{refusal}"),
        }
    }

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!(of(&[], "[profile p]\nregion =\nendpoint_url =\nca_bundle="), Settings::default());
        assert_eq!(Settings::of_environment(&Environment::default()), Settings::default());
        let named = of(&[("AWS_REGION", "r")], "");
        assert_eq!(named.region_location, Some(Location::variable("AWS_REGION")));
        assert_eq!(Settings { region_location: None, ..named }, Settings::default().with_region(Some("r".into())));
        assert_eq!(Settings::default().with_region(Some("r".into())).with_region(None).region.as_deref(), Some("r"));
    }

    #[test]
    fn the_environment_comes_before_the_profile() {
        let profile = "[profile p]\nregion = c\nuse_fips_endpoint = TRUE\nuse_dualstack_endpoint = true\n\
            sts_regional_endpoints = Legacy\nca_bundle = ~/c";
        let a = ("AWS_REGION", "a");
        let b = ("AWS_DEFAULT_REGION", "b");
        for (variables, region) in [(&[a, b][..], "a"), (&[b], "b"), (&[("AWS_REGION", " ")], "c"), (&[], "c")] {
            assert_eq!(of(variables, profile).region.as_deref(), Some(region));
        }
        let found = of(&[], profile);
        assert!(found.use_fips && found.use_dualstack);
        assert_eq!(found.sts_regional, StsRegional::Legacy);
        assert_eq!(found.ca_bundle, Some(Ok(Path::new("/h/c").into())));
        assert_eq!(found.ca_bundle_location.map(|at| at.named()).as_deref(), Some("ca_bundle (/c line 6)"));
        let found = of(
            &[
                ("AWS_USE_FIPS_ENDPOINT", "false"),
                ("AWS_USE_DUALSTACK_ENDPOINT", "1"),
                ("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
                ("AWS_CA_BUNDLE", "/e"),
            ],
            profile,
        );
        assert!(!found.use_fips && !found.use_dualstack);
        assert_eq!(found.sts_regional, StsRegional::Regional);
        assert_eq!(found.ca_bundle, Some(Ok(Path::new("/e").into())));
        assert_eq!(found.ca_bundle_location.map(|at| at.named()).as_deref(), Some("AWS_CA_BUNDLE"));
    }

    #[test]
    fn a_wrong_choice_of_sts_names_its_place() {
        let refused = |settings: Settings| match settings.sts_regional {
            StsRegional::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        };
        let told = "sts_regional_endpoints (/c line 2) is x\\u{7}, and must be regional or legacy";
        assert_eq!(&*refused(of(&[], "[profile p]\nsts_regional_endpoints = x\u{7}")), told);
        let told = "AWS_STS_REGIONAL_ENDPOINTS is x, and must be regional or legacy";
        assert_eq!(&*refused(of(&[("AWS_STS_REGIONAL_ENDPOINTS", "x")], "")), told);
    }

    #[test]
    fn the_metadata_service_is_where_the_environment_has_it_or_the_profile() {
        const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
        const MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
        let both =
            "[profile p]\nec2_metadata_service_endpoint = http://profile\nec2_metadata_service_endpoint_mode = IPv6";
        let mode = "[profile p]\nec2_metadata_service_endpoint_mode = IPv6";
        let (four, six) = ("http://169.254.169.254/", "http://[fd00:ec2::254]/");
        for (variables, config, url) in [
            (&[][..], "", "-"),
            (&[(MODE, "ipv4")], "", four),
            (&[(MODE, "IPv6")], "", six),
            (&[(ENDPOINT, "http://127.0.0.1:8080/"), (MODE, "IPv5")], "", "http://127.0.0.1:8080/"),
            (&[(ENDPOINT, "https://h"), (MODE, "IPv6")], both, "https://h/"),
            (&[(MODE, "IPv4")], both, "http://profile/"),
            (&[(MODE, "IPv4")], mode, four),
            (&[], mode, six),
            (
                &[(MODE, "IPv5")],
                mode,
                "!AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is neither IPv4 nor IPv6; write one of them, or unset it",
            ),
            (
                &[(ENDPOINT, "169.254.169.254")],
                both,
                "!AWS_EC2_METADATA_SERVICE_ENDPOINT begins neither with http:// nor with https://; write one such as \
                 https://host:port, or unset it",
            ),
            (
                &[],
                "[profile p]\nec2_metadata_service_endpoint_mode = 6",
                "!ec2_metadata_service_endpoint_mode (/c line 2) is neither IPv4 nor IPv6; write one of them, or remove the line",
            ),
        ] {
            assert_eq!(shown(&of(variables, config).metadata_service), url, "{variables:?} {config}");
        }
        let unread = |variables: &[(&str, &str)]| {
            let environment = Environment::new(variables.iter().copied());
            shown(&Settings::without_profile(&environment, &SourceError::unavailable("torn")).metadata_service)
        };
        let told = "!where the metadata service is stands in the profile, which cannot be read: torn";
        assert_eq!((unread(&[]), unread(&[(MODE, "IPv4")])), (told.into(), told.into()));
        assert_eq!(unread(&[(ENDPOINT, "http://127.0.0.1:8080/")]), "http://127.0.0.1:8080/");
        let refusal = shown(&of(&[(ENDPOINT, "http://u:hush@h/")], "").metadata_service);
        assert!(refusal.starts_with('!') && !refusal.contains("hush"), "{refusal}");
        for credentials in ["ec2_metadata_service_endpoint = http://k", "ec2_metadata_service_endpoint_mode = IPv6"] {
            let credentials = format!("[p]\n{credentials}");
            let settings = Case { credentials: &credentials, trusted: false, ..Case::default() }.settings();
            assert_eq!(shown(&settings.metadata_service), "!not of this file");
        }
    }

    #[test]
    fn endpoints_come_in_the_order_of_the_sdks() {
        let profile = "[profile p]\nservices = s\nendpoint_url = http://profile\n\
            [services s]\nsts =\n endpoint_url = http://services\nsso_oidc =\n Endpoint_URL = http://oidc\nsignin =\n x = y";
        let own = ("AWS_ENDPOINT_URL_STS", "http://own");
        let all = ("AWS_ENDPOINT_URL", "http://all");
        let ignored = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
        for (variables, urls) in [
            (&[own, all][..], ["http://own/", "http://all/", "http://all/", "http://all/"]),
            (&[all], ["http://all/", "http://all/", "http://all/", "http://all/"]),
            (&[own], ["http://own/", "http://profile/", "http://oidc/", "http://profile/"]),
            (&[], ["http://services/", "http://profile/", "http://oidc/", "http://profile/"]),
            (&[own, all, ignored], ["-", "-", "-", "-"]),
        ] {
            let found = of(variables, profile).endpoints;
            let shown = [&found.sts, &found.sso, &found.sso_oidc, &found.signin].map(shown);
            assert_eq!(shown, urls, "{variables:?}");
        }
        for (variable, service) in [
            ("AWS_ENDPOINT_URL_STS", Service::Sts),
            ("AWS_ENDPOINT_URL_SSO", Service::Sso),
            ("AWS_ENDPOINT_URL_SSO_OIDC", Service::SsoOidc),
            ("AWS_ENDPOINT_URL_SIGNIN", Service::Signin),
        ] {
            assert_eq!(shown(of(&[(variable, "http://v")], profile).endpoints.of(service)), "http://v/");
        }
        let ignoring = profile.replace("services = s", "ignore_configured_endpoint_urls = true\nservices = s");
        assert_eq!(of(&[all], &ignoring).endpoints, Endpoints::default());
        let heeding = [("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false")];
        assert_eq!(shown(&of(&heeding, &ignoring).endpoints.sts), "http://services/");
    }

    #[test]
    fn what_must_not_be_used_says_where_it_stands() {
        let cases = [
            (
                "[profile p]\nendpoint_url = ftp://h",
                "!endpoint_url (/c line 2) begins neither with http:// nor with https://; write one such as \
                 https://host:port, or remove the line",
            ),
            (
                "[profile p]\nendpoint_url = http://h?x",
                "!endpoint_url (/c line 2) has a query (?…), which no endpoint can have; write one such as https://host:port, or \
                 remove the line",
            ),
            (
                "[profile p]\nservices = s",
                "!services (/c line 2) names [services s], which does not exist; add it, or correct the name",
            ),
            (
                "[profile p]\nservices = s\n[services s]\nsts =\n endpoint_url = http://u:hush@h",
                "!sts.endpoint_url of [services s] (/c line 5) carries a user name, which has no place in it; write one such \
                 as https://host:port, or remove the line",
            ),
        ];
        for (config, refusal) in cases {
            assert_eq!(shown(&of(&[], config).endpoints.sts), refusal);
        }
        let variable = [("AWS_ENDPOINT_URL", "h:1")];
        let told = "!AWS_ENDPOINT_URL begins neither with http:// nor with https://; write one such as https://host:port, or \
                    unset it";
        assert_eq!(shown(&of(&variable, "").endpoints.sts), told);
    }

    #[test]
    fn files_that_are_not_trusted_decide_nothing_about_where_requests_go() {
        let config = "[services s]\nsts =\n endpoint_url = http://services";
        let credentials =
            "[p]\nregion = r\nservices = s\nendpoint_url = http://profile\nca_bundle = /ca\nuse_fips_endpoint = true";
        let case = Case { config, credentials, trusted: false, ..Case::default() };
        let found = case.settings();
        assert_eq!((found.region.as_deref(), found.use_fips), (Some("r"), true));
        assert_eq!(shown(&found.endpoints.sts), "!not of this file");
        assert_eq!(shown(&found.endpoints.sso), "!not of this file");
        assert_eq!(found.ca_bundle, Some(Err("not of this file".into())));
        // A refusal fails who needs it: with a variable nobody looks at the file.
        let variables = &[("AWS_ENDPOINT_URL_STS", "http://own"), ("AWS_CA_BUNDLE", "/e")];
        let found = Case { variables, ..case }.settings();
        assert_eq!(
            (&*shown(&found.endpoints.sts), &*shown(&found.endpoints.sso)),
            ("http://own/", "!not of this file")
        );
        assert_eq!(found.ca_bundle, Some(Ok(Path::new("/e").into())));
        let trusting = Case { config, credentials, ..Case::default() }.settings();
        assert_eq!(shown(&trusting.endpoints.sts), "http://services/");
    }
}
