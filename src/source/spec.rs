//! How a source is written down: what `credenza.toml`, flags and variables come to. Comparing two says whether a
//! reload changed anything.

use std::path::PathBuf;

use crate::secret::Secret;

/// One entry of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// Which source, and its settings.
    pub kind: SourceKind,
    /// `region = "…"`, which every source may carry; it beats what the source itself says.
    pub region: Option<Box<str>>,
}

/// The sources there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Keys given directly.
    Static {
        /// `access_key_id` or `access_key_id_file`.
        access_key_id: Text,
        /// `secret_access_key` or `secret_access_key_file`.
        secret_access_key: Text,
        /// `session_token` or `session_token_file`.
        session_token: Option<Text>,
    },
    /// A URL with user info, `url` or `url_file`.
    Url(Text),
    /// The `AWS_…` variables.
    Environment,
    /// A profile of the AWS shared files.
    Profile {
        /// `profile`; otherwise `AWS_PROFILE`, otherwise `default`.
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
}

/// A text that is written down, or the file that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
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
