//! Security Token Service: the three actions that give temporary credentials, in its query protocol.

#[cfg(test)]
mod tests;

use std::time::Duration;

use hyper::body::Bytes;
use zeroize::Zeroizing;

use crate::aws::arn::{DisplayArn, account_of_role, can_be_asked_for, looks_like_one};
use crate::aws::call::{PATIENCE, SEE_WHO_ANSWERS, ServiceError, call};
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
use crate::model::text::usable;
use crate::model::time::parse_timestamp;

const VERSION: &str = "2011-06-15";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// A role, and how it is assumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AssumeRoleRequest {
    /// `arn:aws:iam::123456789012:role/name`.
    pub(crate) role_arn: Box<str>,
    /// What the session is called in audit trails.
    pub(crate) session_name: Box<str>,
    /// What the role's trust policy may ask for.
    pub(crate) external_id: Option<Box<str>>,
    /// How long the credentials live; the service's default is an hour.
    pub(crate) duration: Option<Duration>,
    /// A second factor.
    pub(crate) mfa: Option<MfaCode>,
    /// A policy in JSON that narrows the session.
    pub(crate) policy: Option<Box<str>>,
    /// Managed policies that narrow the session.
    pub(crate) policy_arns: Vec<Box<str>>,
    /// Session tags, in this order.
    pub(crate) tags: Vec<(Box<str>, Box<str>)>,
    /// Who stands behind the session, for audit trails.
    pub(crate) source_identity: Option<Box<str>>,
}

/// A code of a second factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MfaCode {
    /// The device: its serial number or ARN.
    pub(crate) serial: Box<str>,
    /// The code it shows now.
    pub(crate) code: Secret,
}

/// For a request that is not signed.
const UNUSED_REGION: &str = "us-east-1";

/// A role, and how it is assumed with the token of an identity provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WebIdentityRequest {
    /// `arn:aws:iam::123456789012:role/name`.
    pub(crate) role_arn: Box<str>,
    /// What the session is called in audit trails.
    pub(crate) session_name: Box<str>,
    /// How long the credentials live; the service's default is an hour.
    pub(crate) duration: Option<Duration>,
    /// A policy in JSON that narrows the session.
    pub(crate) policy: Option<Box<str>>,
    /// Managed policies that narrow the session.
    pub(crate) policy_arns: Vec<Box<str>>,
}

/// Credentials of a role for a caller who may assume it.
///
/// # Errors
/// What the service said, or that it said nothing; a parameter that no request can carry.
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
    form = form.with_optional("ExternalId", external_id);
    if let Some(mfa) = &role.mfa {
        form = form
            .with("SerialNumber", one_line("mfa_serial", &mfa.serial)?)
            .with("TokenCode", one_line("MFA code", mfa.code.expose())?);
    }
    let source_identity = role.source_identity.as_deref().map(|id| one_line("source identity", id)).transpose()?;
    form = form.with_optional("SourceIdentity", source_identity);
    let code = role.mfa.as_ref().map(|mfa| &mfa.code);
    ask(context, settings, ACTION, CallSubject::Role(&role.role_arn), &form, Some(caller), code).await
}

/// Credentials of a role for who holds a token of an identity provider that the role trusts. The request is not signed.
///
/// # Errors
/// What the service said, or that it said nothing; a parameter that no request can carry.
pub(crate) async fn assume_role_with_web_identity(
    context: &Context,
    settings: &Settings,
    role: &WebIdentityRequest,
    token: &Secret,
) -> Result<Credentials, SourceError> {
    const ACTION: &str = "AssumeRoleWithWebIdentity";
    let form = form(ACTION, &role.role_arn, &role.session_name, &role.policy_arns, role.policy.as_deref())?
        .with("WebIdentityToken", one_line("web identity token", token.expose())?);
    // At an endpoint of its own only a signature would want a region.
    let is_placed = settings.region.is_some() || settings.endpoints.of(Service::Sts).is_none();
    let unplaced = settings.clone().with_region((!is_placed).then(|| UNUSED_REGION.into()));
    let on = CallSubject::Role(&role.role_arn);
    ask(context, &unplaced, ACTION, on, &with_duration(form, role.duration), None, Some(token)).await
}

