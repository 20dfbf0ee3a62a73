//! What a plan is made of: profiles, one on the other, each with its way to credentials.

use std::fmt;

use crate::aws::arn::Shown;
use crate::credentials::{Credentials, Escaped};
use crate::secret::Secret;
use crate::source::spec::RoleSpec;
use crate::sso::Session;

/// One profile on the way, and how it comes by its credentials.
#[derive(Debug)]
pub(in crate::source::profile) struct Hop {
    /// Its name.
    pub(in crate::source::profile) profile: Box<str>,
    /// Where the property stands that decides the way: `/home/me/.aws/config, line 3`.
    pub(in crate::source::profile) stands: Box<str>,
    /// How.
    pub(in crate::source::profile) way: Way,
}

/// How a profile comes by its credentials.
#[derive(Debug)]
pub(in crate::source::profile) enum Way {
    /// Keys that stand in it.
    Keys(Credentials),
    /// A role, assumed with the credentials of another hop.
    Role {
        /// What is asked of STS.
        role: RoleSpec,
        /// Who asks.
        base: Box<Hop>,
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
        session: Session,
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
pub(in crate::source::profile) enum CredentialSource {
    Environment,
    Ec2InstanceMetadata,
    EcsContainer,
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Keys(keys) if keys.session_token.is_some() => f.write_str("temporary keys"),
            Way::Keys(_) => f.write_str("keys"),
            Way::Role { role, base } if matches!(base.way, Way::CredentialSource(_)) => {
                write!(f, "role {} ← {base}", Shown(&role.arn))
            }
            Way::Role { role, base } => {
                write!(f, "role {} ← profile {} ({base})", Shown(&role.arn), Escaped(&base.profile))
            }
            Way::CredentialSource(source) => write!(f, "{source:?}"),
            Way::WebIdentity { role, token_file } => {
                write!(f, "role {} ← token in {}", Shown(&role.arn), Escaped(token_file))
            }
            Way::Sso { session, account_id, role_name } => {
                write!(f, "{session}, account {}, role {}", Escaped(account_id), Escaped(role_name))
            }
            Way::Process { .. } => f.write_str("credential_process"),
            Way::SignIn { session } => write!(f, "sign-in {}", Escaped(session)),
        }
    }
}
