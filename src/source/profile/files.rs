//! The AWS shared files for sources and commands: finds them, reads them through the [`Context`], and parses them once
//! per change in this process.

use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::aws::settings::Settings;
use crate::context::Context;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::location::Location;
use crate::model::text::Escaped;
use crate::os::files::contents::{FileContents, FileError};
use crate::os::files::parse_cache::FileRequest;
use crate::os::files::trust::PathFacts;
use crate::shared_config::error::ParseWarning;
use crate::shared_config::locate::{NamedPaths, PathOrigin, SharedFilePath, SharedFilePaths, locate, variables};
use crate::shared_config::section::{Property, Section};
use crate::shared_config::{FileContent, SharedConfig};
use crate::source::profile::plan::trust::UntrustedFile;

/// The two shared files, as one load has read them.
#[derive(Clone)]
pub(crate) struct ProfileFiles {
    parsed: Arc<ParsedProfiles>,
    paths: SharedFilePaths,
}

/// The parsed files, or the error of the first file that cannot be used.
type ParsedProfiles = Result<OwnedProfiles, SourceError>;

/// The parsed files, with the facts of each path.
struct OwnedProfiles {
    files: SharedConfig,
    facts: Vec<(PathBuf, PathFacts)>,
    /// For each warning of the files, true after it has been logged.
    logged: Box<[AtomicBool]>,
}

impl ProfileFiles {
    /// Opens the named files, else those of the environment, else those of the home directory. If the files are
    /// watched, a change of `digest` wakes the refresher. Logs the warnings about whole files, or all if the context says
    /// so.
    ///
    /// # Errors
    /// A path cannot be expanded. Files that cannot be read or parsed are an error of [`ProfileFiles::files`].
    pub(crate) async fn open<D>(context: &Context, named: &NamedPaths, digest: D) -> Result<Self, SourceError>
    where
        D: Fn(&SharedConfig) -> u64 + Send + Sync + 'static,
    {
        let environment = &context.environment;
        environment.check_text(&variables(named))?;
        let paths = locate(environment.variables(), environment.home(), named)
            .map_err(|error| SourceError::misconfigured(error.to_string()).caused_by(error))?;
        let request =
            |file: &SharedFilePath| FileRequest { path: file.path.clone(), required: file.origin == PathOrigin::Named };
        let key: Vec<FileRequest> = [&paths.config, &paths.credentials].into_iter().flatten().map(request).collect();
        let parsed_paths = paths.clone();
        let digest = move |parsed: &ParsedProfiles| match parsed {
            // The digest of unreadable files is 0, and that of readable files is odd, so the two always differ.
            Err(_) => 0,
            Ok(parsed) => 1 | digest(&parsed.files).wrapping_add(parsed.digest_of_facts()) << 1,
        };
        let parsed = context.files.parsed(&key, move |contents| parse(&parsed_paths, contents), digest).await;
        let opened = Self { parsed, paths };
        opened.log_warnings(|warning| context.warns_of_all_profiles || warning.is_about_file());
        Ok(opened)
    }

    /// Logs the warnings that a reader is concerned with. Each is logged once per parse.
    pub(crate) fn log_warnings(&self, concerns: impl Fn(&ParseWarning) -> bool) {
        let Ok(parsed) = &*self.parsed else { return };
        for (warning, logged) in parsed.files.warnings().iter().zip(&parsed.logged) {
            if concerns(warning) && !logged.swap(true, Ordering::Relaxed) {
                tracing::warn!("{warning}");
            }
        }
    }

    /// Returns the merged files.
    ///
    /// # Errors
    /// A named file is missing, a file cannot be read, or a line breaks the grammar. The error is unsettled, because
    /// another program may be writing the file.
    pub(crate) fn files(&self) -> Result<&SharedConfig, SourceError> {
        match &*self.parsed {
            Ok(parsed) => Ok(&parsed.files),
            Err(error) => Err(error.clone()),
        }
    }

    /// Checks file trust for the file of a property: it may decide which programs run and where tokens go.
    ///
    /// # Errors
    /// The reason, for a message after the path: `belongs to user 1001, …`.
    pub(crate) fn trusted(&self, context: &Context, property: &Property) -> Result<(), String> {
        self.check(context, property).map_err(|untrusted| untrusted.reason)
    }

