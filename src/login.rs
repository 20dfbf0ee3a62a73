//! Logins of a person, in the cache files that this process shares with the AWS CLI and the SDKs.
//!
//! [`cache`] reads, refreshes and writes a cached token of any kind. [`sso`] adds the sessions of IAM Identity Center.

pub(crate) mod cache;
pub(crate) mod sso;
