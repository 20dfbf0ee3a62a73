//! Security Token Service: its three actions that give temporary credentials, in the AWS query protocol.

#[cfg(test)]
mod tests;

use std::time::Duration;

use hyper::body::Bytes;
use zeroize::Zeroizing;

use crate::aws::arn::{DisplayArn, account_of_role, is_sendable_role, looks_like_arn};
use crate::aws::call::{CHECK_ENDPOINT, ServiceError, call};
use crate::aws::endpoint::ServiceEndpoint;
use crate::aws::form::Form;
use crate::aws::service::Service;
use crate::aws::settings::Settings;
use crate::aws::sign::Post;
use crate::aws::xml::{XmlDocument, XmlError};
use crate::context::Context;
use crate::http::message::Response;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::secret::Secret;
use crate::model::text::{redacted, usable};
use crate::model::time::parse_timestamp;

const VERSION: &str = "2011-06-15";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AssumeRoleRequest {
    /// The ARN of the role: `arn:aws:iam::123456789012:role/name`.
    pub(crate) role_arn: Box<str>,
    /// The name of the session in CloudTrail.
    pub(crate) session_name: Box<str>,
    pub(crate) external_id: Option<Box<str>>,
    pub(crate) duration: Option<Duration>,
    pub(crate) mfa: Option<MfaCode>,
    pub(crate) policy: Option<Box<str>>,
    pub(crate) policy_arns: Vec<Box<str>>,
    pub(crate) tags: Vec<(Box<str>, Box<str>)>,
    pub(crate) source_identity: Option<Box<str>>,
}

/// A code of an MFA device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MfaCode {
    /// The serial number or the ARN of the device.
    pub(crate) serial: Box<str>,
    pub(crate) code: Secret,
}

/// The region for an unsigned request to a configured endpoint. Only a signature would use it.
const UNUSED_REGION: &str = "us-east-1";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WebIdentityRequest {
    pub(crate) role_arn: Box<str>,
    pub(crate) session_name: Box<str>,
    pub(crate) duration: Option<Duration>,
    pub(crate) policy: Option<Box<str>>,
    pub(crate) policy_arns: Vec<Box<str>>,
}

/// AssumeRole: returns credentials of a role. The caller must be allowed to assume it.
///
/// # Errors
/// The error of STS, the reason why there is no answer, or a parameter that a request cannot carry.
pub(crate) async fn assume_role(
    context: &Context,
    settings: &Settings,
    caller: &Credentials,
    role: &AssumeRoleRequest,
) -> Result<Credentials, SourceError> {
    const ACTION: &str = "AssumeRole";
    let form = form(ACTION, &role.role_arn, &role.session_name, &role.policy_arns, role.policy.as_deref())?;
    let mut form = with_duration(form, role.duration);
    for (index, (key, value)) in role.tags.iter().enumerate() {
        form = form
            .with(format!("Tags.member.{}.Key", index + 1), one_line("key of a session tag", key)?)
            .with(format!("Tags.member.{}.Value", index + 1), value);
    }
    let external_id = role.external_id.as_deref().map(|id| one_line("external_id", id)).transpose()?;
    form = with_mfa(form.with_optional("ExternalId", external_id), role.mfa.as_ref())?;
    let source_identity = role.source_identity.as_deref().map(|id| one_line("source identity", id)).transpose()?;
    form = form.with_optional("SourceIdentity", source_identity);
    let code = role.mfa.as_ref().map(|mfa| &mfa.code);
    ask(context, settings, ACTION, CallSubject::Role(&role.role_arn), &form, Some(caller), code).await
}

/// AssumeRoleWithWebIdentity: returns credentials of a role for a token. The role must trust the identity provider that
/// issued the token. The request is not signed.
///
/// # Errors
/// The error of STS, the reason why there is no answer, or a parameter that a request cannot carry.
pub(crate) async fn assume_role_with_web_identity(
    context: &Context,
    settings: &Settings,
    role: &WebIdentityRequest,
    token: &Secret,
) -> Result<Credentials, SourceError> {
    const ACTION: &str = "AssumeRoleWithWebIdentity";
    let form = form(ACTION, &role.role_arn, &role.session_name, &role.policy_arns, role.policy.as_deref())?
        .with("WebIdentityToken", one_line("web identity token", token.expose())?);
    // A configured endpoint needs the region for the signature only, and this request is not signed.
    let needs_region = settings.region.is_none() && settings.endpoints.of(Service::Sts).is_some();
    let settings = settings.clone().with_region(needs_region.then(|| UNUSED_REGION.into()));
    let subject = CallSubject::Role(&role.role_arn);
    ask(context, &settings, ACTION, subject, &with_duration(form, role.duration), None, Some(token)).await
}

