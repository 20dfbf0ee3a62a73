//! SSO-OIDC: registering this program, asking for a person's consent, and the tokens that come of it.
//!
//! All of it is unsigned JSON over POST; errors carry a code of OAuth 2.0 (RFC 6749, RFC 8628).

use std::fmt;
use std::time::{Duration, SystemTime};

use hyper::body::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::aws::call::{PATIENCE, SEE_WHO_ANSWERS, ServiceError, call};
use crate::aws::endpoint::ServiceEndpoint;
pub(crate) use crate::aws::registration::Registration;
use crate::aws::service::Service;
use crate::aws::settings::Settings;
use crate::aws::sign::Post;
use crate::context::Context;
use crate::http::message::Response;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::secret::Secret;

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const REFRESH_GRANT: &str = "refresh_token";

/// Between two polls, where the service does not say it (RFC 8628, section 3.2).
const INTERVAL: Duration = Duration::from_secs(5);

/// The shortest pause between two polls, whatever the service says.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Nobody is believed who speaks of a longer time: tokens live for 90 days at most.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Tokens and secrets have been seen with some 4 kB each.
const LARGEST_REQUEST: usize = 32 * 1024;

/// The first of January 2100, in seconds since 1970.
const END_OF_TIME: u64 = 4_102_444_800;

/// A log-in that waits for a person.
#[derive(Clone, Debug)]
pub(crate) struct DeviceAuthorization {
    /// What the token is asked for with.
    pub(crate) device_code: Secret,
    /// What the person compares.
    pub(crate) user_code: Box<str>,
    /// Where the person goes.
    pub(crate) verification_uri: Box<str>,
    /// The same with the code in it.
    pub(crate) verification_uri_complete: Option<Box<str>>,
    /// How long the code is good.
    pub(crate) expires_in: Duration,
    /// Between two polls.
    pub(crate) interval: Duration,
}

/// Tokens that were given out.
#[derive(Clone, Debug)]
pub(crate) struct OidcTokens {
    /// For the portal.
    pub(crate) access_token: Secret,
    /// How long it is good.
    pub(crate) expires_in: Duration,
    /// For the next access token.
    pub(crate) refresh_token: Option<Secret>,
}

/// SSO-OIDC did not do what it was asked.
#[derive(Clone, Debug)]
pub(crate) struct OidcError {
    /// What it said.
    pub(crate) said: OidcReply,
    /// The same for people.
    pub(crate) failure: SourceError,
}

/// What SSO-OIDC says, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OidcReply {
    /// The person has not agreed yet.
    Pending,
    /// The person has not agreed yet, and we ask too often.
    SlowDown,
    /// The person, or an administrator, said no.
    AccessDenied,
    /// The device code is too old, or the session of a refresh token is.
    Expired,
    /// The refresh token is not good (any more).
    InvalidGrant,
    /// The registration is not good (any more).
    InvalidClient,
    /// Anything else, or nothing at all.
    Other,
}

impl OidcReply {
    fn of(code: &str) -> Self {
        match code {
            "authorization_pending" => Self::Pending,
            "slow_down" => Self::SlowDown,
            "access_denied" => Self::AccessDenied,
            "expired_token" => Self::Expired,
            "invalid_grant" => Self::InvalidGrant,
            "invalid_client" | "unauthorized_client" => Self::InvalidClient,
            _ => Self::Other,
        }
    }
}

impl OidcError {
    /// Whether no further request with the same tokens can succeed.
    #[must_use]
    pub(crate) fn ends_the_session(&self) -> bool {
        matches!(
            self.said,
            OidcReply::AccessDenied | OidcReply::Expired | OidcReply::InvalidGrant | OidcReply::InvalidClient
        )
    }
}

