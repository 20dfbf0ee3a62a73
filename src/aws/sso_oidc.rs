//! SSO-OIDC, the OIDC service of IAM Identity Center: registration, device authorization and tokens.
//!
//! Requests are unsigned POSTs of JSON. Errors have the codes of OAuth 2.0 (RFC 6749, RFC 8628).

pub(crate) mod error;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::aws::call::{CHECK_ENDPOINT, ServiceError, call};
use crate::aws::endpoint::ServiceEndpoint;
use crate::aws::registration::Registration;
use crate::aws::service::Service;
use crate::aws::settings::Settings;
use crate::aws::sign::Post;
use crate::aws::sso_oidc::error::{OidcError, OidcErrorCode};
use crate::context::Context;
use crate::http::message::Response;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::secret::Secret;

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const REFRESH_GRANT: &str = "refresh_token";

/// The pause between two polls if the service does not send one (RFC 8628, section 3.2).
const INTERVAL: Duration = Duration::from_secs(5);

/// The minimum pause between two polls. A shorter pause from the service would make us poll in a tight loop.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The maximum lifetime and pause that are accepted. Tokens live for 90 days at most.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The capacity of a request body. Real tokens and client secrets have about 4 kB each.
const LARGEST_REQUEST: usize = 32 * 1024;

/// The latest end of a registration that is accepted, in seconds since 1970: the year 2100. A larger number from the
/// service would overflow.
const LATEST_EXPIRY: u64 = 4_102_444_800;

/// A device authorization that a person has to approve.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceAuthorization {
    /// The code that requests the token.
    pub(crate) device_code: Secret,
    /// The code that the person compares with the code in the browser.
    pub(crate) user_code: Box<str>,
    /// The page for the person.
    pub(crate) verification_uri: Box<str>,
    /// The page for the person, with the user code in its URL.
    pub(crate) verification_uri_complete: Option<Box<str>>,
    /// The lifetime of the codes.
    #[serde(deserialize_with = "lifetime")]
    pub(crate) expires_in: Duration,
    #[serde(default = "default_interval", deserialize_with = "interval")]
    pub(crate) interval: Duration,
}

/// The tokens of a login.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OidcTokens {
    /// The token for the SSO portal.
    pub(crate) access_token: Secret,
    #[serde(deserialize_with = "lifetime")]
    pub(crate) expires_in: Duration,
    pub(crate) refresh_token: Option<Secret>,
}

fn lifetime<'de, D: Deserializer<'de>>(seconds: D) -> Result<Duration, D::Error> {
    Ok(Duration::from_secs(u64::deserialize(seconds)?).min(LONGEST))
}

fn interval<'de, D: Deserializer<'de>>(seconds: D) -> Result<Duration, D::Error> {
    let interval = Option::deserialize(seconds)?.map_or(INTERVAL, Duration::from_secs);
    Ok(interval.clamp(SHORTEST_INTERVAL, LONGEST))
}

fn default_interval() -> Duration {
    INTERVAL
}

/// RegisterClient: registers this program. A registration without scopes gets no refresh tokens.
///
/// # Errors
/// If SSO-OIDC refuses the request or is not available.
pub(crate) async fn register(
    context: &Context,
    settings: &Settings,
    scopes: &[Box<str>],
) -> Result<Registration, OidcError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct RegisterClientRequest<'a> {
        client_name: &'a str,
        client_type: &'a str,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        scopes: &'a [Box<str>],
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RegisterClientResponse {
        client_id: Secret,
        client_secret: Secret,
        client_secret_expires_at: u64,
    }
    let client_name = format!("credenza-{}", unix_seconds(context.clock.now()));
    let request = RegisterClientRequest { client_name: &client_name, client_type: "public", scopes };
    let response: RegisterClientResponse = post(context, settings, REGISTER_CLIENT, &request).await?;
    Ok(Registration {
        client_id: response.client_id,
        client_secret: response.client_secret,
        expires: SystemTime::UNIX_EPOCH + Duration::from_secs(response.client_secret_expires_at.min(LATEST_EXPIRY)),
    })
}

/// StartDeviceAuthorization: requests a code that a person can approve.
///
/// # Errors
/// If SSO-OIDC refuses the request or is not available.
pub(crate) async fn authorize(
    context: &Context,
    settings: &Settings,
    registration: &Registration,
    start_url: &str,
) -> Result<DeviceAuthorization, OidcError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct StartDeviceAuthorizationRequest<'a> {
        client_id: &'a str,
        client_secret: &'a str,
        start_url: &'a str,
    }
    let Registration { client_id, client_secret, .. } = registration;
    let (client_id, client_secret) = (client_id.expose(), client_secret.expose());
    let request = StartDeviceAuthorizationRequest { client_id, client_secret, start_url };
    post(context, settings, START_DEVICE_AUTHORIZATION, &request).await
}

