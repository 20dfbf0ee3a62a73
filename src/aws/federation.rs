//! The federation endpoint of AWS Sign-In, which gives a sign-in token of the AWS console for a session.
//!
//! The rules are those of the IAM User Guide, "Enable custom identity broker access to the AWS console".

use std::ops::RangeInclusive;
use std::time::Duration;

use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use hyper::body::Bytes;
use percent_encoding::utf8_percent_encode;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::aws::call::{ATTEMPT_TIMEOUT, CHECK_ENDPOINT, ServiceError, call};
use crate::aws::endpoint::ServiceEndpoint;
use crate::aws::form::{ESCAPED, Form};
use crate::aws::partition::Partition;
use crate::aws::service::Service;
use crate::aws::settings::Settings;
use crate::context::Context;
use crate::http::address_policy::AddressPolicy;
use crate::http::message::{Request, Response};
use crate::http::url::{Url, UrlHost};
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::secret::Secret;

const ACTION: &str = "getSigninToken";
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// The durations of a console session that the endpoint accepts.
pub(crate) const CONSOLE_DURATION: RangeInclusive<Duration> = Duration::from_secs(900)..=Duration::from_secs(12 * 3600);

/// The region of the endpoint if none is known. Its sign-in page is the default of AWS.
const DEFAULT_REGION: &str = "us-east-1";

/// The regions whose sign-in endpoint has no region in its name: the first of each partition.
const UNNAMED_REGIONS: [&str; 3] = [DEFAULT_REGION, "cn-north-1", "us-gov-west-1"];

/// The hint for a refused session.
const REFUSED: &str = "the console takes sessions of roles and of federated users that have not expired: not those of \
                       GetSessionToken, nor of every `aws login`; name a role with --role-arn. Leave --duration out for a role that was \
                       assumed with the session of another role";

/// Services whose page in the console has another name than in the AWS CLI.
const PAGES: [(&str, &str); 14] = [
    ("cfn", "cloudformation"),
    ("dynamodb", "dynamodbv2"),
    ("ec2", "ec2/v2"),
    ("elb", "ec2/v2"),
    ("eventbridge", "events"),
    ("iam", "iamv2"),
    ("logs", "cloudwatch"),
    ("redshift", "redshiftv2"),
    ("route53", "route53/v2"),
    ("sfn", "states"),
    ("ssm", "systems-manager"),
    ("sso", "singlesignon"),
    ("stepfunctions", "states"),
    ("wafv2", "wafv2/homev2"),
];

/// The name of a service in URLs of the console, such as `s3` or `systems-manager/parameters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsoleService(Box<str>);

impl ConsoleService {
    /// Checks the name of a service.
    ///
    /// # Errors
    /// If it cannot be part of a path.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        match text.len() <= 64 && text.split('/').all(is_part) {
            true => Ok(Self(text.to_ascii_lowercase().into())),
            false => Err("not the name of a service; write it as in the URLs of the console: s3, ec2, cloudformation"),
        }
    }

    fn path(&self) -> &str {
        PAGES.iter().find(|(name, _)| *name == &*self.0).map_or(&*self.0, |(_, path)| path)
    }
}

/// Returns the page of the console for a region and a service.
pub(crate) fn console_page(region: Option<&str>, service: Option<&ConsoleService>) -> String {
    let domain = Partition::of(region.unwrap_or(DEFAULT_REGION)).signin_suffix;
    let path = service.map_or("console", ConsoleService::path);
    match region {
        Some(region) => format!("https://{region}.console.{domain}/{path}/home?region={region}"),
        None => format!("https://console.{domain}/{path}/home"),
    }
}

/// Returns the federation endpoint: the configured one, else that of AWS in the region.
///
/// # Errors
/// If a setting must not be used, or the endpoint would get the session without TLS.
pub(crate) fn federation_endpoint(settings: &Settings) -> Result<Url, SourceError> {
    let fallback = settings.region.is_none().then(|| DEFAULT_REGION.into());
    let settings = settings.clone().with_region(fallback);
    let url = ServiceEndpoint::with_path(Service::Signin, "/federation", &settings)?.url;
    let region = settings.region.as_deref().unwrap_or(DEFAULT_REGION);
    let is_of_aws = settings.endpoints.of(Service::Signin).is_none() && !settings.use_fips && !settings.use_dualstack;
    if is_of_aws && UNNAMED_REGIONS.contains(&region) {
        let text = format!("https://signin.{}/federation", Partition::of(region).signin_suffix);
        return Url::parse(&text)
            .map_err(|error| SourceError::misconfigured(format!("the federation endpoint {error}")));
    }
    if url.is_https() || is_loopback(url.host()) {
        return Ok(url);
    }
    let message = format!("{url}: the session would leave this host without TLS");
    Err(SourceError::misconfigured(message).with_hint("write an https URL in AWS_ENDPOINT_URL_SIGNIN"))
}

