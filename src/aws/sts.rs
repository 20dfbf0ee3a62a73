//! AWS Security Token Service (STS): requests sessions, and asks for the principal of keys. It speaks the AWS query
//! protocol.
//!
//! The limits of STS are checked before a request is sent.

pub(crate) mod answer;
pub(crate) mod limits;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;

use crate::aws::arn::{DisplayArn, is_sendable_role, looks_like_arn};
use crate::aws::call::{CHECK_ENDPOINT, call};
use crate::aws::endpoint::ServiceEndpoint;
use crate::aws::form::Form;
use crate::aws::service::Service;
use crate::aws::settings::Settings;
use crate::aws::sign::Post;
use crate::aws::sts::answer::{CallerIdentity, caller_identity, credentials, read_error};
use crate::context::Context;
use crate::model::credentials::{Credentials, SessionDetails};
use crate::model::error::SourceError;
use crate::model::policy::SessionPolicy;
use crate::model::secret::Secret;
use crate::model::text::usable;

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
    pub(crate) policy: Option<SessionPolicy>,
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
    pub(crate) policy: Option<SessionPolicy>,
    pub(crate) policy_arns: Vec<Box<str>>,
}

/// The request for a federated user. Its session may do what the caller and the policies both allow; without a policy,
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FederationTokenRequest {
    /// The name of the federated user in CloudTrail.
    pub(crate) name: Box<str>,
    pub(crate) duration: Option<Duration>,
    pub(crate) policy: Option<SessionPolicy>,
    pub(crate) policy_arns: Vec<Box<str>>,
    pub(crate) tags: Vec<(Box<str>, Box<str>)>,
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
    let form = role_form(ACTION, &role.role_arn, &role.session_name)?;
    let form = with_policies(form, role.policy.as_ref(), &role.policy_arns)?;
    let mut form = with_tags(with_duration(form, role.duration), &role.tags)?;
    let external_id = role.external_id.as_deref().map(|id| one_line("external_id", id)).transpose()?;
    form = with_mfa(form.with_optional("ExternalId", external_id), role.mfa.as_ref())?;
    let source_identity = role.source_identity.as_deref().map(|id| one_line("source identity", id)).transpose()?;
    form = form.with_optional("SourceIdentity", source_identity);
    limits::check_role(role, caller)?;
    let code = role.mfa.as_ref().map(|mfa| &mfa.code);
    let call =
        StsCall { action: ACTION, subject: CallSubject::Role(&role.role_arn), caller: Some(caller), secret: code };
    let details = SessionDetails {
        is_of_role: true,
        is_chained: caller.session.as_ref().is_some_and(|session| session.is_of_role),
        session_name: Some(role.session_name.clone()),
        source_identity: role.source_identity.clone(),
        policy: role.policy.clone(),
        policy_arns: role.policy_arns.clone(),
        ..SessionDetails::default()
    };
    call.session(context, settings, &form, details).await
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
    let form = role_form(ACTION, &role.role_arn, &role.session_name)?;
    let form = with_policies(form, role.policy.as_ref(), &role.policy_arns)?
        .with("WebIdentityToken", one_line("web identity token", token.expose())?);
    limits::check_web_identity(role)?;
    // A configured endpoint needs the region for the signature only, and this request is not signed.
    let needs_region = settings.region.is_none() && settings.endpoints.of(Service::Sts).is_some();
    let settings = settings.clone().with_region(needs_region.then(|| UNUSED_REGION.into()));
    let subject = CallSubject::Role(&role.role_arn);
    let details = SessionDetails {
        is_of_role: true,
        session_name: Some(role.session_name.clone()),
        policy: role.policy.clone(),
        policy_arns: role.policy_arns.clone(),
        ..SessionDetails::default()
    };
    let call = StsCall { action: ACTION, subject, caller: None, secret: Some(token) };
    call.session(context, &settings, &with_duration(form, role.duration), details).await
}

