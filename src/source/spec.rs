//! How a source is written down: what `credenza.toml`, flags and variables come to. Comparing two says whether a
//! reload changed anything.

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use crate::aws::arn::{can_be_asked_for, looks_like_one};
use crate::model::secret::Secret;
pub(crate) use crate::source::url::parse as parse_url;

/// One entry of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceSpec {
    /// Which source, and its settings.
    pub(crate) kind: SourceKind,
    /// `region = "…"`, which every source may carry; it beats what the source itself says.
    pub(crate) region: Option<Box<str>>,
}

/// The sources there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceKind {
    /// Keys given directly.
    Static {
        /// `access_key_id` or `access_key_id_file`.
        access_key_id: TextSource,
        /// `secret_access_key` or `secret_access_key_file`.
        secret_access_key: TextSource,
        /// `session_token` or `session_token_file`.
        session_token: Option<TextSource>,
    },
    /// A URL with user info, `url` or `url_file`.
    Url(TextSource),
    /// The `AWS_…` variables.
    Environment,
    /// A profile of the AWS shared files.
    Profile {
        /// `profile`; otherwise `AWS_PROFILE`, otherwise `AWS_DEFAULT_PROFILE`, otherwise `default`.
        name: Option<Box<str>>,
        /// `credentials_file`; `~` is expanded when it is read.
        credentials_file: Option<PathBuf>,
        /// `config_file`; `~` is expanded when it is read.
        config_file: Option<PathBuf>,
    },
    /// The ECS or EKS container endpoint that the `AWS_CONTAINER_…` variables name.
    Container,
    /// The instance metadata service.
    Imds {
        /// Whether IMDSv1 may be tried where v2 does not answer (`allow_v1 = true`).
        allow_v1: bool,
    },
    /// A program that prints credentials (`process = ["cmd", "arg"]`).
    Process(Program),
    /// A role, assumed with the credentials of another source.
    AssumeRole {
        /// What is asked of STS.
        role: RoleSpec,
        /// `source`: who asks.
        base: Box<SourceSpec>,
    },
    /// A role, assumed with a token from a file.
    WebIdentity {
        /// What is asked of STS.
        role: RoleSpec,
        /// `web_identity_token_file`, read anew at each load and watched.
        token_file: PathBuf,
    },
    /// A role of IAM Identity Center.
    Sso {
        /// `sso_session`: a section of the shared config file.
        session: Box<str>,
        /// `account_id`.
        account_id: Box<str>,
        /// `role_name`.
        role_name: Box<str>,
    },
}

/// What is asked of STS about a role. Who assumes it is said elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleSpec {
    /// `arn:aws:iam::123456789012:role/NAME`.
    pub arn: Box<str>,
    /// `None`: `credenza-` and the time of the call.
    pub session_name: Option<Box<str>>,
    /// What the other account wants to hear.
    pub external_id: Option<Box<str>>,
    /// `None`: as long as STS gives, an hour.
    pub duration: Option<Duration>,
    /// The device whose code a person has to type.
    pub mfa_serial: Option<Box<str>>,
    /// A file with a session policy in JSON, read anew at each load and watched.
    pub policy_file: Option<PathBuf>,
    /// Managed policies that narrow the session.
    pub policy_arns: Vec<Box<str>>,
    /// Session tags, by key.
    pub tags: Vec<(Box<str>, Box<str>)>,
    /// Who is behind the session, for the audit trail of AWS.
    pub source_identity: Option<Box<str>>,
}

/// A text that is written down, or the file that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextSource {
    /// Written in the configuration, given by a flag or a variable.
    Literal(Secret),
    /// In a file that is read at each load and watched.
    File(PathBuf),
}

impl From<SourceKind> for SourceSpec {
    fn from(kind: SourceKind) -> Self {
        Self { kind, region: None }
    }
}

impl SourceSpec {
    /// Whether `AWS_PROFILE` or `AWS_DEFAULT_PROFILE` says which profile it is, or which one stands below it.
    #[must_use]
    pub(crate) fn is_of_the_environments_profile(&self) -> bool {
        match &self.kind {
            SourceKind::Profile { name, .. } => name.is_none(),
            SourceKind::AssumeRole { base, .. } => base.is_of_the_environments_profile(),
            _ => false,
        }
    }
}

/// What happens when a configured source fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The chain stops: another source would be another principal.
    #[default]
    Stop,
    /// The chain goes on to the next source (`on_failure = "next"`).
    Next,
}

/// What becomes of keys without a session token and without an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LongLivedKeys {
    /// They are served as they are.
    #[default]
    Direct,
    /// They are exchanged for a session, and only that leaves the broker.
    Session {
        /// How long each session lasts.
        duration: Duration,
    },
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A line for `sh -c`, as the SDKs for Go, JavaScript, Rust and Java run it: people write pipes there. It may hold a
    /// secret, and is never shown.
    Line(Secret),
    /// A program and its arguments, without a shell.
    Words(Vec<Box<str>>),
}
