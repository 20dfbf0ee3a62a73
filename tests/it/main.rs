//! Tests of the whole program as a black box.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read the wall clock and the environment")]

mod access_table;
mod audit;
mod bad_input;
mod clients;
mod commands;
mod console;
mod control_commands;
mod control_socket;
mod daemon_client;
mod documents;
mod examples;
mod exec;
mod exhaustion;
mod file_trust;
mod hostile;
mod http;
mod installation;
mod kills;
mod lease;
mod login;
mod metadata;
mod narrowing;
mod nesting;
mod profiles;
mod resume;
mod service_manager;
mod sessions;
mod setup;
mod shells;
mod sign_in;
mod sso;
mod switching;
mod terminal;
mod transport;
mod unix_socket;
mod verify;
mod walls;

/// Cargo gives the path to integration tests only, so the harness finds the program by itself.
#[test]
fn harness_runs_the_program_of_this_build() {
    let expected = std::fs::canonicalize(env!("CARGO_BIN_EXE_credenza")).unwrap();
    assert_eq!(std::fs::canonicalize(testkit::harness::program()).unwrap(), expected);
}
