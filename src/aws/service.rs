//! The AWS services that sources call.

/// An AWS service that gives credentials or tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    /// Security Token Service.
    Sts,
    /// The portal of IAM Identity Center, which gives role credentials for an access token.
    Sso,
    /// The OIDC service of IAM Identity Center, which gives access tokens.
    SsoOidc,
    /// AWS Sign-In, behind `aws login`.
    Signin,
}
