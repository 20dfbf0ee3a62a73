//! AWS Sign-In: CreateOAuth2Token, which exchanges the refresh token of an `aws login` for new credentials.
//!
//! It is JSON over POST without a signature; a DPoP proof in a header shows that we hold the key of the log-in.

use std::time::Duration;

use http::header::HeaderName;
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::aws::call::{PATIENCE, SEE_WHO_ANSWERS, ServiceError, call};
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

const WHAT: &str = "CreateOAuth2Token";

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// Nobody is believed who speaks of a longer time: credentials live for 15 minutes, says the service.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// What `aws login` left for the next exchange.
#[derive(Debug)]
pub(crate) struct SigninGrant<'a> {
    /// `arn:aws:signin:::devtools/same-device`.
    pub(crate) client_id: &'a Secret,
    /// Good for one exchange.
    pub(crate) refresh_token: &'a Secret,
    /// The key that the refresh token is bound to.
    pub(crate) key: &'a DpopKey,
}

/// What came of an exchange.
#[derive(Clone, Debug)]
pub(crate) struct SigninTokens {
    /// Temporary ones; neither their end nor the account is told.
    pub(crate) credentials: Credentials,
    /// How long they are good.
    pub(crate) expires_in: Duration,
    /// For the next exchange.
    pub(crate) refresh_token: Secret,
}

/// There were none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SigninError {
    /// Whether a person has to log in again.
    pub(crate) ends_the_session: bool,
    /// The same for people.
    pub(crate) failure: SourceError,
}

impl From<SourceError> for SigninError {
    fn from(failure: SourceError) -> Self {
        Self { ends_the_session: false, failure }
    }
}

/// Exchanges a refresh token for new credentials and the next refresh token.
///
/// # Errors
/// When Sign-In refuses or cannot be asked.
pub(crate) async fn refresh(
    context: &Context,
    settings: &Settings,
    grant: &SigninGrant<'_>,
) -> Result<SigninTokens, SigninError> {
    let endpoint = ServiceEndpoint::of(Service::Signin, settings)?;
    let url = endpoint.url.join("/v1/token");
    let url = url.map_err(|bad| SourceError::misconfigured(format!("the URL of AWS Sign-In {bad}")))?;
    let (endpoint, proven) = (ServiceEndpoint { url: url.clone(), ..endpoint }, url.without_query());
    let body = Bytes::from_owner(body(grant)?);
    // The name of a service matters to signatures alone.
    let post =
        Post { endpoint: &endpoint, service: "signin", content_type: "application/json", body, patience: PATIENCE };
    let request = || {
        let proof = grant.key.proof(&proven, context.clock.now());
        let proof = proof.map_err(|_| SourceError::unavailable(format!("{WHAT}: cannot draw random numbers")))?;
        Ok(post.unsigned().with_secret(DPOP, "proof", &proof)?)
    };
    let response =
        call(context, settings, WHAT, request, |response| understand(response, grant)).await.map_err(|error| {
            SigninError {
                ends_the_session: error.code.as_deref().is_some_and(|code| ENDING.contains(&code)),
                failure: error.failure,
            }
        })?;
    read(&response.body)
        .map_err(|why| SourceError::unavailable(format!("{WHAT} (POST {url}): {why}{SEE_WHO_ANSWERS}")).into())
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
    // Room for all of it at once, and escaped: a buffer that grows leaves copies behind.
    let room = 6 * (parameters.client_id.len() + parameters.refresh_token.len()) + 128;
    let mut body = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *body, &parameters)
        .map_err(|_| SourceError::misconfigured(format!("{WHAT}: the parameters are no text")))?;
    Ok(body)
}

/// Codes after which only a person can go on: those of botocore's `LoginRefreshRequired`, and what OAuth 2.0 (RFC 6749,
/// section 5.2) says of a refresh token that is not good any more.
const ENDING: [&str; 5] =
    ["TOKEN_EXPIRED", "USER_CREDENTIALS_CHANGED", "AUTHCODE_EXPIRED", "invalid_grant", "invalid_client"];

/// `error` has the code, `message` the words; without the first, the class of the error in a header has to do.
fn understand(response: &Response, grant: &SigninGrant<'_>) -> ServiceError {
    #[derive(Default, Deserialize)]
    struct SigninErrorBody {
        error: Option<Box<str>>,
        #[serde(alias = "error_description", alias = "Message")]
        message: Option<Box<str>>,
    }
    let SigninErrorBody { error, message } = serde_json::from_slice(&response.body).unwrap_or_default();
    let class = response.headers.get("x-amzn-errortype").and_then(|class| class.to_str().ok());
    // `com.amazonaws.signin#AccessDeniedException:http://internal/`
    let class = class.map(|class| class.split(':').next().unwrap_or_default());
    let class = class.map(|class| class.rsplit('#').next().unwrap_or_default()).filter(|class| !class.is_empty());
    let (kind, advice) = match (error.as_deref(), class) {
        (Some(code), _) if ENDING.contains(&code) => (Some(ErrorKind::Denied), Some("log in again with aws login")),
        (Some("INSUFFICIENT_PERMISSIONS"), _) => (
            Some(ErrorKind::Denied),
            Some("ask who administers the account for the permission signin:CreateOAuth2Token"),
        ),
        (Some("rate_exceeded" | "server_error" | "service_unavailable"), _) => (Some(ErrorKind::Unavailable), None),
        (_, Some("AccessDeniedException")) => {
            (Some(ErrorKind::Denied), Some("if this lasts, log in again with aws login"))
        }
        _ if response.status.is_client_error() => (None, Some("if this lasts, log in again with aws login")),
        _ => (None, None),
    };
    let hushed = |text: &str| Box::from(text.replace(grant.refresh_token.expose(), "[redacted]"));
    let code = error.as_deref().or(class);
    ServiceError { code: code.map(hushed), message: message.as_deref().map(hushed), kind, advice }
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
    // What does not parse may still hold a secret, and so may the error of the parser.
    let SigninResponseBody { access_token, expires_in, refresh_token } =
        serde_json::from_slice(body).map_err(|error| {
            format!("the answer has not what was asked for (line {}, column {})", error.line(), error.column())
        })?;
    if access_token.session_token.is_empty() || refresh_token.is_empty() || expires_in == 0 {
        return Err("the answer has no session token, no refresh token or no end".into());
    }
    let credentials = Credentials::new(&access_token.access_key_id, access_token.secret_access_key.expose())
        .and_then(|keys| keys.with_session_token(Some(access_token.session_token.expose())))
        .map_err(|unusable| format!("in the answer, {unusable}"))?;
    Ok(SigninTokens { credentials, expires_in: Duration::from_secs(expires_in).min(LONGEST), refresh_token })
}
