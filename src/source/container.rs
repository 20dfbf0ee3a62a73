//! Credentials from the container endpoint of ECS, EKS or another broker.

use std::path::Path;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use http::{Method, StatusCode};

use crate::cache::credentials::CachePolicy;
use crate::cache::key::CacheKeyBuilder;
use crate::context::Context;
use crate::context::attempts::Attempts;
use crate::http::address_policy::AddressPolicy;
use crate::http::message::{Request, Response};
use crate::http::url::Url;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::outcome::Lookup;
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::os::environment::Environment;
use crate::source::document;
use crate::source::document::SuccessCode;
use crate::source::endpoint::{EndpointHints, retry};
use crate::source::web_identity::TOKEN_FILE_HINT;
use crate::source::{BoxFuture, Source};

const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// The address of the ECS agent. The relative URI is a path on it.
const ECS_AGENT: &str = "http://169.254.170.2";

const HINTS: EndpointHints = EndpointHints {
    silent: "check that the credential endpoint of this container is running, and that this address reaches it",
    denied: "check that AWS_CONTAINER_AUTHORIZATION_TOKEN, or the file that AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names, \
             holds the token of this endpoint, and that the endpoint has a role for this container",
    other: "check which program listens at this address, and correct AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or \
            AWS_CONTAINER_CREDENTIALS_FULL_URI",
};

/// The timeout of one attempt. Three attempts and their pauses stay below the 10 s of a chain load.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2500);

/// Requests credentials from the endpoint that `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` names, a path on 169.254.170.2.
/// If it is not set, the endpoint is `AWS_CONTAINER_CREDENTIALS_FULL_URI`. The `Authorization` is in the file that
/// `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` names, else in `AWS_CONTAINER_AUTHORIZATION_TOKEN`. Each load reads the
/// file again.
///
/// `https` may go to any host. `http` may go to loopback, to the endpoints of ECS and EKS, and to names that resolve to
/// loopback addresses only; any other host is misconfigured. The source is *not configured* only if neither URI is set.
/// Expired credentials are returned unchanged, because the refresher handles them. Requests for the same URL with the
/// same token within a minute share one response.
///
/// ```
/// use credenza::{ContainerCredentials, Context, Lookup, Source};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let source = ContainerCredentials::new();
/// assert!(matches!(source.load(&Context::default()).await, Lookup::NotConfigured(_)));
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ContainerCredentials {
    timeout: Duration,
}

impl ContainerCredentials {
    /// Makes a source with a timeout of 2.5 s for each of its three attempts.
    #[must_use]
    pub fn new() -> Self {
        Self { timeout: ATTEMPT_TIMEOUT }
    }

    /// Returns this source with this timeout for each attempt.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout }
    }

    /// Returns the credentials of this endpoint and token, from the credential cache or by a request.
    async fn obtain(&self, context: &Context, url: &Url) -> Lookup {
        let token = match token(context).await {
            Ok(token) => token,
            Err(error) => return error.into(),
        };
        let token = token.as_ref();
        let key = CacheKeyBuilder::new("container endpoint")
            .with_value(url)
            .with_optional(token.map(Secret::expose))
            .with(self.timeout.as_nanos().to_be_bytes());
        let request = || async { Lookup::from_result(self.request_credentials(context, url, token).await) };
        context.credential_cache.share(&context.clock, key.cache_key(), CachePolicy::NEARBY, request).await
    }

    async fn request_credentials(
        &self,
        context: &Context,
        url: &Url,
        token: Option<&Secret>,
    ) -> Result<Credentials, SourceError> {
        let request = self.request(url, token)?.to_string();
        let response = self.send(context, url, token).await?;
        if response.status != StatusCode::OK {
            return Err(HINTS.refused(&response, &request, &context.clock, token));
        }
        document::credentials(&response.body, SuccessCode::IfPresent, &request, token)
            .map_err(|error| HINTS.useless(error))
    }

    /// Sends the request. Sends it again if there is no response, or the status is transient.
    async fn send(&self, context: &Context, url: &Url, token: Option<&Secret>) -> Result<Response, SourceError> {
        let mut attempts = Attempts::new(context);
        loop {
            let sent = context.http_client.send(self.request(url, token)?).await;
            match retry(&sent, &context.clock) {
                Some(retry_after) if attempts.next(retry_after).await => {}
                _ => return sent.map_err(|error| HINTS.unanswered(error)),
            }
        }
    }

    fn request(&self, url: &Url, token: Option<&Secret>) -> Result<Request, SourceError> {
        let policy = if url.is_https() { AddressPolicy::Anywhere } else { AddressPolicy::Container };
        let request = Request::new(Method::GET, url.clone(), policy, self.timeout)
            .with_header(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(match token {
            Some(token) => request.with_secret(AUTHORIZATION, "container authorization token", token)?,
            None => request,
        })
    }
}

impl Default for ContainerCredentials {
    fn default() -> Self {
        Self::new()
    }
}

impl Source for ContainerCredentials {
    fn name(&self) -> &str {
        "container"
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            match endpoint(&context.environment) {
                Ok(None) => Lookup::not_configured(format!("neither {RELATIVE} nor {FULL} is set")),
                Ok(Some(url)) => self.obtain(context, &url).await,
                Err(error) => error.into(),
            }
        })
    }
}

fn endpoint(environment: &Environment) -> Result<Option<Url>, SourceError> {
    let (variable, text) = match (environment.text(RELATIVE)?, environment.text(FULL)?) {
        // Require the slash: `@host/` or `.host/` would change the host of the URL.
        (Some(path), _) if !path.starts_with('/') => {
            let error = SourceError::misconfigured(format!("{RELATIVE} must be a path that begins with a slash"));
            return Err(error.with_hint("write a path such as /v2/credentials, or unset it"));
        }
        (Some(path), _) => (RELATIVE, format!("{ECS_AGENT}{path}")),
        (None, Some(url)) => (FULL, url.to_owned()),
        (None, None) => return Ok(None),
    };
    Url::parse(&text)
        .map(Some)
        .map_err(|error| SourceError::misconfigured(format!("{variable} {error}")).with_hint("correct it, or unset it"))
}

async fn token(context: &Context) -> Result<Option<Secret>, SourceError> {
    let Some(path) = context.environment.text(TOKEN_FILE)? else {
        return context.environment.text(TOKEN)?.map(|text| checked(TOKEN, text)).transpose();
    };
    let path = context.environment.expand(Path::new(path));
    let shown = path.to_string_lossy();
    let unusable = |kind, why: &str| {
        SourceError::new(kind, format!("{TOKEN_FILE} ({}): {why}", Escaped(&shown)))
            .with_hint(format!("{TOKEN_FILE_HINT}, or unset {TOKEN_FILE}"))
    };
    let file = context.files.read(&path).await;
    let file = file.map_err(|error| unusable(ErrorKind::Unsettled, &error.reason().to_string()).caused_by(error))?;
    let text = std::str::from_utf8(&file.bytes).map_err(|_| unusable(ErrorKind::Misconfigured, "it is not text"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(unusable(ErrorKind::Unsettled, "the file is empty")),
        text => checked(&format!("{TOKEN_FILE} ({})", Escaped(&shown)), text).map(Some),
    }
}

/// Returns the token if a header can carry it as it is. `setting` is the variable that the token comes from.
fn checked(setting: &str, text: &str) -> Result<Secret, SourceError> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(Secret::new(text));
    }
    let message = format!("{setting} holds a character that no HTTP header can carry (a line break, perhaps)");
    Err(SourceError::misconfigured(message).with_hint("write the token alone, in one line"))
}

#[cfg(test)]
mod tests;
