//! Log-ins at IAM Identity Center (SSO): the token cache that is shared with the AWS CLI, and the tokens in it.

pub mod cache;
mod write;

/// A place to log in at, as an `[sso-session NAME]` section or the legacy keys of a profile describe it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Session {
    /// The name of the section; `None` for the legacy keys, whose tokens are never refreshed.
    pub name: Option<Box<str>>,
    /// `sso_start_url`.
    pub start_url: Box<str>,
    /// `sso_region`: where the service lives, not the region of the profile.
    pub region: Box<str>,
    /// `sso_registration_scopes`.
    pub scopes: Vec<Box<str>>,
}
