//! The specification of a source, as `credenza.toml`, flags and variables give it. A reload compares specifications to find
//! changed identities.
//!
//! A new source gets a [`SourceKind`] here, a file in this room, a line in `source/build.rs`, its keys in `config/sources.rs`,
//! and its flags in `cli/args/sources.rs`.

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use crate::aws::arn::{
    REWRITE_ACCOUNT_ID, is_account_id, is_sendable_role, looks_like_arn, wrong_account_id,
};
use crate::model::identity_name::IdentityName;
use crate::model::narrowing::Narrowing;
use crate::model::policy::SessionPolicy;
use crate::model::secret::Secret;
use crate::model::session_name::{self, Placeholder};
pub(crate) use crate::source::url::parse as parse_url;

/// The source chain of an identity, as configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainSpec<'a> {
    pub(crate) identity: &'a IdentityName,
    pub(crate) sources: &'a [SourceSpec],
    pub(crate) on_failure: OnFailure,
    pub(crate) long_lived_keys: LongLivedKeys,
    /// The role that is assumed with the credentials of the sources.
    pub(crate) assume: Option<&'a RoleSpec>,
    pub(crate) narrowing: Option<&'a Narrowing>,
}

impl ChainSpec<'_> {
    /// Returns true if a session name, tag or source identity of the chain contains this placeholder.
    pub(crate) fn names(&self, placeholder: Placeholder) -> bool {
        let assume = self.assume.is_some_and(|role| role.names(placeholder));
        assume || self.sources.iter().any(|source| source.names(placeholder))
    }
}

/// One source of a chain, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceSpec {
    /// The kind of the source with its settings.
    pub kind: SourceKind,
    /// `region = "…"`, which every source may have. It takes precedence over the region that the source knows.
    pub region: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceKind {
    /// Keys given directly.
    Static {
        /// The access key id: `access_key_id` or `access_key_id_file`.
        access_key_id: TextSource,
        /// The secret key: `secret_access_key` or `secret_access_key_file`.
        secret_access_key: TextSource,
        /// The session token: `session_token` or `session_token_file`.
        session_token: Option<TextSource>,
    },
    /// A URL with user info, `url` or `url_file`.
    Url(TextSource),
    /// The `AWS_…` variables.
    Environment,
    /// A profile of the AWS shared files.
    Profile {
        /// The profile: `profile`, else `AWS_PROFILE`, else `AWS_DEFAULT_PROFILE`, else `default`.
        name: Option<Box<str>>,
        /// `credentials_file`. `~` is expanded when the file is read.
        credentials_file: Option<PathBuf>,
        /// `config_file`. `~` is expanded when the file is read.
        config_file: Option<PathBuf>,
    },
    /// The ECS or EKS container endpoint that the `AWS_CONTAINER_…` variables name.
    Container,
    Imds {
        /// True if IMDSv1 may be used where the service does not offer IMDSv2 (`allow_v1 = true`).
        allow_v1: bool,
    },
    /// A program that prints credentials (`process = ["cmd", "arg"]`).
    Process(Program),
    /// A role, assumed with the credentials of another source.
    AssumeRole {
        role: RoleSpec,
        /// The base credentials: `source`.
        base: Box<SourceSpec>,
    },
    /// A role, assumed with a token from a file.
    WebIdentity {
        role: RoleSpec,
        /// `web_identity_token_file`. Each load reads the file again, and the file is watched.
        token_file: PathBuf,
    },
    /// A role of IAM Identity Center.
    Sso {
        /// `sso_session`: a section of the shared config file.
        session: Box<str>,
        account_id: Box<str>,
        role_name: Box<str>,
    },
}