/// GetSessionToken: returns temporary credentials of the principal that the long-lived keys belong to.
///
/// # Errors
/// The error of STS, or the reason why there is no answer.
pub(crate) async fn get_session_token(
    context: &Context,
    settings: &Settings,
    caller: &Credentials,
    duration: Duration,
    mfa: Option<&MfaCode>,
) -> Result<Credentials, SourceError> {
    const ACTION: &str = "GetSessionToken";
    let form = with_mfa(with_duration(Form::new(ACTION, VERSION), Some(duration)), mfa)?;
    let (subject, code) = (CallSubject::Caller(&caller.access_key_id), mfa.map(|mfa| &mfa.code));
    let session = ask(context, settings, ACTION, subject, &form, Some(caller), code).await?;
    // The session belongs to the principal of the keys, so account and endpoint stay.
    Ok(Credentials { account_id: caller.account_id.clone(), endpoint: caller.endpoint.clone(), ..session })
}

fn form(
    action: &str,
    arn: &str,
    name: &str,
    policy_arns: &[Box<str>],
    policy: Option<&str>,
) -> Result<Form, SourceError> {
    let mut form = Form::new(action, VERSION)
        .with("RoleArn", role_arn(arn)?)
        .with("RoleSessionName", one_line("role session name", name)?);
    for (index, arn) in policy_arns.iter().enumerate() {
        form = form.with(format!("PolicyArns.member.{}.arn", index + 1), one_line("ARN of a policy", arn)?);
    }
    Ok(form.with_optional("Policy", policy))
}

fn with_duration(form: Form, duration: Option<Duration>) -> Form {
    form.with_optional("DurationSeconds", duration.map(|duration| duration.as_secs().to_string()).as_deref())
}

fn with_mfa(form: Form, mfa: Option<&MfaCode>) -> Result<Form, SourceError> {
    let Some(mfa) = mfa else { return Ok(form) };
    let form = form.with("SerialNumber", one_line("mfa_serial", &mfa.serial)?);
    Ok(form.with("TokenCode", one_line("MFA code", mfa.code.expose())?))
}

fn role_arn(arn: &str) -> Result<&str, SourceError> {
    if is_sendable_role(arn) {
        return Ok(arn);
    }
    Err(SourceError::misconfigured("role_arn is empty, too long, or has spaces or line breaks")
        .with_hint("write one such as arn:aws:iam::123456789012:role/name"))
}

fn one_line<'t>(part: &'static str, text: &'t str) -> Result<&'t str, SourceError> {
    Ok(usable(part, text)?)
}

