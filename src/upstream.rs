//! HTTP to places that hand out credentials.

/// The one way out. The default reaches nothing.
#[derive(Clone, Debug, Default)]
pub struct Upstream {}
