//! AWS Sign-In: CreateOAuth2Token, which exchanges the refresh token of an `aws login` for new credentials.
//!
//! The request is an unsigned POST of JSON. A DPoP proof in a header shows that the client holds the key of the login.

use std::time::Duration;

use http::header::HeaderName;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::aws::call::{CHECK_ENDPOINT, ServiceError, call, error_class};
use crate::aws::dpop::DpopKey;
use crate::aws::endpoint::ServiceEndpoint;
use crate::aws::service::Service;
use crate::aws::settings::Settings;
use crate::aws::sign::Post;
use crate::context::Context;
use crate::http::message::Response;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::secret::Secret;
use crate::model::text::redacted;

const ACTION: &str = "CreateOAuth2Token";

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The maximum lifetime that is accepted. The service gives 15 minutes, and no AWS session lives longer than 12 hours.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// The parts of an `aws login` that an exchange needs.
#[derive(Debug)]
pub(crate) struct SigninGrant<'a> {
    /// The client id, such as `arn:aws:signin:::devtools/same-device`.
    pub(crate) client_id: &'a Secret,
    /// The refresh token. It is valid for one exchange.
    pub(crate) refresh_token: &'a Secret,
    /// The key that the refresh token is bound to.
    pub(crate) key: &'a DpopKey,
}

#[derive(Clone, Debug)]
pub(crate) struct SigninTokens {
    /// Temporary credentials, without expiration and account.
    pub(crate) credentials: Credentials,
    pub(crate) expires_in: Duration,
    /// The refresh token of the next exchange.
    pub(crate) refresh_token: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SigninError {
    /// True if a person has to log in again.
    pub(crate) ends_the_session: bool,
    pub(crate) error: SourceError,
}

impl From<SourceError> for SigninError {
    fn from(error: SourceError) -> Self {
        Self { ends_the_session: false, error }
    }
}

/// Exchanges a refresh token for new credentials and the next refresh token.
///
/// # Errors
/// If Sign-In refuses the exchange or is not available.
pub(crate) async fn refresh(
    context: &Context,
    settings: &Settings,
    grant: &SigninGrant<'_>,
) -> Result<SigninTokens, SigninError> {
    let endpoint = ServiceEndpoint::with_path(Service::Signin, "/v1/token", settings)?;
    let proven_url = endpoint.url.without_query();
    let post = Post::json(&endpoint, body(grant)?);
    let request = || {
        let proof = grant.key.proof(&proven_url, context.clock.now());
        let proof = proof.map_err(|_| SourceError::unavailable(format!("{ACTION}: cannot generate random numbers")))?;
        Ok(post.unsigned().with_secret(DPOP, "proof", &proof)?)
    };
    let read_error = |response: &Response| read_error(response, grant);
    let response = call(context, settings, ACTION, request, read_error).await.map_err(|call| SigninError {
        ends_the_session: call.code.as_deref().is_some_and(|code| ENDING.contains(&code)),
        error: call.error,
    })?;
    read(&response.body).map_err(|why| {
        let message = format!("{ACTION} (POST {}): {why}", endpoint.url);
        SourceError::unavailable(message).with_hint(CHECK_ENDPOINT).into()
    })
}

fn body(grant: &SigninGrant<'_>) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct SigninRequestBody<'a> {
        client_id: &'a str,
        grant_type: &'a str,
        refresh_token: &'a str,
    }
    let parameters = SigninRequestBody {
        client_id: grant.client_id.expose(),
        grant_type: "refresh_token",
        refresh_token: grant.refresh_token.expose(),
    };
    // Reserve the maximum: escaping turns one byte into at most six. A buffer that grows would leave copies of the
    // tokens in memory.
    let capacity = 6 * (parameters.client_id.len() + parameters.refresh_token.len()) + 128;
    let mut body = Zeroizing::new(Vec::with_capacity(capacity));
    serde_json::to_writer(&mut *body, &parameters)
        .map_err(|_| SourceError::misconfigured(format!("{ACTION}: the parameters are not text")))?;
    Ok(body)
}

/// Error codes after which a person has to log in: those of botocore's `LoginRefreshRequired`, and those of OAuth 2.0
/// (RFC 6749, section 5.2) for a refresh token that is not valid any more.
const ENDING: [&str; 5] =
    ["TOKEN_EXPIRED", "USER_CREDENTIALS_CHANGED", "AUTHCODE_EXPIRED", "invalid_grant", "invalid_client"];

/// The code is in the field `error`, or else in a header; the explanation is in the field `message`.
fn read_error(response: &Response, grant: &SigninGrant<'_>) -> ServiceError {
    #[derive(Default, Deserialize)]
    struct SigninErrorBody {
        error: Option<Box<str>>,
        #[serde(alias = "error_description", alias = "Message")]
        message: Option<Box<str>>,
    }
    let SigninErrorBody { error, message } = serde_json::from_slice(&response.body).unwrap_or_default();
    let class = error_class(response, None);
    let (kind, hint) = match (error.as_deref(), class) {
        (Some(code), _) if ENDING.contains(&code) => (Some(ErrorKind::Denied), Some("log in again with aws login")),
        (Some("INSUFFICIENT_PERMISSIONS"), _) => (
            Some(ErrorKind::Denied),
            Some("ask the administrator of the account for the permission signin:CreateOAuth2Token"),
        ),
        (Some("rate_exceeded" | "server_error" | "service_unavailable"), _) => (Some(ErrorKind::Unavailable), None),
        (_, Some("AccessDeniedException")) => {
            (Some(ErrorKind::Denied), Some("if this lasts, log in again with aws login"))
        }
        _ if response.status.is_client_error() => (None, Some("if this lasts, log in again with aws login")),
        _ => (None, None),
    };
    let redacted = |text: &str| Box::from(redacted(text, grant.refresh_token).as_str());
    let code = error.as_deref().or(class);
    ServiceError { code: code.map(redacted), message: message.as_deref().map(redacted), kind, hint }
}

fn read(body: &[u8]) -> Result<SigninTokens, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct SigninResponseBody {
        access_token: SigninKeys,
        expires_in: u64,
        refresh_token: Secret,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct SigninKeys {
        access_key_id: Box<str>,
        secret_access_key: Secret,
        session_token: Secret,
    }
    // The message of the parser may quote a secret.
    let SigninResponseBody { access_token, expires_in, refresh_token } = serde_json::from_slice(body)
        .map_err(|error| format!("the answer has no credentials (line {}, column {})", error.line(), error.column()))?;
    if access_token.session_token.is_empty() || refresh_token.is_empty() || expires_in == 0 {
        return Err("the answer has no session token, no refresh token or no lifetime".into());
    }
    let credentials = Credentials::new(&access_token.access_key_id, access_token.secret_access_key.expose())
        .and_then(|keys| keys.with_session_token(Some(access_token.session_token.expose())))
        .map_err(|error| format!("in the answer, {error}"))?;
    Ok(SigninTokens { credentials, expires_in: Duration::from_secs(expires_in).min(LONGEST), refresh_token })
}
