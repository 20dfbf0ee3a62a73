//! One set of credentials, always moved as a unit.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::model::location::Location;
use crate::model::policy::SessionPolicy;
use crate::model::secret::Secret;
use crate::model::text::{InvalidText, usable};

/// The first of January 2100, since 1970.
const MAX_PLANNED: Duration = Duration::from_secs(4_102_444_800);

/// A key pair with everything that belongs to it. All parts come from one source: the keys of one source are never
/// combined with the token, account or endpoint of another source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The access key id: `AKIA…` for long-lived keys, `ASIA…` for temporary ones. It identifies the secret key and is
    /// not secret.
    pub access_key_id: Box<str>,
    /// The key that signs requests.
    pub secret_access_key: Secret,
    /// The session token of temporary credentials. `None` for long-lived keys.
    pub session_token: Option<Secret>,
    /// The moment from which services refuse the credentials. `None` if they never expire or the moment is unknown.
    pub expiration: Option<SystemTime>,
    /// The account, as the source says it: twelve digits on AWS. `None` if the source does not know it.
    pub account_id: Option<Box<str>>,
    /// The URL of the S3 endpoint that accepts these keys, without user info.
    pub endpoint: Option<Box<str>>,
    /// The end of the login behind these credentials, if known. After it a person has to log in to get new credentials.
    pub login_ends: Option<Arc<LoginEnd>>,
    /// The setting that these credentials come from, for messages.
    pub location: Option<Location>,
    /// The facts about the session at STS that these credentials belong to, if this process requested it.
    pub session: Option<Arc<SessionDetails>>,
}

/// The facts about a session that STS has given: what was requested, and what STS said about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionDetails {
    /// True if this is the session of a role. A role that is assumed with it lasts an hour at most.
    pub is_of_role: bool,
    /// The ARN of the assumed role or of the federated user, as STS says it.
    pub arn: Option<Box<str>>,
    /// True if the role was assumed with the session of another role. Its console session lasts an hour at most, too.
    pub is_chained: bool,
    /// The name of the session in CloudTrail, or that of the federated user.
    pub session_name: Option<Box<str>>,
    /// The source identity, which CloudTrail shows.
    pub source_identity: Option<Box<str>>,
    /// The session policy of the request.
    pub policy: Option<SessionPolicy>,
    /// The managed policies of the request.
    pub policy_arns: Vec<Box<str>>,
    /// The size of the policies and tags, in percent of what STS accepts.
    pub packed_policy_size: Option<u32>,
    /// The id of the request at STS.
    pub request_id: Option<Box<str>>,
}

/// The end of a login, and the command for the next login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginEnd {
    /// The moment from which a person has to log in again.
    pub at: SystemTime,
    /// The command that logs in again: `credenza login --sso-session work`.
    pub remedy: Box<str>,
    /// True if this is the end of a session with MFA.
    pub is_mfa: bool,
}

/// The notice for keys for which [`Credentials::lacks_session_token`] is true.
pub(crate) const LACKS_SESSION_TOKEN: &str = "the access key id is that of a temporary key pair (ASIA…), and there is no session token: AWS will refuse the keys; add \
     the session token that was issued with them";

/// The length of an access key id of AWS.
const AWS_KEY_ID_LEN: usize = 20;

/// Returns true if an access key id is a temporary one of AWS and the session token is missing. Keys with an endpoint belong
/// to another store, where every name may be a key.
///
/// The prefixes are in the IAM User Guide, "Understanding unique ID prefixes".
pub(crate) fn lacks_session_token(access_key_id: &str, has_token: bool, has_endpoint: bool) -> bool {
    let is_of_aws = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    let is_temporary = access_key_id.starts_with("ASIA") && access_key_id.len() == AWS_KEY_ID_LEN;
    is_temporary && access_key_id.bytes().all(is_of_aws) && !has_token && !has_endpoint
}

impl Credentials {
    /// Returns true if these are temporary keys of AWS without their session token.
    #[must_use]
    pub(crate) fn lacks_session_token(&self) -> bool {
        lacks_session_token(&self.access_key_id, self.session_token.is_some(), self.endpoint.is_some())
    }