fn is_loopback(host: &UrlHost) -> bool {
    match host {
        UrlHost::Address(ip) => ip.to_canonical().is_loopback(),
        UrlHost::Name(name) => &**name == "localhost",
    }
}

/// Exchanges a session for the URL that opens a page of the console as its principal. The URL is a secret: AWS accepts
/// it for 15 minutes, from every browser.
///
/// `duration` is the duration of the console session. `None` leaves it to the end of the credentials, which is all that
/// the sessions of GetFederationToken may ask for.
///
/// # Errors
/// If the endpoint refuses the session, is not available, or its answer has no token.
pub(crate) async fn login_url(
    context: &Context,
    settings: &Settings,
    session: &Credentials,
    duration: Option<Duration>,
    page: &str,
) -> Result<Secret, SourceError> {
    let endpoint = federation_endpoint(settings)?;
    let token = signin_token(context, settings, &endpoint, session, duration).await?;
    // Reserve the maximum: a buffer that grows would leave copies of the token in memory.
    let mut url = Zeroizing::new(String::with_capacity(3 * (token.expose().len() + page.len()) + 128));
    url.push_str(&endpoint.without_query());
    url.push_str("?Action=login&Destination=");
    url.extend(utf8_percent_encode(page, ESCAPED));
    url.push_str("&SigninToken=");
    url.extend(utf8_percent_encode(token.expose(), ESCAPED));
    Ok(Secret::new(url.as_str()))
}

/// getSigninToken. The session is in the body of a POST request: proxies and servers log URLs.
async fn signin_token(
    context: &Context,
    settings: &Settings,
    endpoint: &Url,
    session: &Credentials,
    duration: Option<Duration>,
) -> Result<Secret, SourceError> {
    let duration = duration.map(|duration| duration.as_secs().to_string());
    let document = document(session)?;
    let form = Form::of(ACTION).with_optional("SessionDuration", duration.as_deref()).with("SessionType", "json");
    let form = form.with("Session", std::str::from_utf8(&document).unwrap_or_default());
    let body = Bytes::from_owner(form.encode());
    let request = || {
        let request = Request::new(Method::POST, endpoint.clone(), AddressPolicy::Anywhere, ATTEMPT_TIMEOUT);
        Ok(request.with_header(CONTENT_TYPE, FORM).with_body(body.clone()))
    };
    let response = call(context, settings, ACTION, request, read_error).await?;
    read(&response.body)
        .map_err(|why| SourceError::unavailable(format!("{ACTION} (POST {endpoint}): {why}")).with_hint(CHECK_ENDPOINT))
}

/// The session as JSON.
fn document(session: &Credentials) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct FederatedSession<'a> {
        session_id: &'a str,
        session_key: &'a str,
        session_token: &'a str,
    }
    let token = session.session_token.as_ref().map(Secret::expose);
    let token =
        token.ok_or_else(|| SourceError::misconfigured(format!("{ACTION} needs a session, not long-lived keys")))?;
    let parts = FederatedSession {
        session_id: &session.access_key_id,
        session_key: session.secret_access_key.expose(),
        session_token: token,
    };
    // Reserve the maximum: escaping turns one byte into at most six.
    let length = parts.session_id.len() + parts.session_key.len() + token.len();
    let mut document = Zeroizing::new(Vec::with_capacity(6 * length + 64));
    serde_json::to_writer(&mut *document, &parts)
        .map_err(|_| SourceError::misconfigured(format!("{ACTION}: the session is not text")))?;
    Ok(document)
}

/// The endpoint answers with a page for people, which says nothing about the reason.
fn read_error(response: &Response) -> ServiceError {
    let is_refused = response.status.is_client_error();
    ServiceError {
        kind: is_refused.then_some(ErrorKind::Denied),
        hint: is_refused.then_some(REFUSED),
        ..ServiceError::default()
    }
}

