//! TODO-ROOM-DOC

pub(crate) mod cache;
pub(crate) mod sso;
