//! Reads `[audit]`: where the audit log goes, and if credentials are served without it.

use std::path::PathBuf;

use crate::config::table::{ConfigErrors, TableSection};
use crate::config::value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditConfig {
    pub(crate) target: AuditTarget,
    /// Serves credentials only after the line of the answer was written.
    pub(crate) required: bool,
}

/// The place of the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuditTarget {
    /// An absolute path, or one below `~`.
    File(PathBuf),
    Journal,
    Stdout,
}

#[derive(Clone, Copy)]
enum Receiver {
    Journal,
    Stdout,
}

/// Reads `[audit]`, which names a file or a receiver.
pub(crate) fn read(mut section: TableSection<'_>, at: usize, errors: &mut ConfigErrors) -> Option<AuditConfig> {
    let is_named = section.at("file").is_some() || section.at("to").is_some();
    let file = section.take("file");
    let to = section.take("to");
    let required = section.take("required").and_then(|entry| entry.boolean(errors)).unwrap_or(false);
    section.close();
    let target = match (file, to) {
        (Some(file), Some(to)) => {
            let target = file.read(errors, value::folder).map(AuditTarget::File);
            to.refuse::<()>(errors, "the log goes to one place; remove to or file");
            target
        }
        (Some(file), None) => file.read(errors, value::folder).map(AuditTarget::File),
        (None, Some(to)) => {
            let words = [("journald", Receiver::Journal), ("stdout", Receiver::Stdout)];
            to.word(errors, &words).map(|receiver| match receiver {
                Receiver::Journal => AuditTarget::Journal,
                Receiver::Stdout => AuditTarget::Stdout,
            })
        }
        (None, None) => None,
    };
    if !is_named {
        errors.push(
            at,
            "audit",
            "no place for the log; write file = \"/var/log/credenza/audit.log\", or to = \"journald\" or \"stdout\"",
        );
    }
    Some(AuditConfig { target: target?, required })
}
