//! TODO-ROOM-DOC

pub(crate) mod address_policy;
pub(crate) mod client;
pub(crate) mod connect;
pub(crate) mod error;
pub(crate) mod message;
pub(crate) mod no_proxy;
pub(crate) mod proxy;
pub(crate) mod stream;
pub(crate) mod tests;
pub(crate) mod trust_roots;
pub(crate) mod tunnel;
pub(crate) mod url;