fn read(body: &[u8]) -> Result<Secret, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct SigninTokenBody {
        signin_token: Secret,
    }
    // The message of the parser may quote a secret.
    let SigninTokenBody { signin_token } = serde_json::from_slice(body)
        .map_err(|error| format!("the answer has no SigninToken (line {}, column {})", error.line(), error.column()))?;
    match signin_token.is_empty() {
        true => Err("the answer has an empty SigninToken".into()),
        false => Ok(signin_token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(region: Option<&str>) -> Settings {
        Settings { region: region.map(Into::into), ..Settings::default() }
    }

    #[test]
    fn partitions_have_endpoints_and_pages_of_their_own() {
        for (region, endpoint, page) in [
            (None, "signin.aws.amazon.com", "console.aws.amazon.com/s3/home"),
            (Some("us-east-1"), "signin.aws.amazon.com", "us-east-1.console.aws.amazon.com/s3/home?region=us-east-1"),
            (
                Some("eu-west-1"),
                "eu-west-1.signin.aws.amazon.com",
                "eu-west-1.console.aws.amazon.com/s3/home?region=eu-west-1",
            ),
            (Some("cn-north-1"), "signin.amazonaws.cn", "cn-north-1.console.amazonaws.cn/s3/home?region=cn-north-1"),
            (
                Some("cn-northwest-1"),
                "cn-northwest-1.signin.amazonaws.cn",
                "cn-northwest-1.console.amazonaws.cn/s3/home?region=cn-northwest-1",
            ),
            (
                Some("us-gov-west-1"),
                "signin.amazonaws-us-gov.com",
                "us-gov-west-1.console.amazonaws-us-gov.com/s3/home?region=us-gov-west-1",
            ),
            (
                Some("us-gov-east-1"),
                "us-gov-east-1.signin.amazonaws-us-gov.com",
                "us-gov-east-1.console.amazonaws-us-gov.com/s3/home?region=us-gov-east-1",
            ),
            (
                Some("eusc-de-east-1"),
                "eusc-de-east-1.signin.amazonaws-eusc.eu",
                "eusc-de-east-1.console.amazonaws-eusc.eu/s3/home?region=eusc-de-east-1",
            ),
        ] {
            let found = federation_endpoint(&settings(region)).unwrap().to_string();
            assert_eq!(found, format!("https://{endpoint}/federation"), "{region:?}");
            let service = ConsoleService::parse("S3").unwrap();
            assert_eq!(console_page(region, Some(&service)), format!("https://{page}"), "{region:?}");
        }
        let page = |service: &str| console_page(Some("eu-west-1"), Some(&ConsoleService::parse(service).unwrap()));
        assert!(page("dynamodb").contains("/dynamodbv2/home?"));
        assert!(page("systems-manager/parameters").contains("/systems-manager/parameters/home?"));
        assert_eq!(console_page(None, None), "https://console.aws.amazon.com/console/home");
        let fips = Settings { use_fips: true, ..settings(Some("us-gov-west-1")) };
        assert_eq!(
            federation_endpoint(&fips).unwrap().to_string(),
            "https://signin-fips.amazonaws-us-gov.com/federation"
        );
    }

    #[test]
    fn session_goes_nowhere_without_tls() {
        for (url, is_used) in [
            ("https://signin.example", true),
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1/x", true),
            ("http://localhost:1", true),
            ("http://signin.example", false),
            ("http://localhost.example", false),
            ("http://10.0.0.1", false),
        ] {
            for region in [None, Some("us-east-1")] {
                let mut settings = settings(region);
                settings.endpoints.signin = Some(Ok(Url::parse(url).unwrap()));
                let found = federation_endpoint(&settings);
                assert_eq!(found.is_ok(), is_used, "{url}");
                match found {
                    Ok(found) => assert!(found.to_string().ends_with("/federation"), "{found}"),
                    Err(error) => assert!(error.to_string().contains("without TLS; write an https URL"), "{error}"),
                }
            }
        }
    }

    #[test]
    fn refuses_services_that_are_no_path() {
        for text in ["", "/", "s3/", "/s3", "..", "s3?x", "s3#x", "a b", "é", "//evil.example", "a//b", &"a".repeat(65)]
        {
            assert!(ConsoleService::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_tokens_and_shows_nothing_of_other_answers() {
        assert_eq!(read(br#"{"SigninToken":"hush","x":1}"#).unwrap().expose(), "hush");
        for body in ["", "{", "<html>hush</html>", "{}", r#"{"SigninToken":""}"#, r#"{"SigninToken":1}"#, "\"hush\""] {
            let why = read(body.as_bytes()).unwrap_err();
            assert!(why.contains("SigninToken") && !why.contains("hush"), "{why}");
        }
        let session = Credentials::new("ASIA1", "a\"b").unwrap().with_session_token(Some("t")).unwrap();
        let text = document(&session).unwrap();
        assert_eq!(&**text, br#"{"sessionId":"ASIA1","sessionKey":"a\"b","sessionToken":"t"}"#);
    }
}
