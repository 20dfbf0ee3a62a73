//! The fakes of the crate `testkit`.

#[allow(unused_imports, reason = "every test binary uses its own part")]
pub(crate) use testkit::*;
