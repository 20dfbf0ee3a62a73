//! The checks of the fuzz targets, one module for each parser of outside input: `check` panics when an input breaks a
//! property of its parser.
//!
//! The programs in `fuzz/targets` call them; the unit tests of this module replay the inputs in `fuzz/seeds`.

pub mod access;
pub mod audit_log;
pub mod auth_token;
pub mod config;
pub mod control;
pub mod document;
pub mod exec_files;
pub mod http_url;
pub mod identity_path;
pub mod imds_response;
pub mod imds_server;
pub mod login_cache;
pub mod process_output;
pub mod profile_plan;
pub mod request;
pub mod session_policy;
pub mod shared_config;
pub mod sts;
pub mod timestamp;
pub mod url_source;

mod broker;
mod request_head;
#[cfg(test)]
mod tests;
