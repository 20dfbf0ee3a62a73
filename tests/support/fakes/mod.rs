//! Strict stand-ins for the places that hand out credentials, on a loopback port of their own. They use threads
//! and no runtime, so that tests beside the code and tests of the whole program can share them.

#![allow(dead_code, reason = "every test binary uses its own part")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

pub mod ecs;
pub mod imds;
pub mod oidc;
pub mod proxy;
pub mod server;
pub mod signin;
pub mod sso;
pub mod sts;
pub mod tls;

/// A document as ECS, EKS and IMDS give it, ending at this timestamp.
pub fn document(access_key_id: &str, expiration: &str) -> String {
    format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2026-11-23T15:00:00Z","AccessKeyId":"{access_key_id}","SecretAccessKey":"hush-secret","Token":"hush-session","Expiration":"{expiration}"}}"#
    )
}
