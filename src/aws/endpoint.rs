//! The URL of a service and the region of its signatures, by the endpoint rule sets of the SDKs.

use crate::aws::partition::Partition;
use crate::aws::service::Service;
use crate::aws::settings::{Settings, StsRegional};
use crate::http::url::Url;
use crate::model::error::SourceError;
use crate::model::text::Escaped;

/// The region in signatures of requests to `sts.amazonaws.com`.
const GLOBAL_SIGNING_REGION: &str = "us-east-1";

/// The pseudo-region that botocore uses for STS if no region is known.
const GLOBAL: &str = "aws-global";

/// The regions that used `sts.amazonaws.com` before regional endpoints: botocore's `LEGACY_GLOBAL_STS_REGIONS`.
const LEGACY_STS_REGIONS: [&str; 16] = [
    "ap-northeast-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    GLOBAL,
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServiceEndpoint {
    /// Scheme, host and an optional path.
    pub(crate) url: Url,
    /// The region in the scope of a signature. It has letters, digits and hyphens only.
    pub(crate) region: Box<str>,
}

impl ServiceEndpoint {
    /// The endpoint of a service: the configured one, else that of AWS in the region.
    ///
    /// The rules are those of botocore. STS without a region is `sts.amazonaws.com`, signed for `us-east-1` (the
    /// endpoint `aws-global` of `ClientEndpointBridge`). Other services and configured endpoints need a region. A
    /// configured endpoint overrides FIPS and dual-stack.
    ///
    /// # Errors
    /// If a setting must not be used, a variable is not UTF-8, or the region is missing or not valid.
    pub(crate) fn of(service: Service, settings: &Settings) -> Result<Self, SourceError> {
        if let Some(error) = &settings.unreadable {
            return Err(error.clone().into());
        }
        let configured = settings.endpoints.of(service);
        let region = match settings.region.as_deref() {
            Some(region) => check_region(region)?,
            None if service == Service::Sts && configured.is_none() => GLOBAL,
            None => {
                let at = if configured.is_some() { " at a configured endpoint" } else { "" };
                let error = SourceError::misconfigured(format!("{}{at} needs a region", service.title()));
                return Err(error.with_hint("set region in the requested profile, or AWS_REGION"));
            }
        };
        if let Some(configured) = configured {
            return Ok(Self { url: configured.clone()?, region: region.into() });
        }
        let signing_region = if region == GLOBAL { GLOBAL_SIGNING_REGION } else { region };
        if service == Service::Sts && is_global_sts(region, settings)? {
            return Ok(Self { url: https("sts.amazonaws.com")?, region: GLOBAL_SIGNING_REGION.into() });
        }
        Ok(Self { url: https(&host(service, region, settings))?, region: signing_region.into() })
    }

    /// The endpoint of a service with this path.
    ///
    /// # Errors
    /// As [`ServiceEndpoint::of`].
    pub(crate) fn with_path(service: Service, path: &str, settings: &Settings) -> Result<Self, SourceError> {
        let endpoint = Self::of(service, settings)?;
        let url = endpoint.url.join(path);
        let url = url.map_err(|error| SourceError::misconfigured(format!("the URL of {} {error}", service.title())))?;
        Ok(Self { url, ..endpoint })
    }
}

impl Service {
    /// The name of the service in messages.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Sts => "STS",
            Self::Sso => "the SSO portal",
            Self::SsoOidc => "SSO-OIDC",
            Self::Signin => "AWS Sign-In",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::Sso => "portal.sso",
            Self::SsoOidc => "oidc",
            Self::Signin => "signin",
        }
    }
}

fn host(service: Service, region: &str, settings: &Settings) -> String {
    let partition = Partition::of(region);
    let prefix = service.prefix();
    let gov = partition.name == "aws-us-gov";
    match (settings.use_fips, settings.use_dualstack, service) {
        (false, false, Service::Signin) => format!("{region}.signin.{}", partition.signin_suffix),
        (true, false, Service::Signin) if region == "us-gov-west-1" => {
            format!("signin-fips.{}", partition.signin_suffix)
        }
        (true, false, Service::Signin) if gov => format!("{region}.signin-fips.{}", partition.signin_suffix),
        // In AWS GovCloud the endpoints without `-fips` in their name are FIPS endpoints.
        (true, false, _) if gov => format!("{prefix}.{region}.{}", partition.dns_suffix),
        (false, false, _) => format!("{prefix}.{region}.{}", partition.dns_suffix),
        (true, false, _) => format!("{prefix}-fips.{region}.{}", partition.dns_suffix),
        (false, true, _) => format!("{prefix}.{region}.{}", partition.dual_stack_dns_suffix),
        (true, true, _) => format!("{prefix}-fips.{region}.{}", partition.dual_stack_dns_suffix),
    }
}

fn is_global_sts(region: &str, settings: &Settings) -> Result<bool, SourceError> {
    let legacy = match &settings.sts_regional {
        StsRegional::Regional => false,
        StsRegional::Legacy => true,
        StsRegional::Refused(error) => return Err(error.clone().into()),
    };
    let plain = !settings.use_fips && !settings.use_dualstack;
    Ok(plain && (region == GLOBAL || legacy && LEGACY_STS_REGIONS.contains(&region)))
}