/// Registers this program; no scopes give tokens without a refresh token.
///
/// # Errors
/// When SSO-OIDC refuses or cannot be asked.
pub(crate) async fn register(
    context: &Context,
    settings: &Settings,
    scopes: &[Box<str>],
) -> Result<Registration, OidcError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct RegisterParameters<'a> {
        client_name: &'a str,
        client_type: &'a str,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        scopes: &'a [Box<str>],
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RegisterResponse {
        client_id: Secret,
        client_secret: Secret,
        client_secret_expires_at: u64,
    }
    let client_name = format!("credenza-{}", unix_seconds(context.clock.now()));
    let parameters = RegisterParameters { client_name: &client_name, client_type: "public", scopes };
    let answer: RegisterResponse = post(context, settings, REGISTER_CLIENT, &parameters).await?;
    Ok(Registration {
        client_id: answer.client_id,
        client_secret: answer.client_secret,
        expires: SystemTime::UNIX_EPOCH + Duration::from_secs(answer.client_secret_expires_at.min(END_OF_TIME)),
    })
}

/// Asks for a code that a person can agree to.
///
/// # Errors
/// When SSO-OIDC refuses or cannot be asked.
pub(crate) async fn authorize(
    context: &Context,
    settings: &Settings,
    registration: &Registration,
    start_url: &str,
) -> Result<DeviceAuthorization, OidcError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct DeviceParameters<'a> {
        client_id: &'a str,
        client_secret: &'a str,
        start_url: &'a str,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct DeviceResponse {
        device_code: Secret,
        user_code: Box<str>,
        verification_uri: Box<str>,
        verification_uri_complete: Option<Box<str>>,
        expires_in: u64,
        interval: Option<u64>,
    }
    let Registration { client_id, client_secret, .. } = registration;
    let parameters =
        DeviceParameters { client_id: client_id.expose(), client_secret: client_secret.expose(), start_url };
    let answer: DeviceResponse = post(context, settings, START_DEVICE_AUTHORIZATION, &parameters).await?;
    Ok(DeviceAuthorization {
        device_code: answer.device_code,
        user_code: answer.user_code,
        verification_uri: answer.verification_uri,
        verification_uri_complete: answer.verification_uri_complete,
        expires_in: Duration::from_secs(answer.expires_in).min(LONGEST),
        interval: answer.interval.map_or(INTERVAL, Duration::from_secs).clamp(SHORTEST_INTERVAL, LONGEST),
    })
}

/// Asks whether the person has agreed.
///
/// # Errors
/// [`OidcReply::Pending`] until then; otherwise as the others.
pub(crate) async fn issue(
    context: &Context,
    settings: &Settings,
    registration: &Registration,
    device_code: &Secret,
) -> Result<OidcTokens, OidcError> {
    let grant = TokenGrant {
        grant_type: DEVICE_GRANT,
        device_code: Some(device_code.expose()),
        ..TokenGrant::of(registration)
    };
    token(context, settings, &grant).await
}

/// Exchanges a refresh token for new tokens. It may be good for one exchange only.
///
/// # Errors
/// When SSO-OIDC refuses or cannot be asked.
pub(crate) async fn refresh(
    context: &Context,
    settings: &Settings,
    registration: &Registration,
    refresh_token: &Secret,
) -> Result<OidcTokens, OidcError> {
    let refresh_token = Some(refresh_token.expose());
    let grant = TokenGrant { grant_type: REFRESH_GRANT, refresh_token, ..TokenGrant::of(registration) };
    token(context, settings, &grant).await
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenGrant<'a> {
    client_id: &'a str,
    client_secret: &'a str,
    grant_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
}

impl<'a> TokenGrant<'a> {
    fn of(registration: &'a Registration) -> Self {
        let Registration { client_id, client_secret, .. } = registration;
        Self { client_id: client_id.expose(), client_secret: client_secret.expose(), ..Self::default() }
    }
}

async fn token(context: &Context, settings: &Settings, grant: &TokenGrant<'_>) -> Result<OidcTokens, OidcError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct TokenResponse {
        access_token: Secret,
        expires_in: u64,
        refresh_token: Option<Secret>,
    }
    let answer: TokenResponse = post(context, settings, CREATE_TOKEN, grant).await?;
    let expires_in = Duration::from_secs(answer.expires_in).min(LONGEST);
    Ok(OidcTokens { access_token: answer.access_token, expires_in, refresh_token: answer.refresh_token })
}