/// CreateToken: polls for the tokens of a device authorization.
///
/// # Errors
/// [`OidcErrorCode::Pending`] until the person approves the authorization. Another code if SSO-OIDC refuses the request
/// or is not available.
pub(crate) async fn issue(
    context: &Context,
    settings: &Settings,
    registration: &Registration,
    device_code: &Secret,
) -> Result<OidcTokens, OidcError> {
    let device_code = Some(device_code.expose());
    let request = CreateTokenRequest { grant_type: DEVICE_GRANT, device_code, ..CreateTokenRequest::of(registration) };
    post(context, settings, CREATE_TOKEN, &request).await
}

/// CreateToken: exchanges a refresh token for new tokens. The refresh token may be valid for one exchange only.
///
/// # Errors
/// If SSO-OIDC refuses the request or is not available.
pub(crate) async fn refresh(
    context: &Context,
    settings: &Settings,
    registration: &Registration,
    refresh_token: &Secret,
) -> Result<OidcTokens, OidcError> {
    let refresh_token = Some(refresh_token.expose());
    let request =
        CreateTokenRequest { grant_type: REFRESH_GRANT, refresh_token, ..CreateTokenRequest::of(registration) };
    post(context, settings, CREATE_TOKEN, &request).await
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateTokenRequest<'a> {
    client_id: &'a str,
    client_secret: &'a str,
    grant_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
}

impl<'a> CreateTokenRequest<'a> {
    fn of(registration: &'a Registration) -> Self {
        let Registration { client_id, client_secret, .. } = registration;
        Self { client_id: client_id.expose(), client_secret: client_secret.expose(), ..Self::default() }
    }
}

/// Posts a request and reads the response.
async fn post<T: DeserializeOwned>(
    context: &Context,
    settings: &Settings,
    operation: OidcOperation,
    request: &impl Serialize,
) -> Result<T, OidcError> {
    let endpoint = ServiceEndpoint::with_path(Service::SsoOidc, operation.path, settings)?;
    // A buffer that grows would leave copies of the tokens in memory.
    let mut body = Zeroizing::new(Vec::with_capacity(LARGEST_REQUEST));
    serde_json::to_writer(&mut *body, request)
        .map_err(|_| SourceError::misconfigured(format!("{}: the parameters are not text", operation.name)))?;
    let post = Post::json(&endpoint, body);
    let read_error = |response: &Response| read_error(response, operation);
    let response =
        call(context, settings, operation.name, || Ok(post.unsigned()), read_error).await.map_err(|call| {
            OidcError { code: call.code.as_deref().map_or(OidcErrorCode::Other, OidcErrorCode::of), error: call.error }
        })?;
    // The message of the parser may quote a secret.
    serde_json::from_slice(&response.body).map_err(|error| {
        let (name, url, line, column) = (operation.name, &endpoint.url, error.line(), error.column());
        let message =
            format!("{name} (POST {url}): the answer lacks the expected fields (line {line}, column {column})");
        SourceError::unavailable(message).with_hint(CHECK_ENDPOINT).into()
    })
}

/// An operation of SSO-OIDC.
#[derive(Clone, Copy, PartialEq, Eq)]
struct OidcOperation {
    name: &'static str,
    path: &'static str,
}

const REGISTER_CLIENT: OidcOperation = OidcOperation { name: "RegisterClient", path: "/client/register" };
const START_DEVICE_AUTHORIZATION: OidcOperation =
    OidcOperation { name: "StartDeviceAuthorization", path: "/device_authorization" };
const CREATE_TOKEN: OidcOperation = OidcOperation { name: "CreateToken", path: "/token" };

/// Reads `error` and `error_description`, the fields of OAuth 2.0.
fn read_error(response: &Response, operation: OidcOperation) -> ServiceError {
    #[derive(Default, Deserialize)]
    struct OidcErrorBody {
        error: Option<Box<str>>,
        error_description: Option<Box<str>>,
    }
    let OidcErrorBody { error, error_description } = serde_json::from_slice(&response.body).unwrap_or_default();
    let kind = match error.as_deref().map(OidcErrorCode::of) {
        // While CreateToken polls, `slow_down` is for the caller, which then polls less often. Elsewhere it is a
        // transient error.
        Some(OidcErrorCode::SlowDown) if operation != CREATE_TOKEN => Some(ErrorKind::Unavailable),
        Some(
            OidcErrorCode::AccessDenied
            | OidcErrorCode::Expired
            | OidcErrorCode::InvalidGrant
            | OidcErrorCode::InvalidClient,
        ) => Some(ErrorKind::Denied),
        _ => None,
    };
    let hint = (kind == Some(ErrorKind::Denied)).then_some("log in again");
    ServiceError { code: error, message: error_description, kind, hint }
}

fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
