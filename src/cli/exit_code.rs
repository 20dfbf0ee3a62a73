//! The exit codes of the program, beside 0 and 1. A child of `exec` gives its own.

/// The exit code for an unusable configuration (EX_CONFIG of sysexits(3)). Our systemd units do not restart on it.
pub(crate) const BAD_CONFIGURATION: u8 = 78;

/// The exit code for an unusable command line, as clap exits.
pub(crate) const BAD_USAGE: u8 = 2;

/// The exit code if the program exists and cannot be started, as in a shell.
pub(crate) const CANNOT_EXECUTE: u8 = 126;

/// The exit code if the program does not exist, as in a shell.
pub(crate) const NOT_FOUND: u8 = 127;

/// The exit code after a second signal, which ends the daemon without a drain.
pub(crate) const SECOND_SIGNAL: i32 = 1;