    /// Makes a long-lived key pair without the other parts. Surrounding white space is removed.
    ///
    /// # Errors
    /// If either half is empty or holds a control character.
    pub fn new(access_key_id: &str, secret_access_key: &str) -> Result<Self, InvalidText> {
        Ok(Self {
            access_key_id: usable("access key id", access_key_id)?.into(),
            secret_access_key: Secret::new(usable("secret access key", secret_access_key)?),
            session_token: None,
            expiration: None,
            account_id: None,
            endpoint: None,
            login_ends: None,
            location: None,
            session: None,
        })
    }

    /// Returns the credentials with a session token. An empty token counts as absent.
    ///
    /// # Errors
    /// If the token holds a control character.
    pub fn with_session_token(mut self, token: Option<&str>) -> Result<Self, InvalidText> {
        self.session_token = match token.map(str::trim) {
            None | Some("") => None,
            Some(token) => Some(Secret::new(usable("session token", token)?)),
        };
        Ok(self)
    }

    /// Returns the credentials with an account id, as the source says it. A text that is empty or holds a control
    /// character is ignored.
    #[must_use]
    pub fn with_account_id(mut self, account_id: Option<&str>) -> Self {
        self.account_id = account_id.and_then(|id| usable("account id", id).ok()).map(Into::into);
        self
    }

    /// Returns the credentials with an expiration.
    #[must_use]
    pub fn with_expiration(mut self, expiration: Option<SystemTime>) -> Self {
        self.expiration = expiration;
        self
    }

    /// Returns the expiration that a cache and a schedule can use. An expiration beyond 2100 counts as unknown:
    /// endpoints write the year 9999 for "never", and the keys may change before.
    #[must_use]
    pub(crate) fn planned_expiration(&self) -> Option<SystemTime> {
        self.expiration.filter(|end| *end < SystemTime::UNIX_EPOCH + MAX_PLANNED)
    }

    /// Returns true if these are long-lived keys: keys without a session token. They may have an expiration, if the
    /// source gives one.
    #[must_use]
    pub fn is_long_lived(&self) -> bool {
        self.session_token.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trims_and_checks_keys() {
        let keys = Credentials::new(" AKIA1\n", "\tsecret ").unwrap();
        assert_eq!((&*keys.access_key_id, keys.secret_access_key.expose()), ("AKIA1", "secret"));
        assert_eq!(Credentials::new("", "s").unwrap_err(), InvalidText::Empty("access key id"));
        assert_eq!(Credentials::new("A", " ").unwrap_err(), InvalidText::Empty("secret access key"));
        for bad in ["a\nb", "a\0b", "a\u{7f}b", "a\u{85}b"] {
            assert_eq!(Credentials::new("A", bad).unwrap_err(), InvalidText::ControlCharacter("secret access key"));
            assert!(keys.clone().with_session_token(Some(bad)).is_err());
        }
    }

    #[test]
    fn leaves_out_empty_token_and_unusable_account() {
        let keys = Credentials::new("A", "s").unwrap();
        assert_eq!(keys.clone().with_session_token(Some(" ")).unwrap().session_token, None);
        for said in ["123456789012", "tenant-7"] {
            assert_eq!(keys.clone().with_account_id(Some(said)).account_id.as_deref(), Some(said));
        }
        for odd in ["", " ", "1\n2"] {
            assert_eq!(keys.clone().with_account_id(Some(odd)).account_id, None, "{odd}");
        }
    }

    #[test]
    fn no_plan_reaches_beyond_2100() {
        let keys = Credentials::new("A", "s").unwrap();
        for (seconds, is_planned) in [(4_102_444_799, true), (4_102_444_800, false), (253_402_300_799, false)] {
            let end = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let keys = keys.clone().with_expiration(Some(end));
            assert_eq!((keys.planned_expiration(), keys.expiration), (is_planned.then_some(end), Some(end)));
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let keys = Credentials::new("AKIA1", "hunter2").unwrap().with_session_token(Some("tok-en")).unwrap();
        let shown = format!("{keys:?}");
        assert!(shown.contains("AKIA1") && !shown.contains("hunter2") && !shown.contains("tok-en"), "{shown}");
    }
}