/// Posts parameters and reads the answer.
async fn post<T: DeserializeOwned>(
    context: &Context,
    settings: &Settings,
    operation: Operation,
    parameters: &impl Serialize,
) -> Result<T, OidcError> {
    let endpoint = operation.endpoint(settings)?;
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut body = Zeroizing::new(Vec::with_capacity(LARGEST_REQUEST));
    serde_json::to_writer(&mut *body, parameters)
        .map_err(|_| SourceError::misconfigured(format!("{}: the parameters are no text", operation.name)))?;
    let body = Bytes::from_owner(body);
    let post =
        Post { endpoint: &endpoint, service: "sso-oauth", content_type: "application/json", body, patience: PATIENCE };
    let understand = |response: &Response| understand(response, operation);
    let response =
        call(context, settings, operation.name, || Ok(post.unsigned()), understand).await.map_err(|error| {
            OidcError { said: error.code.as_deref().map_or(OidcReply::Other, OidcReply::of), failure: error.failure }
        })?;
    // What does not parse may still hold a secret, and so may the error of the parser.
    serde_json::from_slice(&response.body).map_err(|error| {
        let (name, url, line, column) = (operation.name, &endpoint.url, error.line(), error.column());
        let message = format!(
            "{name} (POST {url}): the answer has not what was asked for (line {line}, column {column}){SEE_WHO_ANSWERS}"
        );
        SourceError::unavailable(message).into()
    })
}

/// An operation of the service.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Operation {
    name: &'static str,
    path: &'static str,
}

const REGISTER_CLIENT: Operation = Operation { name: "RegisterClient", path: "/client/register" };
const START_DEVICE_AUTHORIZATION: Operation =
    Operation { name: "StartDeviceAuthorization", path: "/device_authorization" };
const CREATE_TOKEN: Operation = Operation { name: "CreateToken", path: "/token" };

impl Operation {
    fn endpoint(self, settings: &Settings) -> Result<ServiceEndpoint, SourceError> {
        let endpoint = ServiceEndpoint::of(Service::SsoOidc, settings)?;
        let url = endpoint.url.join(self.path);
        let url = url.map_err(|bad| SourceError::misconfigured(format!("the URL of SSO-OIDC {bad}")))?;
        Ok(ServiceEndpoint { url, ..endpoint })
    }
}

/// `error` and `error_description`, as OAuth has them.
fn understand(response: &Response, operation: Operation) -> ServiceError {
    #[derive(Default, Deserialize)]
    struct OidcErrorBody {
        error: Option<Box<str>>,
        error_description: Option<Box<str>>,
    }
    let OidcErrorBody { error, error_description } = serde_json::from_slice(&response.body).unwrap_or_default();
    let kind = match error.as_deref().map(OidcReply::of) {
        // While a person is waited for, who asks decides when to ask again.
        Some(OidcReply::SlowDown) if operation != CREATE_TOKEN => Some(ErrorKind::Unavailable),
        Some(OidcReply::AccessDenied | OidcReply::Expired | OidcReply::InvalidGrant | OidcReply::InvalidClient) => {
            Some(ErrorKind::Denied)
        }
        _ => None,
    };
    let advice = (kind == Some(ErrorKind::Denied)).then_some("log in again");
    ServiceError { code: error, message: error_description, kind, advice }
}

fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl From<SourceError> for OidcError {
    fn from(failure: SourceError) -> Self {
        Self { said: OidcReply::Other, failure }
    }
}

