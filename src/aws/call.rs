//! One call of a service: sent up to three times, and whatever went wrong told in the service's own words.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use http::header::DATE;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::aws::settings::Settings;
use crate::context::Context;
use crate::http::error::HttpErrorCause;
use crate::http::message::{Request, Response};
use crate::http::trust_roots::TrustRoots;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::location::Location;
use crate::model::text::Escaped;
use crate::model::text::excerpt;
use crate::os::clock::Clock;

/// For each attempt. With the pauses all of them fit into the 10 s that a load has; services answer within one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Before the second and the third attempt; between half of it and all of it, so that many do not come at once.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(500)];

/// AWS refuses signatures whose time is farther off.
const LARGEST_SKEW: Duration = Duration::from_secs(5 * 60);

/// What a service says when it has no credentials for us. Foreign text as it came, less secrets that went out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceError {
    /// `AccessDenied`.
    pub(crate) code: Option<Box<str>>,
    /// Words for a person.
    pub(crate) message: Option<Box<str>>,
    /// What it means, where the code and the status do not say it by themselves.
    pub(crate) kind: Option<ErrorKind>,
    /// What the user can do about it.
    pub(crate) advice: Option<&'static str>,
}

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallError {
    /// What the source answers with.
    pub(crate) failure: SourceError,
    /// The code of the service, for those that are no failure to the caller; `None` when nobody answered in its way.
    pub(crate) code: Option<Box<str>>,
}

impl From<SourceError> for CallError {
    fn from(failure: SourceError) -> Self {
        Self { failure, code: None }
    }
}

impl From<CallError> for SourceError {
    fn from(error: CallError) -> Self {
        error.failure
    }
}

/// Calls a service and gives the first answer with a status of success.
///
/// `what` is tried, for messages: `AssumeRole arn:…`. `request` makes each attempt anew, since a signature is of its
/// moment; `understand` reads an answer that is no success. Silence, 5xx and throttling are tried three times in all,
/// unless upstream says when to come again; everything else once.
///
/// # Errors
/// When no attempt succeeds; the message says what was tried, on what, what the service said, and when the clock here is
/// wrong by more than five minutes, that too.
pub(crate) async fn call(
    context: &Context,
    settings: &Settings,
    what: &str,
    request: impl Fn() -> Result<Request, SourceError>,
    understand: impl Fn(&Response) -> ServiceError,
) -> Result<Response, CallError> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let request = equipped(context, settings, request()?).await?;
        let error = match attempt(context, settings, what, request, &understand).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let passes = error.failure.kind == ErrorKind::Unavailable && error.failure.retry_after.is_none();
        match pauses.next() {
            Some(pause) if passes => tokio::time::sleep(pause.mul_f64(0.5 + context.rng.draw() / 2.0)).await,
            _ => return Err(error),
        }
    }
}

/// The request by way of the proxy and with the authorities that somebody chose for AWS.
async fn equipped(context: &Context, settings: &Settings, request: Request) -> Result<Request, SourceError> {
    let request = request.through_proxy();
    match &settings.ca_bundle {
        Some(path) if request.is_https() => {
            let path = path.as_ref().map_err(|refusal| SourceError::misconfigured(refusal.clone()))?;
            Ok(request.with_roots(bundle(context, path, settings.ca_bundle_location.as_ref()).await?))
        }
        _ => Ok(request),
    }
}

/// The authorities in the file that `AWS_CA_BUNDLE` or `ca_bundle` names, which of them `stands` says. They are read at
/// every use, so that the keeper notices when they change.
async fn bundle(context: &Context, path: &Path, location: Option<&Location>) -> Result<TrustRoots, SourceError> {
    let unsettled = |why: String| {
        let named = location.map_or_else(|| "ca_bundle".into(), Location::named);
        let mend = "name a file with the certificates of authorities there, or nothing";
        SourceError::new(ErrorKind::Unsettled, format!("the CA bundle that {named} names, {why}; {mend}"))
    };
    let contents = context.files.read(path).await.map_err(|error| unsettled(error.to_string()))?;
    let shown = path.to_string_lossy();
    let roots = context.http_client.roots(contents.bytes).await;
    roots.map_err(|bad| unsettled(format!("{} {bad}", Escaped(&shown))))
}

async fn attempt(
    context: &Context,
    settings: &Settings,
    what: &str,
    request: Request,
    understand: impl Fn(&Response) -> ServiceError,
) -> Result<Response, CallError> {
    let tried = request.to_string();
    let response = context.http_client.send(request).await.map_err(|error| {
        let is_of_region = error.cause().is_unresolved() && names_region(&tried, settings);
        let advice = unanswered(error.cause(), settings, is_of_region);
        let message = format!("{}: {error}{advice}", Escaped(what)).into();
        SourceError { message, is_of_region, ..SourceError::from(error) }
    })?;
    if response.status.is_success() {
        return Ok(response);
    }
    let said = understand(&response);
    let kind = said.kind.unwrap_or_else(|| kind_of(response.status, said.code.as_deref()));
    let retry_after = kind.is_transient().then(|| response.retry_after(&context.clock)).flatten();
    let message = told(what, &tried, &response, &said, kind, &context.clock);
    Err(CallError { failure: SourceError { retry_after, ..SourceError::new(kind, message) }, code: said.code })
}

/// Whether the host of a request bears the name of the region.
fn names_region(tried: &str, settings: &Settings) -> bool {
    let labels = tried.split(['/', '.', ':']);
    settings.region.as_deref().is_some_and(|region| labels.into_iter().any(|label| label.eq_ignore_ascii_case(region)))
}

