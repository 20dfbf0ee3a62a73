//! What a plan is made of: profiles, one on the other, each with its way to credentials.

use std::fmt;

use crate::aws::arn::DisplayArn;
use crate::login::sso::session::SsoSession;
use crate::model::credentials::Credentials;
use crate::model::location::Location;
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::source::spec::RoleSpec;

/// One profile on the way, and how it comes by its credentials.
#[derive(Debug)]
pub(crate) struct ProfileLink {
    /// Its name.
    pub(crate) profile: Box<str>,
    /// The line of the property that decides the method.
    pub(crate) location: Location,
    /// How.
    pub(crate) way: Method,
}

/// How a profile comes by its credentials.
#[derive(Debug)]
pub(crate) enum Method {
    /// Keys that stand in it.
    Keys(Credentials),
    /// A role, assumed with the credentials of another hop.
    Role {
        /// What is asked of STS.
        role: RoleSpec,
        /// Who asks.
        base: Box<ProfileLink>,
    },
    /// `credential_source` of the hop above.
    CredentialSource(CredentialSource),
    /// A role, assumed with a token from a file.
    WebIdentity {
        /// What is asked of STS.
        role: RoleSpec,
        /// `web_identity_token_file`.
        token_file: Box<str>,
    },
    /// A role of IAM Identity Center.
    Sso {
        /// Where the person logs in.
        session: SsoSession,
        /// `sso_account_id`.
        account_id: Box<str>,
        /// `sso_role_name`.
        role_name: Box<str>,
    },
    /// A program prints them.
    Process {
        /// `credential_process`, for `sh -c`. People write secrets there.
        command: Secret,
        /// `aws_account_id`, where the program does not say.
        account_id: Option<Box<str>>,
    },
    /// What `aws login` left.
    SignIn {
        /// `login_session`.
        session: Box<str>,
    },
}

/// The values of `credential_source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialSource {
    Environment,
    Ec2InstanceMetadata,
    EcsContainer,
}

impl fmt::Display for ProfileLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Method::Keys(keys) if keys.session_token.is_some() => f.write_str("temporary keys"),
            Method::Keys(_) => f.write_str("keys"),
            Method::Role { role, base } if matches!(base.way, Method::CredentialSource(_)) => {
                write!(f, "role {} ← {base}", DisplayArn(&role.arn))
            }
            Method::Role { role, base } => {
                write!(f, "role {} ← profile {} ({base})", DisplayArn(&role.arn), Escaped(&base.profile))
            }
            Method::CredentialSource(source) => write!(f, "{source:?}"),
            Method::WebIdentity { role, token_file } => {
                write!(f, "role {} ← token in {}", DisplayArn(&role.arn), Escaped(token_file))
            }
            Method::Sso { session, account_id, role_name } => {
                write!(f, "{session}, account {}, role {}", Escaped(account_id), Escaped(role_name))
            }
            Method::Process { .. } => f.write_str("credential_process"),
            Method::SignIn { session } => write!(f, "sign-in {}", Escaped(session)),
        }
    }
}