/// The subject of an action, for messages.
enum CallSubject<'a> {
    Role(&'a str),
    Caller(&'a str),
}

/// Sends the form and reads the credentials in its answer. No message shows `secret`, which is part of the form.
async fn ask(
    context: &Context,
    settings: &Settings,
    action: &'static str,
    subject: CallSubject<'_>,
    form: &Form,
    caller: Option<&Credentials>,
    secret: Option<&Secret>,
) -> Result<Credentials, SourceError> {
    let endpoint = ServiceEndpoint::of(Service::Sts, settings)?;
    let body = Bytes::from_owner(form.encode());
    let post = Post { endpoint: &endpoint, service: "sts", content_type: CONTENT_TYPE, body };
    let request = || match caller {
        Some(caller) => post.signed(caller, context.clock.now()),
        None => Ok(post.unsigned()),
    };
    let of_caller = caller.map(|caller| [Some(&caller.secret_access_key), caller.session_token.as_ref()]);
    // A typing error may have put a secret in the place of the role. Only a text that looks like an ARN is shown.
    let (what, mistyped) = match subject {
        CallSubject::Role(arn) => {
            (format!("{action} {}", DisplayArn(arn)), (!looks_like_arn(arn)).then(|| Secret::new(arn)))
        }
        CallSubject::Caller(access_key_id) => (format!("{action} of {access_key_id}"), None),
    };
    let secrets: Vec<_> = of_caller.into_iter().flatten().chain([secret, mistyped.as_ref()]).flatten().collect();
    let response = call(context, settings, &what, request, |response| read_error(response, action, &secrets)).await?;
    credentials(&response.body).map_err(|why| {
        SourceError::unavailable(format!("{what} (POST {}): {why}", endpoint.url)).with_hint(CHECK_ENDPOINT)
    })
}

/// Reads the elements `Error/Code` and `Error/Message`, in any namespace and under any root element.
fn read_error(response: &Response, action: &str, secrets: &[&Secret]) -> ServiceError {
    let document = XmlDocument::parse(&response.body).ok();
    let text = |path| document.as_ref().and_then(|document| document.text(path).ok().flatten());
    let without_secrets = |text: &str| {
        let mut text = Zeroizing::new(text.to_owned());
        for secret in secrets {
            text = redacted(&text, secret);
        }
        Box::from(text.as_str())
    };
    let code: Option<Box<str>> = text("/Error/Code").map(without_secrets);
    let hint = code.as_deref().and_then(|code| hint(code, action));
    ServiceError { code, message: text("/Error/Message").map(without_secrets), kind: None, hint }
}

fn hint(code: &str, action: &str) -> Option<&'static str> {
    Some(match (code, action) {
        ("AccessDenied", "AssumeRole") => {
            "check that the caller may sts:AssumeRole this role, and that the role's trust policy admits it (with this \
             external id and MFA, if it asks for them)"
        }
        ("AccessDenied", "AssumeRoleWithWebIdentity") => {
            "check that the role's trust policy admits this identity provider, subject and audience"
        }
        ("AccessDenied", _) => "check the policies of the caller; temporary credentials cannot ask for a session token",
        ("InvalidClientTokenId" | "InvalidAccessKeyId" | "UnrecognizedClientException", _) => {
            "check that the access key exists and is active, in this partition, with its own session token"
        }
        ("SignatureDoesNotMatch", _) => "check the secret access key",
        ("ExpiredToken" | "ExpiredTokenException", "AssumeRoleWithWebIdentity") => {
            "the token in the token file has expired: check the program that renews it"
        }
        ("ExpiredToken" | "ExpiredTokenException", _) => "the credentials of the caller have expired: renew them",
        ("InvalidIdentityToken" | "IDPRejectedClaim", _) => {
            "check that the token comes from the identity provider that the role trusts"
        }
        ("RegionDisabledException", _) => "activate STS in this region, or choose another region",
        ("MalformedPolicyDocument" | "PackedPolicyTooLarge", _) => "check the session policy and the tags",
        ("ValidationError", _) => "check the settings of the role",
        _ => return None,
    })
}

/// Reads the credentials of a successful answer.
///
/// # Errors
/// If the answer lacks one of the four parts: access key id, secret key, session token or expiration. The message does
/// not show the answer.
pub(crate) fn credentials(body: &[u8]) -> Result<Credentials, Box<str>> {
    let unreadable = |error: XmlError| Box::from(error.to_string());
    let document = XmlDocument::parse(body).map_err(unreadable)?;
    let need = |path: &'static str| {
        let text = document.text(path).map_err(unreadable)?;
        text.ok_or_else(|| Box::from(format!("the answer has no {}", &path[1..])))
    };
    let expiration = parse_timestamp(need("/Credentials/Expiration")?)
        .map_err(|why| Box::from(format!("Credentials/Expiration {why}")))?;
    let token = need("/Credentials/SessionToken")?;
    let account = document.text("/AssumedRoleUser/Arn").map_err(unreadable)?.and_then(account_of_role);
    Credentials::new(need("/Credentials/AccessKeyId")?, need("/Credentials/SecretAccessKey")?)
        .and_then(|keys| keys.with_session_token(Some(token)))
        .map(|keys| keys.with_expiration(Some(expiration)).with_account_id(account))
        .map_err(|error| format!("in the answer, {error}").into())
}