impl fmt::Display for OidcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::http::client::HttpClient;
    use crate::os::clock::Clock;
    use crate::os::environment::Environment;
    use testkit::oidc::{DEVICE, Oidc, REGISTER, TOKEN, refusal};
    use testkit::server::Reply;

    const START_URL: &str = "https://d.awsapps.com/start";

    fn stage() -> (Oidc, Context, Settings) {
        let oidc = Oidc::start(START_URL, 1000);
        let environment = Environment::new([("AWS_ENDPOINT_URL_SSO_OIDC", &oidc.endpoint())]);
        let settings = Settings::of_environment(&environment).with_region(Some("eu-west-1".into()));
        let clock = Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
        let context =
            Context { clock, environment, http_client: HttpClient::system(Arc::default()), ..Context::default() };
        (oidc, context, settings)
    }

    #[tokio::test]
    async fn from_registration_to_token() {
        let (oidc, context, settings) = stage();
        oidc.set(|state| state.interval = None);
        let registration = register(&context, &settings, &["sso:account:access".into()]).await.unwrap();
        assert_eq!(registration.expires, SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + 90 * 24 * 3600));
        let device = authorize(&context, &settings, &registration, START_URL).await.unwrap();
        assert_eq!((device.interval, device.expires_in), (INTERVAL, Duration::from_secs(600)));
        let issued = issue(&context, &settings, &registration, &device.device_code).await.unwrap();
        assert_eq!(issued.expires_in, Duration::from_secs(8 * 3600));
        let again = refresh(&context, &settings, &registration, &issued.refresh_token.unwrap()).await.unwrap();
        assert_ne!(again.access_token, issued.access_token);
        assert!(!format!("{registration:?} {device:?} {again:?}").contains("hush"));
        let headers = oidc.server().seen()[0].headers.clone();
        assert!(headers.contains(&("content-type".into(), "application/json".into())), "{headers:?}");
    }

    #[tokio::test]
    async fn no_number_of_the_service_is_too_large() {
        let (oidc, context, settings) = stage();
        let registration = register(&context, &settings, &[]).await.unwrap();
        let max = u64::MAX;
        let body = format!(
            r#"{{"deviceCode":"d","userCode":"u","verificationUri":"v","expiresIn":{max},"interval":{max},"new":1}}"#
        );
        oidc.script(DEVICE, Reply::ok(body));
        let device = authorize(&context, &settings, &registration, START_URL).await.unwrap();
        assert_eq!((device.expires_in, device.interval), (LONGEST, LONGEST));
        oidc.script(
            DEVICE,
            Reply::ok(r#"{"deviceCode":"d","userCode":"u","verificationUri":"v","expiresIn":0,"interval":0}"#),
        );
        let device = authorize(&context, &settings, &registration, START_URL).await.unwrap();
        assert_eq!((device.expires_in, device.interval), (Duration::ZERO, SHORTEST_INTERVAL));
        let body = format!(r#"{{"clientId":"c","clientSecret":"s","clientSecretExpiresAt":{max}}}"#);
        oidc.script(REGISTER, Reply::ok(body));
        assert!(register(&context, &settings, &[]).await.unwrap().expires > context.clock.now());
    }

    #[tokio::test]
    async fn what_is_said_is_understood() {
        for (code, said, kind) in [
            ("authorization_pending", OidcReply::Pending, ErrorKind::Misconfigured),
            ("slow_down", OidcReply::SlowDown, ErrorKind::Misconfigured),
            ("access_denied", OidcReply::AccessDenied, ErrorKind::Denied),
            ("expired_token", OidcReply::Expired, ErrorKind::Denied),
            ("invalid_grant", OidcReply::InvalidGrant, ErrorKind::Denied),
            ("unauthorized_client", OidcReply::InvalidClient, ErrorKind::Denied),
            ("invalid_request", OidcReply::Other, ErrorKind::Misconfigured),
        ] {
            let (oidc, context, settings) = stage();
            oidc.known("client", "hush-client", "hush-refresh", "hush-access");
            let registration = Registration {
                client_id: "client".into(),
                client_secret: "hush-client".into(),
                expires: SystemTime::UNIX_EPOCH,
            };
            oidc.script(TOKEN, refusal(400, code, "words"));
            let refused = refresh(&context, &settings, &registration, &"hush-refresh".into()).await.unwrap_err();
            assert_eq!((refused.said, refused.failure.kind), (said, kind), "{code}");
            let message = refused.to_string();
            assert!(message.starts_with("CreateToken (POST http://127.0.0.1:"), "{message}");
            assert!(message.contains(&format!(": {code}: words; ")) && !message.contains("hush"), "{message}");
            assert_eq!(oidc.asked(TOKEN), 1);
        }
        let (oidc, context, settings) = stage();
        oidc.script(REGISTER, refusal(400, "slow_down", "slower"));
        assert!(register(&context, &settings, &[]).await.is_ok(), "throttling passes");
        assert_eq!(oidc.asked(REGISTER), 2);
    }
}
