use crate::aws::settings::*;
use crate::os::environment::Environment;
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
    /// The settings of the profile `p`. If `trusted` is false, the credentials file is not trusted.
    fn settings(&self) -> Settings {
        let config = FileContent { path: Path::new("/c"), bytes: self.config.as_bytes() };
        let credentials = FileContent { path: Path::new("/k"), bytes: self.credentials.as_bytes() };
        let files = SharedConfig::parse(Some(config), Some(credentials)).unwrap();
        let trusted = |property: &Property| match property.file() {
            SharedFile::Credentials if !self.trusted => Err("the file is not ours".to_owned()),
            _ => Ok(()),
        };
        let environment = Environment::new([("HOME", "/h")].into_iter().chain(self.variables.iter().copied()));
        Settings::new(&environment, &files, files.profile("p"), &trusted)
    }
}

fn of(variables: &[(&str, &str)], config: &str) -> Settings {
    Case { variables, config, ..Case::default() }.settings()
}

/// `-`, the URL, or `!` and the error.
fn shown(configured: &ConfiguredEndpoint) -> String {
    match configured {
        None => "-".into(),
        Some(Ok(url)) => url.to_string(),
        Some(Err(error)) => format!("!{}", told(error)),
    }
}

fn told(error: &SettingError) -> String {
    SourceError::from(error.clone()).to_string()
}

#[test]
fn empty_settings_are_the_default() {
    assert_eq!(of(&[], "[profile p]\nregion =\nendpoint_url =\nca_bundle="), Settings::default());
    assert_eq!(Settings::of_environment(&Environment::default()), Settings::default());
    let named = of(&[("AWS_REGION", "r")], "");
    assert_eq!(named.region_location, Some(Location::variable("AWS_REGION")));
    assert_eq!(Settings { region_location: None, ..named }, Settings::default().with_region(Some("r".into())));
    assert_eq!(Settings::default().with_region(Some("r".into())).with_region(None).region.as_deref(), Some("r"));
}

#[test]
fn environment_beats_profile() {
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
fn names_location_of_wrong_sts_regional_endpoints() {
    let refused = |settings: Settings| match settings.sts_regional {
        StsRegional::Refused(error) => told(&error),
        other => panic!("{other:?}"),
    };
    let expected = "/c, line 2: sts_regional_endpoints is x\\u{7}; write regional or legacy, or remove the line";
    assert_eq!(refused(of(&[], "[profile p]\nsts_regional_endpoints = x\u{7}")), expected);
    let expected = "AWS_STS_REGIONAL_ENDPOINTS is x; write regional or legacy, or unset it";
    assert_eq!(refused(of(&[("AWS_STS_REGIONAL_ENDPOINTS", "x")], "")), expected);
}

#[test]
fn finds_metadata_service_in_environment_or_profile() {
    const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
    const MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
    let both = "[profile p]\nec2_metadata_service_endpoint = http://profile\nec2_metadata_service_endpoint_mode = IPv6";
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
            "!/c, line 2: ec2_metadata_service_endpoint_mode is neither IPv4 nor IPv6; write one of them, or remove \
             the line",
        ),
    ] {
        assert_eq!(shown(&of(variables, config).metadata_service), url, "{variables:?} {config}");
    }
    let unread = |variables: &[(&str, &str)]| {
        let environment = Environment::new(variables.iter().copied());
        let error = SourceError::unavailable("torn").at(Location::line(Path::new("/c"), 7)).with_hint("mend it");
        shown(&Settings::without_profile(&environment, &error).metadata_service)
    };
    let expected = "!/c, line 7: the endpoint of the metadata service is unknown, because the profile cannot be read: \
                    torn; mend it";
    assert_eq!((unread(&[]), unread(&[(MODE, "IPv4")])), (expected.into(), expected.into()));
    assert_eq!(unread(&[(ENDPOINT, "http://127.0.0.1:8080/")]), "http://127.0.0.1:8080/");
    let refusal = shown(&of(&[(ENDPOINT, "http://u:hush@h/")], "").metadata_service);
    assert!(refusal.starts_with('!') && !refusal.contains("hush"), "{refusal}");
    for (name, value) in [("ec2_metadata_service_endpoint", "http://k"), ("ec2_metadata_service_endpoint_mode", "IPv6")]
    {
        let credentials = format!("[p]\n{name} = {value}");
        let settings = Case { credentials: &credentials, trusted: false, ..Case::default() }.settings();
        assert_eq!(shown(&settings.metadata_service), distrusted(2, name));
    }
}

/// The error of a setting in this line of the untrusted credentials file.
fn distrusted(line: usize, name: &str) -> String {
    format!("!/k, line {line}: {name} is not used, because it says where requests go and the file is not ours")
}

#[test]
fn endpoints_have_the_precedence_of_the_sdks() {
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
fn names_location_of_unusable_endpoints() {
    let cases = [
        (
            "[profile p]\nendpoint_url = ftp://h",
            "!/c, line 2: endpoint_url begins neither with http:// nor with https://; write one such as \
             https://host:port, or remove the line",
        ),
        (
            "[profile p]\nendpoint_url = http://h?x",
            "!/c, line 2: endpoint_url has a query (?…), which no endpoint can have; write one such as \
             https://host:port, or remove the line",
        ),
        (
            "[profile p]\nservices = s",
            "!/c, line 2: services names [services s], which does not exist; add it, or correct the name",
        ),
        (
            "[profile p]\nservices = s\n[services s]\nsts =\n endpoint_url = http://u:hush@h",
            "!/c, line 5: sts.endpoint_url of [services s] contains a user name, which is not allowed here; write one \
             such as https://host:port, or remove the line",
        ),
    ];
    for (config, error) in cases {
        assert_eq!(shown(&of(&[], config).endpoints.sts), error);
    }
    let variable = [("AWS_ENDPOINT_URL", "h:1")];
    let error = "!AWS_ENDPOINT_URL begins neither with http:// nor with https://; write one such as \
                 https://host:port, or unset it";
    assert_eq!(shown(&of(&variable, "").endpoints.sts), error);
}

#[test]
fn untrusted_files_do_not_decide_where_requests_go() {
    let config = "[services s]\nsts =\n endpoint_url = http://services";
    let credentials =
        "[p]\nregion = r\nservices = s\nendpoint_url = http://profile\nca_bundle = /ca\nuse_fips_endpoint = true";
    let case = Case { config, credentials, trusted: false, ..Case::default() };
    let found = case.settings();
    assert_eq!((found.region.as_deref(), found.use_fips), (Some("r"), true));
    assert_eq!(shown(&found.endpoints.sts), distrusted(3, "services"));
    assert_eq!(shown(&found.endpoints.sso), distrusted(4, "endpoint_url"));
    let ca_bundle = found.ca_bundle.unwrap().unwrap_err();
    assert_eq!(format!("!{}", told(&ca_bundle)), distrusted(5, "ca_bundle"));
    // The error fails the calls that need the setting only: a variable overrides the file.
    let variables = &[("AWS_ENDPOINT_URL_STS", "http://own"), ("AWS_CA_BUNDLE", "/e")];
    let found = Case { variables, ..case }.settings();
    assert_eq!(
        (shown(&found.endpoints.sts), shown(&found.endpoints.sso)),
        ("http://own/".into(), distrusted(4, "endpoint_url"))
    );
    assert_eq!(found.ca_bundle, Some(Ok(Path::new("/e").into())));
    let trusting = Case { config, credentials, ..Case::default() }.settings();
    assert_eq!(shown(&trusting.endpoints.sts), "http://services/");
}
