//! The SSO portal, which gives the credentials of a role for an access token.

use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;

use crate::aws::call::{ATTEMPT_TIMEOUT, CHECK_ENDPOINT, ServiceError, call, error_class};
use crate::aws::endpoint::ServiceEndpoint;
use crate::aws::form::ESCAPED;
use crate::aws::service::Service;
use crate::aws::settings::Settings;
use crate::context::Context;
use crate::http::address_policy::AddressPolicy;
use crate::http::message::{Request, Response};
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::secret::Secret;
use crate::model::text::redacted;

const TOKEN: HeaderName = HeaderName::from_static("x-amz-sso_bearer_token");

/// GetRoleCredentials: returns temporary credentials of a role in an account. The owner of the token must have this
/// role.
///
/// # Errors
/// [`ErrorKind::LoginRequired`] if the portal rejects the token, [`ErrorKind::Denied`] if its owner lacks the role.
pub(crate) async fn role_credentials(
    context: &Context,
    settings: &Settings,
    token: &Secret,
    account_id: &str,
    role_name: &str,
) -> Result<Credentials, SourceError> {
    let escaped = |text| utf8_percent_encode(text, ESCAPED);
    let query = format!("role_name={}&account_id={}", escaped(role_name), escaped(account_id));
    let url = ServiceEndpoint::with_path(Service::Sso, &format!("/federation/credentials?{query}"), settings)?.url;
    let request = || {
        let request = Request::new(Method::GET, url.clone(), AddressPolicy::Anywhere, ATTEMPT_TIMEOUT)
            .with_header(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(request.with_secret(TOKEN, "access token", token)?)
    };
    let action = format!("GetRoleCredentials {account_id} {role_name}");
    let response = call(context, settings, &action, request, |response| read_error(response, token)).await?;
    read(&response.body, account_id)
        .map_err(|why| SourceError::unavailable(format!("{action} (GET {url}): {why}")).with_hint(CHECK_ENDPOINT))
}

/// Logout: ends the login at the portal. The portal then refuses its token.
///
/// # Errors
/// If the portal is not available. A token that it no longer accepts is not an error.
pub(crate) async fn logout(context: &Context, settings: &Settings, token: &Secret) -> Result<(), SourceError> {
    let url = ServiceEndpoint::with_path(Service::Sso, "/logout", settings)?.url;
    let request = || {
        let request = Request::new(Method::POST, url.clone(), AddressPolicy::Anywhere, ATTEMPT_TIMEOUT);
        Ok(request.with_secret(TOKEN, "access token", token)?)
    };
    match call(context, settings, "Logout", request, |response| read_error(response, token)).await {
        Err(error) if error.error.kind != ErrorKind::LoginRequired => Err(error.error),
        _ => Ok(()),
    }
}

/// The code is in a header, with or without a namespace; the explanation is in the body.
fn read_error(response: &Response, token: &Secret) -> ServiceError {
    #[derive(Deserialize)]
    struct PortalErrorBody {
        #[serde(rename = "__type")]
        class: Option<String>,
        #[serde(alias = "Message")]
        message: Option<String>,
    }
    let body = serde_json::from_slice::<PortalErrorBody>(&response.body).ok();
    let (class, message) = body.map_or((None, None), |body| (body.class, body.message));
    let class = error_class(response, class.as_deref());
    let kind = match (class, response.status) {
        (Some("UnauthorizedException"), _) | (None, StatusCode::UNAUTHORIZED) => Some(ErrorKind::LoginRequired),
        (Some("ForbiddenException" | "ResourceNotFoundException"), _) | (None, StatusCode::FORBIDDEN) => {
            Some(ErrorKind::Denied)
        }
        _ => None,
    };
    let redacted = |text: &str| Box::from(redacted(text, token).as_str());
    let hint =
        (kind == Some(ErrorKind::Denied)).then_some("ask an administrator to assign the role to the user of the login");
    ServiceError { code: class.map(redacted), message: message.as_deref().map(redacted), kind, hint }
}

fn read(body: &[u8], account_id: &str) -> Result<Credentials, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RoleCredentialsResponse {
        role_credentials: RoleCredentials,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RoleCredentials {
        access_key_id: Box<str>,
        secret_access_key: Secret,
        session_token: Secret,
        /// The expiration, in milliseconds since 1970.
        expiration: u64,
    }
    // The message of the parser may quote a secret.
    let answer: RoleCredentialsResponse = serde_json::from_slice(body).map_err(|error| {
        format!("the answer has no role credentials (line {}, column {})", error.line(), error.column())
    })?;
    let RoleCredentials { access_key_id, secret_access_key, session_token, expiration } = answer.role_credentials;
    if session_token.is_empty() || expiration == 0 {
        return Err("the answer has role credentials without a session token or an expiration".into());
    }
    let expiration = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(expiration));
    Ok(Credentials::new(&access_key_id, secret_access_key.expose())
        .and_then(|keys| keys.with_session_token(Some(session_token.expose())))
        .map_err(|error| format!("in the answer, {error}"))?
        .with_expiration(expiration)
        .with_account_id(Some(account_id)))
}
