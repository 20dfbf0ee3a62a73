//! Strict fakes of the services that give out credentials, and a [`harness`] that runs the program as a black box.
//!
//! Each fake listens on a loopback port of its own and refuses every request that the real service refuses. The fakes
//! use threads and no runtime, so that unit tests and tests of the whole program share them.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    missing_debug_implementations,
    missing_docs,
    reason = "test code: a panic is a failed test, and the wall clock is the clients' own"
)]

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub mod control;
pub mod ecs;
pub mod federation;
pub mod harness;
pub mod imds;
pub mod oidc;
pub mod proxy;
pub mod server;
pub mod signin;
pub mod sso;
pub mod sts;
#[cfg(feature = "tls")]
pub mod tls;

/// The credentials document of ECS, EKS and IMDS with this expiry.
pub fn document(access_key_id: &str, expiration: &str) -> String {
    format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2026-11-23T15:00:00Z","AccessKeyId":"{access_key_id}","SecretAccessKey":"hush-secret","Token":"hush-session","Expiration":"{expiration}"}}"#
    )
}

/// Returns the RFC 3339 timestamp of this time in whole seconds.
pub fn timestamp(at: SystemTime) -> String {
    OffsetDateTime::from(at).replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap()
}
