//! The command line of the `credenza` program.
//!
//! [`run`] reads the arguments, starts logging and loads the configuration. [`dispatch`] runs the command; each command
//! is a module with its name. [`daemon_client`] connects to a running daemon, [`control`] to its control socket,
//! [`output`] writes for shells, and [`terminal`] for users.

pub(crate) mod args;
pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod child_environment;
pub(crate) mod command_options;
pub(crate) mod confirm;
pub(crate) mod console;
pub(crate) mod control;
pub(crate) mod daemon_client;
pub(crate) mod dispatch;
pub(crate) mod env;
pub(crate) mod error;
pub(crate) mod exec;
pub(crate) mod exit_code;
pub(crate) mod find_identity;
pub(crate) mod get;
pub(crate) mod identity_table;
pub(crate) mod load_identity;
pub(crate) mod logging;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod narrow;
pub(crate) mod output;
pub(crate) mod pick_name;
pub(crate) mod preferred_credentials;
pub(crate) mod profiles;
pub(crate) mod region_endpoint;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod setup;
pub(crate) mod shell_init;
pub(crate) mod status;
pub(crate) mod terminal;
pub(crate) mod verify;
