//! The AWS shared files, `~/.aws/config` and `~/.aws/credentials`: finds their paths, parses them, and writes the
//! settings of one profile as a separate file.
//!
//! This module is pure: the caller reads the files and passes their bytes to [`SharedConfig::parse`]. The lexer tells
//! headers, comments, continuations and properties apart, and the parser makes sections of them.

pub(crate) mod allow_list;
pub(crate) mod edit;
pub(crate) mod error;
pub(crate) mod lexer;
pub(crate) mod locate;
pub(crate) mod other_tools;
pub(crate) mod parser;
pub(crate) mod raw_section;
pub(crate) mod render;
pub(crate) mod section;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::shared_config::error::{ParseError, ParseWarning};
use crate::shared_config::parser::FileSections;
use crate::shared_config::section::Section;

/// One of the two shared files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SharedFile {
    /// `~/.aws/config`, or the file that replaces it.
    Config,
    /// `~/.aws/credentials`, or the file that replaces it. Its properties take precedence over those of the config
    /// file.
    Credentials,
}

impl fmt::Display for SharedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "config file",
            Self::Credentials => "credentials file",
        })
    }
}

/// The bytes of one file, with the path that locations, warnings and errors name.
#[derive(Clone, Copy)]
pub(crate) struct FileContent<'a> {
    pub(crate) path: &'a Path,
    /// The whole file. The caller limits its size and overwrites it after use: it may hold secrets.
    pub(crate) bytes: &'a [u8],
}

impl fmt::Debug for FileContent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileContent").field("path", &self.path).field("bytes", &self.bytes.len()).finish()
    }
}

/// The sections of both files. The default has none.
#[derive(Debug, Default)]
pub(crate) struct SharedConfig {
    /// The profiles, sorted by name, each name once. The other lists are sorted in this way, too.
    profiles: Vec<Section>,
    sso_sessions: Vec<Section>,
    services: Vec<Section>,
    warnings: Vec<ParseWarning>,
}

impl SharedConfig {
    /// Parses both files. Each may be absent. The time is linear in their size, except for sorting the names.
    ///
    /// Profiles are merged. Within a file the later property wins; between the files the property of the credentials
    /// file wins.
    ///
    /// # Errors
    /// The first line that breaks the grammar. The config file is parsed first.
    pub(crate) fn parse(
        config: Option<FileContent<'_>>,
        credentials: Option<FileContent<'_>>,
    ) -> Result<Self, ParseError> {
        let read = |file, content: Option<FileContent<'_>>| match content {
            Some(FileContent { path, bytes }) => parser::read(file, &Arc::from(path), bytes),
            None => Ok(FileSections::default()),
        };
        let mut files = Self::default();
        let config = read(SharedFile::Config, config)?;
        let credentials = read(SharedFile::Credentials, credentials)?;
        files.warnings = config.warnings;
        files.warnings.extend(credentials.warnings);
        files.profiles = merge(config.profiles, credentials.profiles);
        files.sso_sessions = merge(config.sso_sessions, Vec::new());
        files.services = merge(config.services, Vec::new());
        Ok(files)
    }

    /// Returns the profile of that name, merged from both files. A section without properties is a profile too.
    pub(crate) fn profile(&self, name: &str) -> Option<&Section> {
        find(&self.profiles, name)
    }

    /// Returns the names of all profiles, sorted.
    pub(crate) fn profiles(&self) -> impl Iterator<Item = &str> {
        self.profiles.iter().map(Section::name)
    }

    /// Returns the `[sso-session NAME]` section of the config file.
    pub(crate) fn sso_session(&self, name: &str) -> Option<&Section> {
        find(&self.sso_sessions, name)
    }

    /// Returns all `[sso-session NAME]` sections of the config file, sorted by name.
    pub(crate) fn sso_sessions(&self) -> impl Iterator<Item = &Section> {
        self.sso_sessions.iter()
    }

    /// Returns the `[services NAME]` section of the config file.
    pub(crate) fn services(&self, name: &str) -> Option<&Section> {
        find(&self.services, name)
    }

    /// Returns the warning about an ignored section that seems to have this name, for the error of a missing section.
    #[must_use]
    pub(crate) fn ignored_section(&self, name: &str) -> Option<&ParseWarning> {
        self.warnings.iter().find(|warning| warning.is_about_ignored_section(name))
    }

    /// Returns the warnings in the order of the lines, those of the config file first. A file has at most 101.
    pub(crate) fn warnings(&self) -> &[ParseWarning] {
        &self.warnings
    }
}

/// Merges sections of one name, where the later properties win, and sorts them by name.
fn merge(first: Vec<Section>, second: Vec<Section>) -> Vec<Section> {
    let mut all: Vec<Section> = first.into_iter().chain(second).collect();
    all.sort_by(|a, b| a.name().cmp(b.name()));
    let mut merged: Vec<Section> = Vec::with_capacity(all.len());
    for section in all {
        match merged.last_mut() {
            Some(last) if last.name() == section.name() => last.override_with(section),
            _ => merged.push(section),
        }
    }
    merged
}

fn find<'a>(sorted: &'a [Section], name: &str) -> Option<&'a Section> {
    sorted.binary_search_by(|section| section.name().cmp(name)).ok().map(|index| &sorted[index])
}
