//! Whether there is a terminal at which programs that sources start may ask a person: passphrases, security keys, codes.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The terminal of `get`, `check` and `exec`, as long as it is ours. A daemon has none: that is the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terminal(Arc<AtomicBool>);

impl Terminal {
    /// A person sits there.
    #[must_use]
    pub(crate) fn ours() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// From now on it belongs to another program: nobody else reads from it.
    pub(crate) fn hand_over(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Shows there what a program says, as long as standard error is that terminal.
    pub(crate) fn show(&self, said: &[u8]) {
        let mut errors = io::stderr();
        if self.is_ours() && errors.is_terminal() {
            // Who reads there has seen what could be shown.
            let _ = errors.write_all(said).and_then(|()| errors.flush());
        }
    }

    /// Whether somebody may be asked there.
    #[must_use]
    pub(crate) fn is_ours(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