/// Temporary credentials in exchange for long-lived ones of the same principal.
///
/// # Errors
/// What the service said, or that it said nothing.
pub(crate) async fn get_session_token(
    context: &Context,
    settings: &Settings,
    caller: &Credentials,
    duration: Duration,
) -> Result<Credentials, SourceError> {
    const ACTION: &str = "GetSessionToken";
    let form = with_duration(Form::new(ACTION, VERSION), Some(duration));
    let session =
        ask(context, settings, ACTION, CallSubject::Caller(&caller.access_key_id), &form, Some(caller), None).await?;
    // The principal is the same, and so is what its keys are for.
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

fn role_arn(arn: &str) -> Result<&str, SourceError> {
    if can_be_asked_for(arn) {
        return Ok(arn);
    }
    Err(SourceError::misconfigured(
        "role_arn is no name of a role: it must look like arn:aws:iam::123456789012:role/name, without spaces or line breaks",
    ))
}

fn one_line<'t>(part: &'static str, text: &'t str) -> Result<&'t str, SourceError> {
    Ok(usable(part, text)?)
}

/// What an action is about, for messages.
enum CallSubject<'a> {
    Role(&'a str),
    Caller(&'a str),
}

/// Sends the form and reads the credentials in its answer. `secret` went out in the form and must not come back.
async fn ask(
    context: &Context,
    settings: &Settings,
    action: &'static str,
    on: CallSubject<'_>,
    form: &Form,
    caller: Option<&Credentials>,
    secret: Option<&Secret>,
) -> Result<Credentials, SourceError> {
    let endpoint = ServiceEndpoint::of(Service::Sts, settings)?;
    let body = Bytes::from_owner(form.encode());
    let post = Post { endpoint: &endpoint, service: "sts", content_type: CONTENT_TYPE, body, patience: PATIENCE };
    let request = || match caller {
        Some(caller) => post.signed(caller, context.clock.now()),
        None => Ok(post.unsigned()),
    };
    let of_caller = caller.map(|caller| [Some(&caller.secret_access_key), caller.session_token.as_ref()]);
    let (what, odd) = match on {
        CallSubject::Role(arn) => {
            (format!("{action} {}", DisplayArn(arn)), (!looks_like_one(arn)).then(|| Secret::new(arn)))
        }
        CallSubject::Caller(access_key_id) => (format!("{action} of {access_key_id}"), None),
    };
    let hush: Vec<_> = of_caller.into_iter().flatten().chain([secret, odd.as_ref()]).flatten().collect();
    let response = call(context, settings, &what, request, |response| understand(response, action, &hush)).await?;
    credentials(&response.body)
        .map_err(|why| SourceError::unavailable(format!("{what} (POST {}): {why}{SEE_WHO_ANSWERS}", endpoint.url)))
}

/// `ErrorResponse/Error/Code` and `Message`, in whatever namespace and under whatever root.
fn understand(response: &Response, action: &str, hush: &[&Secret]) -> ServiceError {
    let document = XmlDocument::parse(&response.body).ok();
    let text = |path| document.as_ref().and_then(|document| document.text(path).ok().flatten());
    let redacted = |text: &str| {
        let mut text = Zeroizing::new(text.to_owned());
        for secret in hush.iter().filter(|secret| !secret.is_empty()) {
            text = Zeroizing::new(text.replace(secret.expose(), "[redacted]"));
        }
        Box::from(text.as_str())
    };
    let code: Option<Box<str>> = text("/Error/Code").map(redacted);
    let advice = code.as_deref().and_then(|code| advice(code, action));
    ServiceError { code, message: text("/Error/Message").map(redacted), kind: None, advice }
}

fn advice(code: &str, action: &str) -> Option<&'static str> {
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
            "the token in the token file has expired: see why nobody renews it"
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

/// The credentials of a success; without one of their four parts there are none.
///
/// # Errors
/// What is wrong with the answer; nothing of it is shown.
pub(crate) fn credentials(body: &[u8]) -> Result<Credentials, Box<str>> {
    let bad = |bad: XmlError| Box::from(bad.to_string());
    let document = XmlDocument::parse(body).map_err(bad)?;
    let need = |path: &'static str| {
        let text = document.text(path).map_err(bad)?;
        text.ok_or_else(|| Box::from(format!("the answer has no {}", &path[1..])))
    };
    let expiration = parse_timestamp(need("/Credentials/Expiration")?)
        .map_err(|why| Box::from(format!("Credentials/Expiration {why}")))?;
    let token = need("/Credentials/SessionToken")?;
    let account = document.text("/AssumedRoleUser/Arn").map_err(bad)?.and_then(account_of_role);
    Credentials::new(need("/Credentials/AccessKeyId")?, need("/Credentials/SecretAccessKey")?)
        .and_then(|keys| keys.with_session_token(Some(token)))
        .map(|keys| keys.with_expiration(Some(expiration)).with_account_id(account))
        .map_err(|unusable| format!("in the answer, {unusable}").into())
}
