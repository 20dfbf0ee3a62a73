//! Services of AWS that sources ask for credentials: where they are, how a request is signed, sent again and
//! understood.
//!
//! A source hands in [`settings::Settings`], which say what a person configured about calling AWS. It gets credentials
//! or a [`crate::model::error::SourceError`] whose message has the service's own code and words.

pub(crate) mod arn;
pub(crate) mod call;
pub(crate) mod dpop;
pub(crate) mod endpoint;
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
