//! The AWS services that give credentials: their endpoints, signatures, retries and answers.
//!
//! A source passes [`settings::Settings`], the configuration of calls to AWS. It gets credentials, or a
//! [`crate::model::error::SourceError`] with the error code and the message of the service.

pub(crate) mod arn;
pub(crate) mod call;
pub(crate) mod dpop;
pub(crate) mod endpoint;
pub(crate) mod federation;
pub(crate) mod form;
pub(crate) mod partition;
pub(crate) mod registration;
pub(crate) mod service;
pub(crate) mod settings;
pub(crate) mod sign;
pub(crate) mod signin;
pub(crate) mod sso_oidc;
pub(crate) mod sso_portal;
pub(crate) mod sts;
pub(crate) mod xml;
