//! The HTTP side: listeners, connections, the door, the paths. It sees the board and nothing else.

pub(crate) mod access;
pub(crate) mod auth_token;
pub(crate) mod connection_limit;
pub(crate) mod connections;
pub(crate) mod error;
pub(crate) mod header_timeout;
pub(crate) mod imds;
pub(crate) mod listeners;
pub(crate) mod lookup;
pub(crate) mod protocol;
pub(crate) mod response;
pub(crate) mod routes;
pub(crate) mod status;
