//! One call of a service: up to three attempts, and an error with the code and the message of the service.

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
use crate::context::attempts::Attempts;
use crate::http::error::{HttpError, HttpErrorCause};
use crate::http::message::{Request, Response};
use crate::http::trust_roots::TrustRoots;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::location::Location;
use crate::model::text::{Escaped, excerpt};
use crate::os::clock::Clock;
use crate::os::files::contents::LARGE;

/// The timeout of one attempt. Services answer within a second, and three attempts fit into the 10 s of a load.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// The maximum difference between our clock and that of the service. AWS refuses signatures with a larger one.
const LARGEST_SKEW: Duration = Duration::from_secs(5 * 60);

/// The hint for an answer that cannot come from the AWS service.
pub(crate) const CHECK_ENDPOINT: &str = "check which service answers at this endpoint (endpoint_url, AWS_ENDPOINT_URL)";

/// The error in an answer of a service. Its text is not escaped, and the secrets of the request are redacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceError {
    /// The error code, such as `AccessDenied`.
    pub(crate) code: Option<Box<str>>,
    pub(crate) message: Option<Box<str>>,
    /// The error kind. `None` if the code and the HTTP status decide it.
    pub(crate) kind: Option<ErrorKind>,
    pub(crate) hint: Option<&'static str>,
}

/// The error of a call without a successful answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallError {
    pub(crate) error: SourceError,
    /// The error code of the service, for callers that handle certain codes. `None` if the answer has no code, or there
    /// is no answer.
    pub(crate) code: Option<Box<str>>,
}

impl From<SourceError> for CallError {
    fn from(error: SourceError) -> Self {
        Self { error, code: None }
    }
}

impl From<CallError> for SourceError {
    fn from(call: CallError) -> Self {
        call.error
    }
}

/// Calls a service and returns its first successful answer.
///
/// `action` is for messages: `AssumeRole arn:…`. `request` makes a new request for each attempt, because a signature
/// contains the time. `read_error` reads an answer that is not successful. Up to three attempts are made within the
/// deadline of the load if there is no answer, if the status is 5xx, or if the service throttles the call. Every other
/// error ends the call at once.
///
/// # Errors
/// If no attempt succeeds. The message names the action, the URL and the error of the service. The hint mentions our
/// clock if it is wrong by more than five minutes.
pub(crate) async fn call(
    context: &Context,
    settings: &Settings,
    action: &str,
    request: impl Fn() -> Result<Request, SourceError>,
    read_error: impl Fn(&Response) -> ServiceError,
) -> Result<Response, CallError> {
    let mut attempts = Attempts::new(context);
    loop {
        let request = prepare(context, settings, request()?).await?;
        let call = match attempt(context, settings, action, request, &read_error).await {
            Ok(response) => return Ok(response),
            Err(call) => call,
        };
        let is_transient = call.error.kind == ErrorKind::Unavailable;
        if !is_transient || !attempts.next(call.error.retry_after).await {
            return Err(call);
        }
    }
}

/// Returns the request with the proxy and the certificate authorities of the settings.
async fn prepare(context: &Context, settings: &Settings, request: Request) -> Result<Request, SourceError> {
    let request = request.through_proxy();
    match &settings.ca_bundle {
        Some(path) if request.is_https() => {
            let path = path.as_ref().map_err(|error| SourceError::from(error.clone()))?;
            Ok(request.with_roots(read_bundle(context, path, settings.ca_bundle_location.as_ref()).await?))
        }
        _ => Ok(request),
    }
}

/// The certificate authorities in the file that `AWS_CA_BUNDLE` or `ca_bundle` names. They are read at every use, so
/// that the refresher notices a change.
async fn read_bundle(context: &Context, path: &Path, location: Option<&Location>) -> Result<TrustRoots, SourceError> {
    let name = location.and_then(Location::property).unwrap_or("ca_bundle");
    let unsettled = |why: String| {
        SourceError::new(ErrorKind::Unsettled, format!("the CA bundle of {name} cannot be used: {why}"))
            .with_hint(format!("name a file with the certificates of authorities in {name}, or remove it"))
            .at(location.filter(|location| !location.is_variable()).cloned())
    };
    let read = context.files.read_up_to(path, LARGE).await;
    let contents = read.map_err(|error| unsettled(error.to_string()).caused_by(error))?;
    contents.facts.trusted(&context.trust).map_err(|distrust| {
        unsettled(format!("{} {distrust}", Escaped(&path.to_string_lossy()))).caused_by(distrust)
    })?;
    let roots = context.http_client.roots(contents.bytes).await;
    roots.map_err(|error| unsettled(format!("{} {error}", Escaped(&path.to_string_lossy()))))
}

