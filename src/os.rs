//! The operating system: files, clock, environment, signals, terminal, service manager and peers.
//!
//! The modules above use it through [`Context`](crate::context::Context), so that tests can replace its impure parts.

pub(crate) mod accounts;
pub(crate) mod children;
pub(crate) mod clock;
pub(crate) mod environment;
pub(crate) mod files;
pub(crate) mod peer;
pub(crate) mod progress;
pub(crate) mod rlimit;
pub(crate) mod rng;
pub(crate) mod signals;
pub(crate) mod single_flight;
pub(crate) mod systemd;
pub(crate) mod tty;
