//! `credenza audit`: reads the audit log and tells who holds which keys, who was refused, and what happened when.

mod follow;
pub(crate) mod summary;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::audit::history;
use crate::audit::history::{AuditFilter, AuditRecord};
use crate::audit::journal::IDENTIFIER;
use crate::audit::line;
use crate::cli::audit::summary::{AuditSummary, event_line};
use crate::cli::error::CommandError;
use crate::config::audit::{AuditConfig, AuditTarget};
use crate::model::text::Escaped;
use crate::os::environment::Environment;

/// An absolute path: the command may run as root.
const JOURNALCTL: &str = "/usr/bin/journalctl";

/// The request of `audit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditRequest {
    /// The file, or `-` for standard input. `None` means the log of the configuration.
    pub(crate) file: Option<PathBuf>,
    /// Shows events of the last time of this length.
    pub(crate) since: Duration,
    pub(crate) client: Option<String>,
    pub(crate) identity: Option<String>,
    /// Shows further events as they come.
    pub(crate) follow: bool,
    pub(crate) json: bool,
}

/// The places of an audit log.
enum AuditSource {
    Input,
    File(PathBuf),
    Journal,
}

impl AuditSource {
    fn of(
        request: &AuditRequest,
        config: Option<&AuditConfig>,
        environment: &Environment,
    ) -> Result<Self, CommandError> {
        match (&request.file, config.map(|config| &config.target)) {
            (Some(file), _) if file == Path::new("-") => Ok(Self::Input),
            (Some(file), _) => Ok(Self::File(file.clone())),
            (None, Some(AuditTarget::File(file))) => Ok(Self::File(environment.expand(file))),
            (None, Some(AuditTarget::Journal)) => Ok(Self::Journal),
            (None, Some(AuditTarget::Stdout)) => Err(CommandError::new(
                "the audit log goes to the standard output of the daemon; pipe what keeps it: credenza audit -",
            )),
            (None, None) => Err(CommandError::new(
                "there is no audit log: credenza.toml has no [audit]. Add file = \"/var/log/credenza/audit.log\" to it, or name a file: \
                 credenza audit FILE",
            )),
        }
    }
}

/// Reads the log and prints it. Events that `--follow` shows go to `out` as they come.
///
/// # Errors
/// If there is no log, or it cannot be read.
pub(crate) async fn audit(
    request: &AuditRequest,
    config: Option<&AuditConfig>,
    environment: &Environment,
    now: SystemTime,
) -> Result<String, CommandError> {
    let filter = AuditFilter {
        since: now.checked_sub(request.since),
        client: request.client.clone(),
        identity: request.identity.clone(),
        ..AuditFilter::default()
    };
    let source = AuditSource::of(request, config, environment)?;
    let mut position = None;
    let mut seen = AuditSummary::default();
    let mut lines = Vec::new();
    let mut visit = |record: AuditRecord| {
        if !filter.wants(&record) {
            return;
        }
        if request.json {
            lines.extend(line::to_line(&record.fields));
        } else {
            seen.add(record);
        }
    };
    let mut unreadable = 0;
    match &source {
        AuditSource::Input => {
            let read = history::read(io::stdin().lock(), &mut visit);
            unreadable = read.map_err(|error| failed(Path::new("standard input"), &error))?;
        }
        AuditSource::Journal => unreadable = read_journal(request.since, &mut visit)?,
        AuditSource::File(file) => {
            position = follow::position(file);
            for path in history::files_of(file).map_err(|error| failed(file, &error))? {
                // No line of an older file is in the time.
                let is_old = |modified| filter.since.is_some_and(|since| modified < since);
                if path != *file && std::fs::metadata(&path).and_then(|stat| stat.modified()).is_ok_and(is_old) {
                    continue;
                }
                let reader = history::open(&path).map_err(|error| failed(&path, &error))?;
                unreadable += history::read(reader, &mut visit).map_err(|error| failed(&path, &error))?;
            }
        }
    }
    if unreadable > 0 {
        tracing::warn!(
            "{unreadable} lines of the audit log are no events and are left out; a crash may have cut one off"
        );
    }
    let text = if request.json { String::from_utf8(lines).unwrap_or_default() } else { seen.text(now, request.follow) };
    if !request.follow {
        return Ok(text);
    }
    let AuditSource::File(file) = source else {
        return Err(CommandError::new(
            "--follow needs a file; follow the journal with journalctl -f -t credenza-audit",
        ));
    };
    let print = |text: &str| io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    // A reader that has closed the pipe ends the command, without an error.
    if print(&text).is_err() {
        return Ok(String::new());
    }
    follow::follow(&file, position, |record| {
        let is_wanted = AuditFilter { since: None, ..filter.clone() }.wants(&record);
        let text = match (is_wanted, request.json) {
            (false, _) => String::new(),
            (true, true) => String::from_utf8(line::to_line(&record.fields)).unwrap_or_default(),
            (true, false) => event_line(&record) + "\n",
        };
        print(&text)
    })
    .await;
    Ok(String::new())
}

fn failed(path: &Path, error: &io::Error) -> CommandError {
    let path = Escaped(&path.to_string_lossy()).to_string();
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => ". Run the command as the user of the daemon, or with sudo",
        io::ErrorKind::NotFound => ". The daemon makes it at its first event",
        _ => "",
    };
    CommandError::new(format!("cannot read the audit log {path}: {error}{advice}"))
}

fn read_journal(since: Duration, visit: &mut impl FnMut(AuditRecord)) -> Result<u64, CommandError> {
    let failed = |error: io::Error| CommandError::new(format!("cannot read the journal: {JOURNALCTL}: {error}"));
    let since = format!("-{}s", since.as_secs());
    let mut child = Command::new(JOURNALCTL)
        .args(["--identifier", IDENTIFIER, "--output", "cat", "--no-pager", "--quiet", "--since", &since])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let unreadable = match child.stdout.take() {
        Some(output) => history::read(io::BufReader::new(output), visit).map_err(failed)?,
        None => 0,
    };
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(unreadable) } else { Err(failed(io::Error::other(status.to_string()))) }
}
