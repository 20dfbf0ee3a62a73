//! TODO-ROOM-DOC

pub(crate) mod args;
pub(crate) mod check;
pub(crate) mod child_environment;
pub(crate) mod command;
pub(crate) mod daemon_client;
pub(crate) mod env;
pub(crate) mod exec;
pub(crate) mod get;
pub(crate) mod logging;
pub(crate) mod login;
pub(crate) mod output;
pub(crate) mod profiles;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod store_variables;
