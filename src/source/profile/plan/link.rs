//! The links of a plan: profiles that use each other as base, each with its method.

use std::fmt;

use crate::aws::arn::DisplayArn;
use crate::login::sso::session::SsoSession;
use crate::model::credentials::Credentials;
use crate::model::location::Location;
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::source::spec::RoleSpec;

/// One profile of a chain, with its method.
#[derive(Debug)]
pub(crate) struct ProfileLink {
    pub(crate) profile: Box<str>,
    /// The line of the property that decides the method.
    pub(crate) location: Location,
    pub(crate) method: Method,
}

/// The method by which a profile gets credentials.
#[derive(Debug)]
pub(crate) enum Method {
    Keys(Credentials),
    /// A role, assumed with the credentials of another link.
    Role {
        role: RoleSpec,
        base: Box<ProfileLink>,
    },
    /// The credentials of `credential_source`, as the base of the role above.
    CredentialSource(CredentialSource),
    /// A role, assumed with a token from a file.
    WebIdentity {
        role: RoleSpec,
        /// The token file: `web_identity_token_file`.
        token_file: Box<str>,
    },
    /// A role of IAM Identity Center.
    Sso {
        session: SsoSession,
        account_id: Box<str>,
        role_name: Box<str>,
    },
    /// A program that prints credentials.
    Process {
        /// `credential_process`, for `sh -c`. It may hold secrets.
        command: Secret,
        /// `aws_account_id`, for programs that print no account.
        account_id: Option<Box<str>>,
    },
    /// A login of `aws login`.
    SignIn {
        /// The name of the login: `login_session`.
        session: Box<str>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialSource {
    Environment,
    Ec2InstanceMetadata,
    EcsContainer,
}

impl fmt::Display for ProfileLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.method {
            Method::Keys(keys) if keys.session_token.is_some() => f.write_str("temporary keys"),
            Method::Keys(_) => f.write_str("keys"),
            Method::Role { role, base } if matches!(base.method, Method::CredentialSource(_)) => {
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