/// Checks that a region is a host label, as botocore does: it becomes part of a host name and of a header.
///
/// # Errors
/// If it is not a host label.
pub(crate) fn check_region(region: &str) -> Result<&str, SourceError> {
    let is_label = !region.is_empty()
        && region.len() <= 63
        && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !region.starts_with('-')
        && !region.ends_with('-')
        && !region.bytes().all(|byte| byte.is_ascii_digit());
    if is_label {
        return Ok(region);
    }
    let shown: String = region.chars().take(63).collect();
    let error = SourceError::misconfigured(format!("the region \"{}\" is not valid", Escaped(&shown)));
    Err(SourceError { is_of_region: true, ..error.with_hint("write one such as eu-west-1") })
}

fn https(host: &str) -> Result<Url, SourceError> {
    Url::parse(&format!("https://{host}"))
        .map_err(|error| SourceError::misconfigured(format!("the endpoint {host} {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::settings::SettingError;

    const BOTOCORE: &str = include_str!("endpoint/botocore.txt");

    fn settings(region: &str) -> Settings {
        Settings { region: Some(region.into()), ..Settings::default() }
    }

    #[test]
    fn resolves_endpoints_as_botocore() {
        let mut rows = 0;
        for row in BOTOCORE.lines().filter(|line| !line.starts_with('#')) {
            let [service, region, flags, url, signing_region] = *row.split(' ').collect::<Vec<_>>() else {
                panic!("{row}")
            };
            let service = match service {
                "sts" => Service::Sts,
                "sso" => Service::Sso,
                "sso-oidc" => Service::SsoOidc,
                "signin" => Service::Signin,
                other => panic!("{other}"),
            };
            let has = |flag| flags.split(',').any(|one| one == flag);
            let settings = Settings {
                region: (region != "-").then(|| region.into()),
                use_fips: has("fips"),
                use_dualstack: has("dualstack"),
                sts_regional: if has("legacy") { StsRegional::Legacy } else { StsRegional::Regional },
                ..Settings::default()
            };
            match ServiceEndpoint::of(service, &settings) {
                Ok(found) => {
                    assert_eq!(found.url.to_string(), format!("{url}/"), "{row}");
                    assert!(signing_region == "-" || &*found.region == signing_region, "{row}: {}", found.region);
                }
                Err(error) => {
                    assert_eq!(url, "NoRegionError", "{row}: {error}");
                    let text = " needs a region; set region in the requested profile, or AWS_REGION";
                    assert!(error.to_string().ends_with(text), "{error}");
                }
            }
            rows += 1;
        }
        assert!(rows > 300, "{rows}");
    }

    #[test]
    fn configured_endpoint_beats_fips_and_dual_stack() {
        let url = Url::parse("http://127.0.0.1:1/x/").unwrap();
        let mut settings = Settings {
            use_fips: true,
            use_dualstack: true,
            sts_regional: StsRegional::Legacy,
            ..settings("us-east-1")
        };
        settings.endpoints.sts = Some(Ok(url.clone()));
        assert_eq!(
            ServiceEndpoint::of(Service::Sts, &settings),
            Ok(ServiceEndpoint { url, region: "us-east-1".into() })
        );
        assert_ne!(ServiceEndpoint::of(Service::Sso, &settings).unwrap().url.to_string(), "http://127.0.0.1:1/x/");
        let nowhere = Settings { region: None, ..settings.clone() };
        let error = ServiceEndpoint::of(Service::Sts, &nowhere).unwrap_err();
        assert!(error.to_string().starts_with("STS at a configured endpoint needs a region"), "{error}");
        settings.endpoints.sts = Some(Err(SettingError::new("not this one")));
        assert_eq!(
            ServiceEndpoint::of(Service::Sts, &settings).unwrap_err(),
            SourceError::misconfigured("not this one")
        );
        let sts_regional = StsRegional::Refused(SettingError::new("neither"));
        let refused = Settings { sts_regional, ..Settings::default() };
        assert_eq!(ServiceEndpoint::of(Service::Sts, &refused).unwrap_err(), SourceError::misconfigured("neither"));
    }

    #[test]
    fn rejects_region_that_is_not_a_host_label() {
        let odd = "| |eu west|eu-west-1\nhost: evil|evil.example/|x@evil|a/b|a?b|a#b|a:1|a.b|é|-a|a-|1|12|eu_west";
        for region in odd.split('|').chain([&*"a".repeat(64)]) {
            for service in [Service::Sts, Service::Sso, Service::SsoOidc, Service::Signin] {
                for configured in [None, Some(Ok(Url::parse("http://127.0.0.1/").unwrap()))] {
                    let mut settings = settings(region);
                    settings.endpoints.sts.clone_from(&configured);
                    let error = ServiceEndpoint::of(service, &settings).unwrap_err();
                    assert!(error.to_string().starts_with("the region \""), "{error}");
                    assert!(!error.to_string().contains('\n'), "{error}");
                }
            }
        }
        for region in ["eu-west-1", "local", "US-EAST-1", "a1", "1a"] {
            assert!(ServiceEndpoint::of(Service::Sts, &settings(region)).is_ok(), "{region}");
        }
    }
}
