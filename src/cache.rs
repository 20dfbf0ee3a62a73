//! TODO-ROOM-DOC

pub(crate) mod credentials;
pub(crate) mod key;
pub(crate) mod login_entry;
pub(crate) mod logins;