async fn attempt(
    context: &Context,
    settings: &Settings,
    action: &str,
    request: Request,
    read_error: impl Fn(&Response) -> ServiceError,
) -> Result<Response, CallError> {
    let tried = request.to_string();
    let sent = context.http_client.send(request).await;
    let response = sent.map_err(|error| without_answer(action, &tried, settings, error))?;
    if response.status.is_success() {
        return Ok(response);
    }
    let answer = read_error(&response);
    let kind = answer.kind.unwrap_or_else(|| kind_of(response.status, answer.code.as_deref()));
    let said = said(&answer).map(Box::from);
    let error = SourceError { said, ..SourceError::new(kind, message(action, &tried, response.status)) };
    // Check our clock at every refusal: a wrong clock may be the cause, although the service does not mention it.
    let skew = response.status.is_client_error().then(|| skew_hint(&response, &context.clock)).flatten();
    let hint =
        skew.map(Box::from).or_else(|| Some(answer.hint.or_else(|| hint_of_kind(kind, response.status))?.into()));
    let retry_after = kind.is_transient().then(|| response.retry_after(&context.clock)).flatten();
    Err(CallError { error: SourceError { retry_after, hint, ..error }, code: answer.code })
}

fn without_answer(action: &str, tried: &str, settings: &Settings, error: HttpError) -> SourceError {
    let kind = if error.cause().passes() { ErrorKind::Unavailable } else { ErrorKind::Misconfigured };
    let is_of_region = error.cause().is_unresolved() && names_region(tried, settings);
    let hint = connection_hint(error.cause(), settings, is_of_region).map(Into::into);
    let message = format!("{}: {error}", Escaped(action));
    SourceError { hint, is_of_region, ..SourceError::new(kind, message).caused_by(error) }
}

/// Returns true if one label of the host name is the region, as in `sts.eu-west-1.amazonaws.com`.
fn names_region(tried: &str, settings: &Settings) -> bool {
    let labels = tried.split(['/', '.', ':']);
    settings.region.as_deref().is_some_and(|region| labels.into_iter().any(|label| label.eq_ignore_ascii_case(region)))
}

/// The hint for an attempt without an answer.
fn connection_hint(cause: &HttpErrorCause, settings: &Settings, is_of_region: bool) -> Option<String> {
    let region = settings.region.as_deref().unwrap_or_default();
    Some(match cause {
        _ if cause.is_untrusted() => authority_hint(settings),
        _ if is_of_region => {
            format!("check that {} is a region of AWS, and that this machine can resolve names", Escaped(region))
        }
        HttpErrorCause::Unresolved(_) | HttpErrorCause::NoAddress => {
            "check the spelling of the endpoint, and that this machine can resolve names".into()
        }
        HttpErrorCause::Proxy { cause, .. } if cause.is_silence() || cause.passes() => {
            "check that the proxy works, or list the host in NO_PROXY".into()
        }
        HttpErrorCause::TimedOut(_) | HttpErrorCause::Unreachable(_) => {
            "check that this machine reaches it: over the network, through a proxy (HTTPS_PROXY), or at your own endpoint \
             (endpoint_url, AWS_ENDPOINT_URL)"
                .into()
        }
        HttpErrorCause::OwnListener(_)
        | HttpErrorCause::TooLarge(_)
        | HttpErrorCause::Tls(_)
        | HttpErrorCause::NoCertificateFor
        | HttpErrorCause::Protocol(_) => CHECK_ENDPOINT.into(),
        // The messages of these errors contain a hint.
        HttpErrorCause::NoClient
        | HttpErrorCause::Forbidden(_)
        | HttpErrorCause::Untrusted
        | HttpErrorCause::NoRoots(_)
        | HttpErrorCause::BadProxy(_)
        | HttpErrorCause::ProxyRefused { .. }
        | HttpErrorCause::Proxy { .. } => return None,
    })
}