/// What to do when no answer came.
fn unanswered(cause: &HttpErrorCause, settings: &Settings, is_of_region: bool) -> String {
    let region = settings.region.as_deref().unwrap_or_default();
    match cause {
        _ if cause.is_untrusted() => untrusted(settings),
        _ if is_of_region => {
            format!("; see that {} is a region of AWS, and that this machine can look names up", Escaped(region))
        }
        HttpErrorCause::Unresolved(_) | HttpErrorCause::NoAddress => {
            "; see that the endpoint is written right, and that this machine can look names up".into()
        }
        HttpErrorCause::Proxy { cause, .. } if cause.is_silence() || cause.passes() => {
            "; see that the proxy works, or list the host in NO_PROXY".into()
        }
        HttpErrorCause::TimedOut(_) | HttpErrorCause::Unreachable(_) => {
            "; see that this machine reaches it: by the network, by a proxy (HTTPS_PROXY), or at an endpoint of your own \
             (endpoint_url, AWS_ENDPOINT_URL)"
                .into()
        }
        HttpErrorCause::OwnListener(_) | HttpErrorCause::TooLarge(_) | HttpErrorCause::Tls(_) | HttpErrorCause::NoCertificateFor | HttpErrorCause::Protocol(_) => {
            SEE_WHO_ANSWERS.into()
        }
        // These say it themselves.
        HttpErrorCause::NoUpstream
        | HttpErrorCause::Forbidden(_)
        | HttpErrorCause::Untrusted
        | HttpErrorCause::NoRoots(_)
        | HttpErrorCause::BadProxy(_)
        | HttpErrorCause::ProxyRefused { .. }
        | HttpErrorCause::Proxy { .. } => String::new(),
    }
}

/// What to do about an answer that the service of AWS would not give.
pub(crate) const SEE_WHO_ANSWERS: &str = "; see what answers at this endpoint (endpoint_url, AWS_ENDPOINT_URL)";

/// What to do about a certificate that none of the authorities has signed.
fn untrusted(settings: &Settings) -> String {
    match &settings.ca_bundle {
        Some(Ok(path)) => {
            let path = path.to_string_lossy();
            let named = settings.ca_bundle_location.as_ref().map(|at| format!(", which {} names,", at.named()));
            let named = named.unwrap_or_default();
            format!("; trusted are those in {}{named} and no others: add the missing one", Escaped(&path))
        }
        _ => "; if a proxy or a service of your own uses one, name the authority's certificate (a PEM file) in \
              AWS_CA_BUNDLE or ca_bundle"
            .to_owned(),
    }
}

/// `AssumeRole arn:… (POST https://…/): status 403 Forbidden: AccessDenied: words; advice`.
fn told(what: &str, tried: &str, response: &Response, said: &ServiceError, kind: ErrorKind, clock: &Clock) -> String {
    let status = response.status;
    let mut message = format!("{} ({tried}): status {status}", Escaped(what));
    if status.is_redirection() {
        message += " (redirects are not followed)";
    }
    for text in [&said.code, &said.message].into_iter().flatten() {
        message += &format!(": {}", excerpt(text, None));
    }
    // A request that is refused for another reason may well have been signed with a wrong time.
    if let Some(skew) = status.is_client_error().then(|| skew(response, clock)).flatten() {
        message += &format!("; {skew}");
    } else if let Some(advice) = said.advice.or_else(|| of_kind(kind, status)) {
        message += &format!("; {advice}");
    }
    message
}

/// What to do about a refusal of which nothing more is known.
fn of_kind(kind: ErrorKind, status: StatusCode) -> Option<&'static str> {
    match kind {
        ErrorKind::Unavailable | ErrorKind::Unsettled => Some("the service may recover: run it again in a while"),
        _ if status.is_redirection() => Some("name the endpoint that it leads to (endpoint_url, AWS_ENDPOINT_URL)"),
        ErrorKind::Denied => Some("ask who administers the account whether this caller may do it"),
        ErrorKind::Misconfigured => Some("check what the profile asks for, and what answers at this endpoint"),
        // Whoever knows the log-in names the command.
        ErrorKind::LoginRequired => None,
    }
}

/// How wrong the clock here is, if that is worth a word.
fn skew(response: &Response, clock: &Clock) -> Option<String> {
    let date = response.headers.get(DATE)?.to_str().ok()?;
    let there = OffsetDateTime::parse(date.trim(), &Rfc2822).ok()?;
    let off = OffsetDateTime::from(clock.now()) - there;
    let (size, direction) = (off.unsigned_abs(), if off.is_negative() { "behind" } else { "ahead of" });
    (size > LARGEST_SKEW).then(|| {
        let minutes = size.as_secs() / 60;
        format!("the clock of this machine is {minutes} minutes {direction} that of the service, set it right")
    })
}

/// Codes that ask to come again, whatever the status: botocore's and the SDKs' lists of throttling and transient errors.
const PASSING: [&str; 21] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "IDPCommunicationError",
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "InternalServerException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Codes that say no to who asks, whatever the status.
const DENYING: [&str; 18] = [
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IDPRejectedClaim",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidIdentityToken",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "NotAuthorized",
    "OptInRequired",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnauthorizedException",
    "UnrecognizedClientException",
];

fn kind_of(status: StatusCode, code: Option<&str>) -> ErrorKind {
    let code = code.unwrap_or_default();
    match status {
        _ if PASSING.contains(&code) => ErrorKind::Unavailable,
        _ if DENYING.contains(&code) => ErrorKind::Denied,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => ErrorKind::Unavailable,
        // Some word their refusals with the status alone; with a code of its own a 403 may be anything.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Denied,
        _ if status.is_client_error() || status.is_redirection() => ErrorKind::Misconfigured,
        _ => ErrorKind::Unavailable,
    }
}
