//! The values of flags and variables, their precedence, and the `…-file` variants of secrets.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use zeroize::Zeroizing;

use crate::model::secret::Secret;
use crate::source::spec::TextSource;

/// The maximum length of standard input in bytes. It limits the memory; no secret is longer.
const MAX_INPUT_LEN: u64 = 64 * 1024;

/// The values of flags and variables. A flag takes precedence over a variable.
pub(crate) struct ArgumentValues<'a> {
    matches: &'a ArgMatches,
    stdin: &'a mut dyn Read,
    /// The flag that has read standard input.
    stdin_reader: Option<String>,
    pub(crate) warnings: Vec<String>,
}

impl<'a> ArgumentValues<'a> {
    pub(crate) fn new(matches: &'a ArgMatches, stdin: &'a mut dyn Read) -> Self {
        Self { matches, stdin, stdin_reader: None, warnings: Vec::new() }
    }

    /// Returns the origin of a value, or `None` for a default. Origins are ordered by precedence.
    pub(crate) fn rank(&self, id: &str) -> Option<ValueSource> {
        self.matches.value_source(id).filter(|source| *source != ValueSource::DefaultValue)
    }

    /// Returns the names of the arguments with a value, as the user wrote them: `--url` or `CREDENZA_URL`.
    pub(crate) fn names(&self, ids: &[&str]) -> Vec<String> {
        ids.iter().filter_map(|id| Some(argument_name(id, self.rank(id)?))).collect()
    }

    /// Returns the names of the arguments that are on the command line.
    pub(crate) fn flags<'i>(&self, ids: impl Iterator<Item = &'i &'i str>) -> impl Iterator<Item = String> {
        let is_flag = |id: &&&str| self.rank(id) == Some(ValueSource::CommandLine);
        ids.filter(is_flag).map(|id| argument_name(id, ValueSource::CommandLine))
    }

    /// Returns the text of an argument, or the path of its `…-file` variant. For the path `-` it reads standard input
    /// at once.
    pub(crate) fn text(
        &mut self,
        id: &'static str,
        check: impl Fn(&str) -> Result<Secret, String>,
    ) -> Result<Option<TextSource>, String> {
        let id_file = format!("{id}_file");
        let (name, text) = match (self.rank(id), self.rank(&id_file)) {
            (None, None) => return Ok(None),
            (Some(one), Some(other)) if one == other => {
                let (one, other) = (argument_name(id, one), argument_name(&id_file, other));
                return Err(format!("{one} and {other} are both given; remove one of them"));
            }
            (Some(source), other) if Some(source) > other => {
                let (name, text) = (argument_name(id, source), self.matches.get_one::<Secret>(id).cloned());
                if source == ValueSource::CommandLine && id != "access_key_id" {
                    self.warnings.push(format!(
                        "{name} shows a secret to every user who can list processes; use {name}-file or a variable"
                    ));
                }
                (name, text)
            }
            (_, source) => {
                let path = self.matches.get_one::<PathBuf>(&id_file).filter(|path| *path != Path::new("-"));
                if let Some(path) = path {
                    return Ok(Some(TextSource::File(path.clone())));
                }
                let name = argument_name(&id_file, source.unwrap_or(ValueSource::CommandLine));
                let text = self.read_stdin(&name)?;
                (name, Some(text))
            }
        };
        let text = text.map(|text| check(text.expose())).transpose();
        Ok(text.map_err(|reason| format!("{name}: {reason}"))?.map(TextSource::Literal))
    }

    /// Reads standard input for this flag, once.
    pub(crate) fn read_stdin(&mut self, reader: &str) -> Result<Secret, String> {
        if let Some(first) = &self.stdin_reader {
            return Err(format!("{first} and {reader} both read standard input; name a file for one of them"));
        }
        self.stdin_reader = Some(reader.to_owned());
        let mut bytes = Zeroizing::new(Vec::new());
        let read = self.stdin.take(MAX_INPUT_LEN + 1).read_to_end(&mut bytes);
        read.map_err(|error| format!("{reader}: cannot read standard input: {error}"))?;
        if bytes.len() as u64 > MAX_INPUT_LEN {
            return Err(format!("{reader}: standard input is longer than 64 kB; this cannot be a secret"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{reader}: standard input is not UTF-8 text"))?;
        Ok(text.trim().into())
    }
}

/// Returns the name that the user wrote: `--url-file` or `CREDENZA_URL_FILE`.
pub(crate) fn argument_name(id: &str, source: ValueSource) -> String {
    match source {
        ValueSource::EnvVariable => format!("CREDENZA_{}", id.to_ascii_uppercase()),
        _ => format!("--{}", id.replace('_', "-")),
    }
}
