//! The plain data that all modules share: credentials, identities, secrets, errors, locations and timestamps.
//!
//! It reaches nothing outside of the process and depends on no other module, so every module may use it.

pub(crate) mod auth_token;
pub(crate) mod client_name;
pub(crate) mod credentials;
pub(crate) mod error;
pub(crate) mod identity_name;
pub(crate) mod location;
pub(crate) mod name_pattern;
pub(crate) mod narrowing;
pub(crate) mod nearest;
pub(crate) mod outcome;
pub(crate) mod policy;
pub(crate) mod schedule;
pub(crate) mod secret;
pub(crate) mod session_limits;
pub(crate) mod session_name;
pub(crate) mod text;
pub(crate) mod time;
