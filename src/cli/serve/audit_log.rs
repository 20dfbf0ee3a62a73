//! Starts the audit log of the daemon.

use std::path::Path;

use crate::audit::file::{AuditFile, AuditStdout};
use crate::audit::journal::{AuditJournal, SOCKET};
use crate::audit::writer::LineSink;
use crate::audit::{AuditLog, AuditThread};
use crate::cli::error::CommandError;
use crate::config::audit::{AuditConfig, AuditTarget};
use crate::context::Context;

/// Starts the thread of the log. `None` without `[audit]`.
///
/// # Errors
/// If the kernel starts no thread. A file that cannot be opened is no error here: it may come later, and lost lines are
/// counted.
pub(crate) fn start(
    config: Option<&AuditConfig>,
    context: &Context,
) -> Result<Option<(AuditLog, AuditThread)>, CommandError> {
    let Some(AuditConfig { target, required }) = config else { return Ok(None) };
    let sink: Box<dyn LineSink + Send> = match target {
        AuditTarget::File(path) => Box::new(AuditFile::new(context.environment.expand(path), context.trust.clone())),
        AuditTarget::Journal => Box::new(AuditJournal::new(Path::new(SOCKET))),
        AuditTarget::Stdout => Box::new(AuditStdout::default()),
    };
    tracing::info!(required, "an audit log is kept: {}", sink.name());
    let started = AuditLog::start(sink, context.clock.clone(), *required);
    started
        .map(Some)
        .map_err(|error| CommandError::new(format!("cannot start the audit log: {error}. Start the daemon again")))
}
