//! The HTTP server: listeners, connections, access control and routes.
//!
//! It reads the lease registry and can wake refreshers; it knows no source.

pub(crate) mod access;
pub(crate) mod answer_log;
pub(crate) mod auth_token;
pub(crate) mod burst;
pub(crate) mod client_table;
pub(crate) mod clients;
pub(crate) mod connection_limit;
pub(crate) mod connections;
pub(crate) mod control;
pub(crate) mod error;
pub(crate) mod header_timeout;
pub(crate) mod imds;
pub(crate) mod listeners;
pub(crate) mod lookup;
pub(crate) mod origin;
pub(crate) mod parser_refusal;
pub(crate) mod protocol;
pub(crate) mod response;
pub(crate) mod routes;
pub(crate) mod status;
pub(crate) mod unix_listener;
