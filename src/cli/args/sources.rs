//! Flags and variables, which of them goes first, and the `…-file` twins of secrets.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use zeroize::Zeroizing;

use crate::model::secret::Secret;
use crate::source::spec::TextSource;

/// No secret is longer.
const LONGEST_INPUT: u64 = 64 * 1024;

/// What was given, and where. A flag goes before a variable.
pub(crate) struct SourceArguments<'a> {
    matches: &'a ArgMatches,
    stdin: &'a mut dyn Read,
    reader: Option<String>,
    pub(crate) warnings: Vec<String>,
}

impl<'a> SourceArguments<'a> {
    pub(crate) fn new(matches: &'a ArgMatches, stdin: &'a mut dyn Read) -> Self {
        Self { matches, stdin, reader: None, warnings: Vec::new() }
    }

    /// How much a value counts; `None` when nobody gave one.
    pub(crate) fn rank(&self, id: &str) -> Option<ValueSource> {
        self.matches.value_source(id).filter(|source| *source != ValueSource::DefaultValue)
    }

    /// Those of these that were given, as they were: `--url` or `CREDENZA_URL`.
    pub(crate) fn said(&self, ids: &[&str]) -> Vec<String> {
        ids.iter().filter_map(|id| Some(written(id, self.rank(id)?))).collect()
    }

    /// Those of these that were given on the command line.
    pub(crate) fn flags(&self, ids: &[&str]) -> Vec<String> {
        let is_flag = |id: &&&str| self.rank(id) == Some(ValueSource::CommandLine);
        ids.iter().filter(is_flag).map(|id| written(id, ValueSource::CommandLine)).collect()
    }

    /// A text or the file of its `…-file` twin. Standard input is read at once.
    pub(crate) fn text(
        &mut self,
        id: &'static str,
        check: impl Fn(&str) -> Result<Secret, String>,
    ) -> Result<Option<TextSource>, String> {
        let id_file = format!("{id}_file");
        let (said, text) = match (self.rank(id), self.rank(&id_file)) {
            (None, None) => return Ok(None),
            (Some(one), Some(other)) if one == other => {
                let (one, other) = (written(id, one), written(&id_file, other));
                return Err(format!("{one} and {other} are both given; leave out one of them"));
            }
            (Some(source), other) if Some(source) > other => {
                let (said, text) = (written(id, source), self.matches.get_one::<Secret>(id).cloned());
                if source == ValueSource::CommandLine && id != "access_key_id" {
                    self.warnings.push(format!(
                        "{said} shows a secret to everybody who may list processes; {said}-file or a variable does not"
                    ));
                }
                (said, text)
            }
            (_, source) => {
                let path = self.matches.get_one::<PathBuf>(&id_file).filter(|path| *path != Path::new("-"));
                if let Some(path) = path {
                    return Ok(Some(TextSource::File(path.clone())));
                }
                let said = written(&id_file, source.unwrap_or(ValueSource::CommandLine));
                let text = self.read_stdin(&said)?;
                (said, Some(text))
            }
        };
        let text = text.map(|text| check(text.expose())).transpose();
        Ok(text.map_err(|why| format!("{said}: {why}"))?.map(TextSource::Literal))
    }

    fn read_stdin(&mut self, reader: &str) -> Result<Secret, String> {
        if let Some(first) = &self.reader {
            return Err(format!("{first} and {reader} both read standard input; name a file for one of them"));
        }
        self.reader = Some(reader.to_owned());
        let mut bytes = Zeroizing::new(Vec::new());
        let read = self.stdin.take(LONGEST_INPUT + 1).read_to_end(&mut bytes);
        read.map_err(|error| format!("{reader}: cannot read standard input: {error}"))?;
        if bytes.len() as u64 > LONGEST_INPUT {
            return Err(format!("{reader}: standard input is longer than 64 kB; this cannot be a secret"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{reader}: standard input is not UTF-8 text"))?;
        Ok(text.trim().into())
    }
}

/// `--url-file` or `CREDENZA_URL_FILE`.
pub(crate) fn written(id: &str, source: ValueSource) -> String {
    match source {
        ValueSource::EnvVariable => format!("CREDENZA_{}", id.to_ascii_uppercase()),
        _ => format!("--{}", id.replace('_', "-")),
    }
}
