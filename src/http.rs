//! The HTTP client of all sources: HTTP/1.1 over TCP or TLS, through a proxy if the environment names one.
//!
//! Each request checks the resolved addresses against its address policy. Redirects are not followed, and cookies are
//! not kept.

pub(crate) mod address_policy;
pub(crate) mod client;
pub(crate) mod connect;
pub(crate) mod error;
pub(crate) mod message;
pub(crate) mod no_proxy;
pub(crate) mod proxy;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
pub(crate) mod trust_roots;
pub(crate) mod tunnel;
pub(crate) mod url;
