//! Credenza, a local credential broker for AWS and S3.

pub mod accounts;
pub mod arguments;
pub mod board;
pub mod broker;
pub mod chain;
pub mod clock;
pub mod command;
pub mod config;
pub mod credentials;
pub mod files;
pub mod identity;
pub mod keeper;
pub mod lease;
pub mod loader;
pub mod logging;
pub mod schedule;
pub mod secret;
pub mod server;
pub mod shared_files;
pub mod signals;
pub mod source;
pub mod supervisor;
pub mod token;
pub mod upstream;
pub mod watch;
pub mod world;

#[cfg(test)]
#[path = "../tests/support/fakes/mod.rs"]
mod fakes;