/// The request to STS for a role, without the base credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleSpec {
    /// The ARN of the role: `arn:aws:iam::123456789012:role/NAME`.
    pub arn: Box<str>,
    /// The session name. `None` means `credenza-` and the time of the request in seconds.
    pub session_name: Option<Box<str>>,
    /// The external id that the trust policy of the role requires.
    pub external_id: Option<Box<str>>,
    /// The duration of the session. `None` means the default of STS, one hour.
    pub duration: Option<Duration>,
    /// The MFA device. The user types its code.
    pub mfa_serial: Option<Box<str>>,
    /// The session policy. The session may do what the role and this policy both allow.
    pub policy: Option<SessionPolicy>,
    /// A file with the session policy in JSON. Each load reads the file again, and the file is watched.
    pub policy_file: Option<PathBuf>,
    /// Managed policies that limit the session.
    pub policy_arns: Vec<Box<str>>,
    /// Session tags, by key.
    pub tags: Vec<(Box<str>, Box<str>)>,
    /// The source identity of the session, which CloudTrail shows.
    pub source_identity: Option<Box<str>>,
}

/// A text, or the file that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextSource {
    /// A text of the configuration, a flag or a variable.
    Literal(Secret),
    /// A file. Each load reads it again, and it is watched.
    File(PathBuf),
}

impl RoleSpec {
    /// Returns true if the role has a session policy or managed policies of its own.
    pub(crate) fn has_policy(&self) -> bool {
        self.policy.is_some() || self.policy_file.is_some() || !self.policy_arns.is_empty()
    }

    /// Returns true if a text of the session has this placeholder.
    pub(crate) fn names(&self, placeholder: Placeholder) -> bool {
        let texts =
            self.session_name.iter().chain(&self.source_identity).chain(self.tags.iter().map(|(_, value)| value));
        texts.into_iter().any(|text| session_name::names(text, placeholder))
    }
}

impl SourceKind {
    /// Returns true if the credentials are certainly those of a role. A role that is assumed with them lasts an hour at
    /// most.
    pub(crate) fn is_role_session(&self) -> bool {
        matches!(
            self,
            Self::AssumeRole { .. } | Self::WebIdentity { .. } | Self::Sso { .. } | Self::Container | Self::Imds { .. }
        )
    }
}

impl From<SourceKind> for SourceSpec {
    fn from(kind: SourceKind) -> Self {
        Self { kind, region: None }
    }
}

impl SourceSpec {
    /// The role that gives the credentials of this source.
    pub(crate) fn role(&self) -> Option<&RoleSpec> {
        match &self.kind {
            SourceKind::AssumeRole { role, .. } | SourceKind::WebIdentity { role, .. } => Some(role),
            _ => None,
        }
    }

    /// Returns true if a role of this source has this placeholder.
    pub(crate) fn names(&self, placeholder: Placeholder) -> bool {
        match &self.kind {
            SourceKind::AssumeRole { role, base } => role.names(placeholder) || base.names(placeholder),
            SourceKind::WebIdentity { role, .. } => role.names(placeholder),
            _ => false,
        }
    }

    /// Returns true if `AWS_PROFILE` or `AWS_DEFAULT_PROFILE` names the profile of this source or of its base.
    pub(crate) fn is_of_the_environments_profile(&self) -> bool {
        match &self.kind {
            SourceKind::Profile { name, .. } => name.is_none(),
            SourceKind::AssumeRole { base, .. } => base.is_of_the_environments_profile(),
            _ => false,
        }
    }
}

/// The rule for an error of a configured source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The chain stops, because another source may give another principal.
    #[default]
    Stop,
    /// The chain goes on with the next source (`on_failure = "next"`).
    Next,
}

/// The use of long-lived keys: keys without a session token and without an expiration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LongLivedKeys {
    /// The broker serves the keys themselves.
    #[default]
    Direct,
    /// The broker exchanges the keys for a session, and serves only the session.
    Session { duration: Duration },
}

/// The program of a process source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A command line for `sh -c`, as in the SDKs for Go, JavaScript, Rust and Java: users write pipes in it. The line
    /// may hold a secret, and is never shown.
    Line(Secret),
    /// A program and its arguments, without a shell.
    Words(Vec<Box<str>>),
}
