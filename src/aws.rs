//! Services of AWS that sources ask for credentials: where they are, how a request is signed, sent again and
//! understood.
//!
//! A source hands in [`settings::Settings`], which say what a person configured about calling AWS. It gets credentials
//! or a [`crate::source::Failure`] whose message has the service's own code and words.

pub mod arn;
pub mod call;
pub mod dpop;
pub mod endpoint;
mod form;
pub mod oidc;
mod partition;
pub mod registration;
pub mod service;
pub mod settings;
mod sign;
pub mod signin;
pub mod sso;
pub mod sts;
mod xml;
