//! Reads the answers of STS: credentials, the caller, errors.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::aws::arn::{LONGEST, account_of_federated_user, account_of_role, is_account_id, looks_like_arn};
use crate::aws::call::ServiceError;
use crate::aws::xml::{XmlDocument, XmlError};
use crate::http::message::Response;
use crate::model::credentials::{Credentials, SessionDetails};
use crate::model::secret::Secret;
use crate::model::text::{redacted, usable};
use crate::model::time::parse_timestamp;

/// The principal that keys belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallerIdentity {
    pub(crate) account: Box<str>,
    pub(crate) arn: Box<str>,
    pub(crate) user_id: Box<str>,
}

impl CallerIdentity {
    /// Returns true if this is the root user of its account.
    pub(crate) fn is_root(&self) -> bool {
        self.arn.rsplit(':').next() == Some("root")
    }
}

/// Reads the elements `Error/Code` and `Error/Message`, in any namespace and under any root element.
pub(crate) fn read_error(response: &Response, action: &str, secrets: &[&Secret]) -> ServiceError {
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
    let message: Option<Box<str>> = text("/Error/Message").map(without_secrets);
    let is_about_mfa = message.as_deref().is_some_and(|message| message.starts_with(MFA_REFUSED));
    let hint = if is_about_mfa { Some(MFA_HINT) } else { code.as_deref().and_then(|code| hint(code, action)) };
    ServiceError { code, message, kind: None, hint }
}

/// The beginning of the message for a wrong code and for an unknown device. Their code is AccessDenied.
const MFA_REFUSED: &str = "MultiFactorAuthentication failed";

const MFA_HINT: &str = "check mfa_serial, and give the next code: STS accepts each code once";

fn hint(code: &str, action: &str) -> Option<&'static str> {
    Some(match (code, action) {
        ("AccessDenied", "AssumeRole") => {
            "check that the caller may sts:AssumeRole this role, and that the role's trust policy admits it (with this \
             external id and MFA, if it asks for them)"
        }
        ("AccessDenied", "AssumeRoleWithWebIdentity") => {
            "check that the role's trust policy admits this identity provider, subject and audience"
        }
        ("AccessDenied", "GetFederationToken") => {
            "check that the policies of the IAM user allow sts:GetFederationToken; temporary credentials cannot call it"
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
        ("MalformedPolicyDocument", _) => "check the session policy and the tags",
        ("PackedPolicyTooLarge", "AssumeRoleWithWebIdentity") => {
            "shorten the session policy (fewer actions and resources, or * in them), or name fewer policy_arns"
        }
        ("PackedPolicyTooLarge", _) => {
            "shorten the session policy (fewer actions and resources, or * in them), name fewer policy_arns, or send \
             fewer and shorter tags; the tags that the base session passes on count as well"
        }
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
    let unreadable = |error: XmlError| Box::<str>::from(error.to_string());
    let document = XmlDocument::parse(body).map_err(unreadable)?;
    let need = |path: &'static str| {
        let text = document.text(path).map_err(unreadable)?;
        text.ok_or_else(|| Box::<str>::from(format!("the answer has no {}", &path[1..])))
    };
    let expiration = parse_timestamp(need("/Credentials/Expiration")?)
        .map_err(|why| Box::<str>::from(format!("Credentials/Expiration {why}")))?;
    let token = need("/Credentials/SessionToken")?;
    let text = |path| document.text(path).map_err(unreadable);
    let (role, user) = (text("/AssumedRoleUser/Arn")?, text("/FederatedUser/Arn")?);
    let account = role.and_then(account_of_role).or(user.and_then(account_of_federated_user));
    let arn = role.or(user).filter(|arn| looks_like_arn(arn) && arn.len() <= LONGEST);
    let details = SessionDetails {
        arn: arn.and_then(|arn| usable("ARN", arn).ok()).map(Into::into),
        packed_policy_size: text("/PackedPolicySize")?.and_then(|size| size.parse().ok()),
        request_id: text("/ResponseMetadata/RequestId")?.and_then(|id| usable("request id", id).ok()).map(Into::into),
        ..SessionDetails::default()
    };
    Credentials::new(need("/Credentials/AccessKeyId")?, need("/Credentials/SecretAccessKey")?)
        .and_then(|keys| keys.with_session_token(Some(token)))
        .map(|keys| keys.with_expiration(Some(expiration)).with_account_id(account))
        .map(|keys| Credentials { session: Some(Arc::new(details)), ..keys })
        .map_err(|error| format!("in the answer, {error}").into())
}

/// Reads the caller of a successful answer.
///
/// # Errors
/// If the answer lacks the account, the ARN or the user id, or one of them is none.
pub(crate) fn caller_identity(body: &[u8]) -> Result<CallerIdentity, Box<str>> {
    let unreadable = |error: XmlError| Box::<str>::from(error.to_string());
    let document = XmlDocument::parse(body).map_err(unreadable)?;
    let need = |path: &'static str, part: &'static str| -> Result<Box<str>, Box<str>> {
        let text = document.text(path).map_err(unreadable)?;
        let text = text.ok_or_else(|| Box::<str>::from(format!("the answer has no {part}")))?;
        usable(part, text).map(Box::from).map_err(|error| format!("in the answer, {error}").into())
    };
    let identity = CallerIdentity {
        account: need("/GetCallerIdentityResult/Account", "Account")?,
        arn: need("/GetCallerIdentityResult/Arn", "Arn")?,
        user_id: need("/GetCallerIdentityResult/UserId", "UserId")?,
    };
    match is_account_id(&identity.account) || !identity.arn.starts_with("arn:aws") {
        true => Ok(identity),
        false => Err("the answer has an Account that is not an account id".into()),
    }
}
