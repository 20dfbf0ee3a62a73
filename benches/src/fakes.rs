//! Those of the tests: nothing real hands out credentials here. Only these, so that measuring needs none of what the others
//! are made of.

#![allow(dead_code, reason = "the tests use the rest")]
#![allow(clippy::disallowed_methods, reason = "nothing else here has a clock")]

#[path = "../../tests/support/fakes/imds.rs"]
pub mod imds;
#[path = "../../tests/support/fakes/server.rs"]
pub mod server;
#[path = "../../tests/support/fakes/sts.rs"]
pub mod sts;
