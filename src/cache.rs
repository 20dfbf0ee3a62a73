//! State that all refreshers of a process share: temporary credentials and logins.
//!
//! Refreshers ask these caches; no task runs here. The modules above this one send the requests to AWS.

pub(crate) mod credentials;
pub(crate) mod key;
pub(crate) mod login_entry;
pub(crate) mod logins;