/// GetFederationToken: returns credentials of a federated user, which may do less than the IAM user of these keys.
///
/// # Errors
/// The error of STS, the reason why there is no answer, or a request that STS would refuse.
pub(crate) async fn get_federation_token(
    context: &Context,
    settings: &Settings,
    caller: &Credentials,
    user: &FederationTokenRequest,
) -> Result<Credentials, SourceError> {
    const ACTION: &str = "GetFederationToken";
    let form = Form::new(ACTION, VERSION).with("Name", one_line("name of the federated user", &user.name)?);
    let form = with_policies(form, user.policy.as_ref(), &user.policy_arns)?;
    let form = with_tags(with_duration(form, user.duration), &user.tags)?;
    limits::check_federation(user, caller)?;
    let subject = CallSubject::Caller(&caller.access_key_id);
    let details = SessionDetails {
        session_name: Some(user.name.clone()),
        policy: user.policy.clone(),
        policy_arns: user.policy_arns.clone(),
        ..SessionDetails::default()
    };
    let call = StsCall { action: ACTION, subject, caller: Some(caller), secret: None };
    let session = call.session(context, settings, &form, details).await?;
    let account_id = session.account_id.clone().or_else(|| caller.account_id.clone());
    Ok(Credentials { account_id, endpoint: caller.endpoint.clone(), ..session })
}

/// GetCallerIdentity: returns the principal that the keys belong to. Every principal may call it.
///
/// # Errors
/// The error of STS, or the reason why there is no answer.
pub(crate) async fn get_caller_identity(
    context: &Context,
    settings: &Settings,
    caller: &Credentials,
) -> Result<CallerIdentity, SourceError> {
    const ACTION: &str = "GetCallerIdentity";
    let subject = CallSubject::Caller(&caller.access_key_id);
    let call = StsCall { action: ACTION, subject, caller: Some(caller), secret: None };
    call.send(context, settings, &Form::new(ACTION, VERSION), caller_identity).await
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
    let call = StsCall { action: ACTION, subject, caller: Some(caller), secret: code };
    let session = call.session(context, settings, &form, SessionDetails::default()).await?;
    // The session belongs to the principal of the keys, so account and endpoint stay.
    Ok(Credentials { account_id: caller.account_id.clone(), endpoint: caller.endpoint.clone(), ..session })
}

fn role_form(action: &str, arn: &str, name: &str) -> Result<Form, SourceError> {
    let form = Form::new(action, VERSION).with("RoleArn", role_arn(arn)?);
    Ok(form.with("RoleSessionName", one_line("role session name", name)?))
}

fn with_policies(form: Form, policy: Option<&SessionPolicy>, arns: &[Box<str>]) -> Result<Form, SourceError> {
    let mut form = form;
    for (index, arn) in arns.iter().enumerate() {
        form = form.with(format!("PolicyArns.member.{}.arn", index + 1), one_line("ARN of a policy", arn)?);
    }
    Ok(form.with_optional("Policy", policy.map(SessionPolicy::as_str)))
}

fn with_tags(form: Form, tags: &[(Box<str>, Box<str>)]) -> Result<Form, SourceError> {
    let mut form = form;
    for (index, (key, value)) in tags.iter().enumerate() {
        form = form
            .with(format!("Tags.member.{}.Key", index + 1), one_line("key of a session tag", key)?)
            .with(format!("Tags.member.{}.Value", index + 1), value);
    }
    Ok(form)
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

/// One call of STS. No message shows `secret`, which is part of the form.
struct StsCall<'a> {
    action: &'static str,
    subject: CallSubject<'a>,
    /// The credentials that sign the request. `None` if the request is not signed.
    caller: Option<&'a Credentials>,
    secret: Option<&'a Secret>,
}

impl StsCall<'_> {
    /// Sends the form and reads the credentials in its answer. `details` is what the form requests.
    async fn session(
        self,
        context: &Context,
        settings: &Settings,
        form: &Form,
        details: SessionDetails,
    ) -> Result<Credentials, SourceError> {
        let session = self.send(context, settings, form, credentials).await?;
        let said = session.session.as_deref().cloned().unwrap_or_default();
        let SessionDetails { arn, packed_policy_size, request_id, .. } = said;
        let details = SessionDetails { arn, packed_policy_size, request_id, ..details };
        Ok(Credentials { session: Some(Arc::new(details)), ..session })
    }

    /// Sends the form and reads its answer.
    async fn send<T>(
        self,
        context: &Context,
        settings: &Settings,
        form: &Form,
        read: impl FnOnce(&[u8]) -> Result<T, Box<str>>,
    ) -> Result<T, SourceError> {
        let Self { action, subject, caller, secret } = self;
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
        let response =
            call(context, settings, &what, request, |response| read_error(response, action, &secrets)).await?;
        read(&response.body).map_err(|why| {
            SourceError::unavailable(format!("{what} (POST {}): {why}", endpoint.url)).with_hint(CHECK_ENDPOINT)
        })
    }
}
