//! The SSO portal, which gives the credentials of a role for an access token.

use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

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

/// An account that the owner of a token may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SsoAccount {
    pub(crate) account_id: Box<str>,
    #[serde(default)]
    pub(crate) account_name: Box<str>,
}

/// The maximum number of pages of one list. At 100 entries a page, the largest organisations have a few hundred.
const MOST_PAGES: usize = 1000;

/// The pauses after the portal has throttled a request, beyond those of one call. A list makes a request for each account.
const THROTTLED_PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];

/// The longest pause that the portal may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// ListAccounts: returns all accounts in which the owner of the token has a role.
///
/// # Errors
/// [`ErrorKind::LoginRequired`] if the portal rejects the token.
pub(crate) async fn accounts(
    context: &Context,
    settings: &Settings,
    token: &Secret,
) -> Result<Vec<SsoAccount>, SourceError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct AccountPage {
        #[serde(default)]
        account_list: Vec<SsoAccount>,
        next_token: Option<String>,
    }
    let read = |page: AccountPage| (page.account_list, page.next_token);
    list(context, settings, token, "ListAccounts", "/assignment/accounts?max_result=100", read).await
}

/// ListAccountRoles: returns the names of all roles that the owner of the token has in an account.
///
/// # Errors
/// [`ErrorKind::LoginRequired`] if the portal rejects the token.
pub(crate) async fn roles(
    context: &Context,
    settings: &Settings,
    token: &Secret,
    account_id: &str,
) -> Result<Vec<Box<str>>, SourceError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RolePage {
        #[serde(default)]
        role_list: Vec<SsoRoleName>,
        next_token: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct SsoRoleName {
        role_name: Box<str>,
    }
    let path = format!("/assignment/roles?max_result=100&account_id={}", utf8_percent_encode(account_id, ESCAPED));
    let read = |page: RolePage| (page.role_list.into_iter().map(|role| role.role_name).collect(), page.next_token);
    list(context, settings, token, &format!("ListAccountRoles {account_id}"), &path, read).await
}

/// Returns the entries of all pages.
async fn list<P: DeserializeOwned, T>(
    context: &Context,
    settings: &Settings,
    token: &Secret,
    action: &str,
    path: &str,
    read: impl Fn(P) -> (Vec<T>, Option<String>),
) -> Result<Vec<T>, SourceError> {
    let mut all = Vec::new();
    let mut next: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let more = next.as_deref().map(|next| format!("&next_token={}", utf8_percent_encode(next, ESCAPED)));
        let path = format!("{path}{}", more.unwrap_or_default());
        let body = page(context, settings, token, action, &path).await?;
        let page: P = serde_json::from_slice(&body).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            SourceError::unavailable(format!("{action}: the answer is not a list ({place})")).with_hint(CHECK_ENDPOINT)
        })?;
        let (entries, following) = read(page);
        all.extend(entries);
        match following.filter(|following| !following.is_empty()) {
            Some(following) if next.as_ref() != Some(&following) => next = Some(following),
            _ => return Ok(all),
        }
    }
    Err(SourceError::unavailable(format!("{action}: the list has no end")).with_hint(CHECK_ENDPOINT))
}

/// Requests one page, and again after pauses while the portal throttles.
async fn page(
    context: &Context,
    settings: &Settings,
    token: &Secret,
    action: &str,
    path: &str,
) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let url = ServiceEndpoint::with_path(Service::Sso, path, settings)?.url;
    let request = || {
        let request = Request::new(Method::GET, url.clone(), AddressPolicy::Anywhere, ATTEMPT_TIMEOUT)
            .with_header(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(request.with_secret(TOKEN, "access token", token)?)
    };
    let mut pauses = THROTTLED_PAUSES.into_iter();
    loop {
        let failed = match call(context, settings, action, request, |response| read_error(response, token)).await {
            Ok(response) => return Ok(response.body),
            Err(failed) => failed,
        };
        let is_throttled = failed.code.as_deref().is_some_and(|code| code.starts_with("TooManyRequests"));
        let Some(pause) = pauses.next().filter(|_| is_throttled) else { return Err(failed.error) };
        let asked = failed.error.retry_after.unwrap_or_default().min(LONGEST_PAUSE);
        tokio::time::sleep(pause.mul_f64(0.5 + context.rng.draw() / 2.0).max(asked)).await;
    }
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
