//! Whether there is a terminal at which programs that sources start may ask a person: passphrases, security keys, codes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The terminal of `get`, `check` and `exec`, as long as it is ours. A daemon has none: that is the default.
#[derive(Clone, Debug, Default)]
pub struct Terminal(Arc<AtomicBool>);

impl Terminal {
    /// A person sits there.
    #[must_use]
    pub fn ours() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// From now on it belongs to another program: nobody else reads from it.
    pub fn hand_over(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether somebody may be asked there.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
