//! TODO-ROOM-DOC

pub(crate) mod auth_token;
pub(crate) mod credentials;
pub(crate) mod error;
pub(crate) mod identity_name;
pub(crate) mod location;
pub(crate) mod outcome;
pub(crate) mod schedule;
pub(crate) mod secret;
pub(crate) mod text;
pub(crate) mod time;