    /// Checks file trust for the file of a property, as [`ProfileFiles::trusted`].
    ///
    /// # Errors
    /// The reason and the owner of the file.
    pub(crate) fn check(&self, context: &Context, property: &Property) -> Result<(), UntrustedFile> {
        let facts = self.parsed.as_ref().as_ref().map_or(&[][..], |parsed| &parsed.facts);
        let facts = facts.iter().find(|(path, _)| **path == **property.path()).map(|(_, facts)| facts);
        // Every property comes from one of the parsed files.
        let facts = facts.ok_or_else(|| UntrustedFile { owner: None, reason: "has an unknown owner".into() })?;
        let untrusted =
            |distrust| UntrustedFile { owner: facts.sole_owner(&context.trust), reason: format!("{distrust}") };
        facts.trusted(&context.trust).map_err(untrusted)
    }

    /// Returns the settings for requests to AWS. `None` means without a profile.
    pub(crate) fn settings(&self, context: &Context, profile: Option<&Section>) -> Settings {
        let trusted =
            |property: &Property| self.trusted(context, property).map_err(|distrust| format!("the file {distrust}"));
        let files = self.parsed.as_ref().as_ref().map(|parsed| &parsed.files).ok();
        match files {
            Some(files) => Settings::new(&context.environment, files, profile, &trusted),
            None => Settings::of_environment(&context.environment),
        }
    }

    /// Prints the paths of both files, for messages.
    pub(crate) fn paths(&self) -> String {
        let paths: Vec<String> = [&self.paths.credentials, &self.paths.config]
            .into_iter()
            .flatten()
            .map(|file| Escaped(&file.path.to_string_lossy()).to_string())
            .collect();
        if paths.is_empty() { "the home directory, which is unknown".into() } else { paths.join(" or ") }
    }
}

impl std::fmt::Debug for ProfileFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProfileFiles").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl OwnedProfiles {
    /// Hashes the facts of the paths: a chown changes file trust.
    fn digest_of_facts(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.facts.hash(&mut hasher);
        hasher.finish()
    }
}

/// Hashes these properties of several sections. Equal digests mean that the properties are unchanged in all sections.
pub(crate) fn digest<'s>(sections: impl IntoIterator<Item = &'s Section>, properties: &[&str]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for section in sections {
        (section.name(), section.digest(properties)).hash(&mut hasher);
    }
    hasher.finish()
}

/// Parses both files. The origin of a path decides if a missing file is an error.
fn parse(paths: &SharedFilePaths, contents: Vec<Result<FileContents, FileError>>) -> ParsedProfiles {
    let mut read: [Option<(&SharedFilePath, FileContents)>; 2] = [None, None];
    let mut facts = Vec::new();
    let known = [&paths.config, &paths.credentials].into_iter().enumerate();
    let known = known.filter_map(|(slot, file)| file.as_ref().map(|file| (slot, file)));
    let unusable = |error: FileError, hint: &str| {
        SourceError::new(ErrorKind::Unsettled, error.to_string()).with_hint(hint).caused_by(error)
    };
    for ((slot, file), content) in known.zip(contents) {
        match content {
            Ok(content) => {
                facts.push((file.path.clone(), content.facts.clone()));
                read[slot] = Some((file, content));
            }
            Err(error) if error.is_missing() => match file.origin {
                PathOrigin::Named => return Err(unusable(error, "create it, or name another file")),
                PathOrigin::Variable(variable) => {
                    tracing::warn!(variable, %error, "a variable names a missing shared file: it is read as empty, as in the SDKs");
                }
                PathOrigin::Default => {}
            },
            Err(error) => return Err(unusable(error, "check that it is a file that this user may read")),
        }
    }
    let content = |slot: usize| {
        read[slot].as_ref().map(|(file, content)| FileContent { path: &file.path, bytes: &content.bytes })
    };
    let files = SharedConfig::parse(content(0), content(1)).map_err(|error| {
        let location = Location::line(&error.path, error.line as usize);
        let message = format!("expected {}", error.expected);
        SourceError::new(ErrorKind::Unsettled, message).with_hint(error.expected.hint()).at(location).caused_by(error)
    })?;
    let logged = files.warnings().iter().map(|_| AtomicBool::new(false)).collect();
    Ok(OwnedProfiles { files, facts, logged })
}