/// The hint for a certificate that no trusted authority has signed.
fn authority_hint(settings: &Settings) -> String {
    match &settings.ca_bundle {
        Some(Ok(path)) => {
            let path = path.to_string_lossy();
            let named = settings.ca_bundle_location.as_ref().map(|at| format!(", which {} names", at.named()));
            let named = named.unwrap_or_default();
            format!("add the missing authority to {}{named}: only the authorities there are trusted", Escaped(&path))
        }
        _ => "if a proxy or a service of your own uses one, name the authority's certificate (a PEM file) in \
              AWS_CA_BUNDLE or ca_bundle"
            .to_owned(),
    }
}

/// Formats a message such as `AssumeRole arn:… (POST https://…/): status 403 Forbidden`.
fn message(action: &str, tried: &str, status: StatusCode) -> String {
    let mut message = format!("{} ({tried}): status {status}", Escaped(action));
    if status.is_redirection() {
        message += " (redirects are not followed)";
    }
    message
}

/// Formats the answer of a service: `AccessDenied: words`. `None` if it has neither.
fn said(answer: &ServiceError) -> Option<String> {
    let texts: Vec<_> = [&answer.code, &answer.message].into_iter().flatten().map(|text| excerpt(text, None)).collect();
    (!texts.is_empty()).then(|| texts.join(": "))
}

/// The hint for an error kind, if the service has given no hint.
fn hint_of_kind(kind: ErrorKind, status: StatusCode) -> Option<&'static str> {
    match kind {
        ErrorKind::Unavailable | ErrorKind::Unsettled => Some("the service may recover: try again later"),
        _ if status.is_redirection() => {
            Some("set the endpoint that the redirect names (endpoint_url, AWS_ENDPOINT_URL)")
        }
        ErrorKind::Denied => Some("ask the administrator of the account whether this caller may do it"),
        ErrorKind::Misconfigured => {
            Some("check the settings of the profile, and which service answers at this endpoint")
        }
        // The source knows the command that logs in.
        ErrorKind::LoginRequired | ErrorKind::MfaRequired => None,
    }
}

/// The hint for a clock that is wrong by more than [`LARGEST_SKEW`].
fn skew_hint(response: &Response, clock: &Clock) -> Option<String> {
    let date = response.headers.get(DATE)?.to_str().ok()?;
    let there = OffsetDateTime::parse(date.trim(), &Rfc2822).ok()?;
    let skew = OffsetDateTime::from(clock.now()) - there;
    let (size, direction) = (skew.unsigned_abs(), if skew.is_negative() { "behind" } else { "ahead of" });
    (size > LARGEST_SKEW).then(|| {
        let minutes = size.as_secs() / 60;
        format!("set the clock of this machine: it is {minutes} minutes {direction} that of the service")
    })
}

/// Returns the error code in the header of an answer, else `in_body`.
///
/// The code may have a prefix and a suffix: `com.amazonaws.portal#UnauthorizedException:http://internal/`.
pub(crate) fn error_class<'a>(response: &'a Response, in_body: Option<&'a str>) -> Option<&'a str> {
    let header = response.headers.get("x-amzn-errortype").and_then(|class| class.to_str().ok());
    let class = header.or(in_body)?.split(':').next()?.rsplit('#').next()?;
    Some(class).filter(|class| !class.is_empty())
}

/// Error codes that mean a transient error, whatever the HTTP status is. They are the throttling and transient errors
/// of botocore and the SDKs.
const TRANSIENT_CODES: [&str; 21] = [
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

/// Error codes that mean a refusal of the caller, whatever the HTTP status is.
const DENIED_CODES: [&str; 18] = [
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
    match code.unwrap_or_default() {
        code if TRANSIENT_CODES.contains(&code) => ErrorKind::Unavailable,
        code if DENIED_CODES.contains(&code) => ErrorKind::Denied,
        _ => kind_of_status(status),
    }
}

/// Returns the kind of the error of an answer with this status, without an error code or with an unknown one.
pub(crate) fn kind_of_status(status: StatusCode) -> ErrorKind {
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => ErrorKind::Unavailable,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Denied,
        _ if status.is_client_error() || status.is_redirection() => ErrorKind::Misconfigured,
        _ => ErrorKind::Unavailable,
    }
}
