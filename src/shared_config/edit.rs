//! Adds profiles to the text of the config file, and leaves all other text as it is.
//!
//! A section of ours has a comment below its header. Only such a section is ever replaced, and only its properties of the
//! names that are written; what a person has added to it stays.

use std::path::Path;

use crate::model::text::Escaped;
use crate::shared_config::error::ParseError;
use crate::shared_config::lexer::{Line, LineKind, lines, text};
use crate::shared_config::parser::{is_name, section_kind};
use crate::shared_config::raw_section::SectionKind;
use crate::shared_config::{FileContent, SharedConfig, SharedFile};

/// The comment below the header of a section of ours.
const MARKER: &str = "# Written by credenza.";

/// A profile to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewProfile {
    name: Box<str>,
    /// The properties in the order of the file.
    properties: Vec<(&'static str, String)>,
}

/// The reason why a profile is not written. The file is then as before.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    #[error("{} is no name of a profile that every program reads; use letters, digits and -_/.%@:+", Escaped(.0))]
    Name(Box<str>),
    #[error("the value of {0} cannot be written, because not all programs would read it alike: it has {1}")]
    Value(&'static str, &'static str),
    #[error("there is a profile {} already (line {line}); choose another name, or edit it yourself", Escaped(.name))]
    Exists { name: Box<str>, line: u32 },
    #[error("there is a profile {} of credenza already (line {line}); add --replace", Escaped(.name))]
    IsOurs { name: Box<str>, line: u32 },
    #[error("{0}")]
    Parse(#[from] ParseError),
    #[error("the new text would not be read back as it is meant; nothing is written")]
    NotReadBack,
}

impl NewProfile {
    /// Makes a profile.
    ///
    /// # Errors
    /// If not every program would read the name or a value as it is meant.
    pub(crate) fn new(name: &str, properties: Vec<(&'static str, String)>) -> Result<Self, EditError> {
        // `:` begins a value for some parsers of INI files, and `%` a placeholder.
        if !is_name(name) || name.contains([':', '%']) {
            return Err(EditError::Name(name.into()));
        }
        for (key, value) in &properties {
            let fault = match value {
                _ if value.chars().any(char::is_control) => "a control character",
                _ if value.contains(['#', ';']) => "a # or a ;, which may begin a comment",
                _ if value.trim() != value || value.is_empty() => "white space at an end",
                _ => continue,
            };
            return Err(EditError::Value(key, fault));
        }
        Ok(Self { name: name.into(), properties })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the section as it is written.
    pub(crate) fn section(&self) -> String {
        let header = if &*self.name == "default" { "[default]".into() } else { format!("[profile {}]", self.name) };
        format!("{header}\n{MARKER}\n{}", self.lines())
    }

    fn lines(&self) -> String {
        self.properties.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }
}

/// A section of the text, as numbers of lines.
struct FoundSection {
    header: u32,
    /// The first line that is no property of it: the next header or the end.
    end: u32,
    is_ours: bool,
}

/// Returns the text with these profiles: at its end, or in place of a section of ours if `replaces` says so.
///
/// # Errors
/// A profile stands there already, the text has an error, or the new text would not be read back as it is meant.
pub(crate) fn with_profiles(bytes: &[u8], profiles: &[NewProfile], replaces: bool) -> Result<String, EditError> {
    let before = parse(bytes)?;
    let mut new = text(bytes).map_or_else(|_| String::new(), |_| String::from_utf8_lossy(bytes).into_owned());
    let line_end = if new.contains("\r\n") { "\r\n" } else { "\n" };
    for profile in profiles {
        match find(&new, &profile.name).as_slice() {
            [] => append(&mut new, profile, line_end),
            [only] if only.is_ours && replaces => new = replaced(&new, only, profile, line_end),
            [only] if only.is_ours => {
                return Err(EditError::IsOurs { name: profile.name.clone(), line: only.header });
            }
            [first, ..] => return Err(EditError::Exists { name: profile.name.clone(), line: first.header }),
        }
    }
    if is_as_meant(&before, &parse(new.as_bytes())?, profiles) { Ok(new) } else { Err(EditError::NotReadBack) }
}

fn parse(bytes: &[u8]) -> Result<SharedConfig, ParseError> {
    // The caller names the file.
    SharedConfig::parse(Some(FileContent { path: Path::new("the config file"), bytes }), None)
}

/// Finds the sections of a profile.
fn find(text: &str, name: &str) -> Vec<FoundSection> {
    let all: Vec<&str> = text.split('\n').collect();
    let headers: Vec<(u32, &str)> = lines(text.strip_prefix('\u{feff}').unwrap_or(text))
        .filter_map(|line| match line {
            Ok(Line { number, kind: LineKind::Header(inside), .. }) => Some((number, inside)),
            _ => None,
        })
        .collect();
    let is_profile = |inside: &str| match section_kind(SharedFile::Config, inside) {
        Ok((SectionKind::Profile, found)) => found == name,
        Ok((SectionKind::Default, _)) => name == "default",
        _ => false,
    };
    let last = u32::try_from(all.len()).unwrap_or(u32::MAX);
    let ends = headers.iter().skip(1).map(|(number, _)| *number).chain([last + 1]);
    let sections = headers.iter().zip(ends).filter(|((_, inside), _)| is_profile(inside));
    let is_ours = |header: u32| all.get(header as usize).is_some_and(|below| below.trim() == MARKER);
    sections.map(|((header, _), end)| FoundSection { header: *header, end, is_ours: is_ours(*header) }).collect()
}

fn append(text: &mut String, profile: &NewProfile, line_end: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push_str(line_end);
    }
    if !text.trim_start_matches('\u{feff}').is_empty() && !text.ends_with(&format!("\n{line_end}")) {
        text.push_str(line_end);
    }
    text.push_str(&profile.section().replace('\n', line_end));
}

/// Replaces the properties of the written names; other lines of the section stay.
fn replaced(text: &str, section: &FoundSection, profile: &NewProfile, line_end: &str) -> String {
    const OURS: [&str; 5] = ["credential_process", "region", "sso_session", "sso_account_id", "sso_role_name"];
    let mut new = String::new();
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let is_within = number > section.header + 1 && number < section.end;
        let key = line.split_once('=').map(|(key, _)| key.trim().to_ascii_lowercase());
        if is_within && key.is_some_and(|key| OURS.contains(&&*key)) {
            continue;
        }
        new.push_str(line);
        if number == section.header + 1 {
            if !line.ends_with('\n') {
                new.push_str(line_end);
            }
            new.push_str(&profile.lines().replace('\n', line_end));
        }
    }
    new
}

/// Returns true if the new files have the new profiles, and everything else as before.
fn is_as_meant(before: &SharedConfig, after: &SharedConfig, profiles: &[NewProfile]) -> bool {
    let new = |name: &str| profiles.iter().find(|profile| &*profile.name == name);
    let values = |files: &SharedConfig, name: &str| -> Option<Vec<(String, String)>> {
        let section = files.profile(name)?;
        Some(section.properties().map(|(key, value)| (key.to_owned(), value.value().to_owned())).collect())
    };
    let are_kept =
        before.profiles().filter(|name| new(name).is_none()).all(|name| values(before, name) == values(after, name));
    let are_there = profiles.iter().all(|profile| {
        let Some(section) = after.profile(&profile.name) else { return false };
        profile.properties.iter().all(|(key, value)| section.get(key).is_some_and(|found| found.value() == value))
    });
    let count = |files: &SharedConfig| files.profiles().filter(|name| new(name).is_none()).count();
    let sessions =
        |files: &SharedConfig| files.sso_sessions().map(|session| session.name().to_owned()).collect::<Vec<_>>();
    are_kept && are_there && count(before) == count(after) && sessions(before) == sessions(after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn profile(name: &str, process: &str) -> NewProfile {
        NewProfile::new(name, vec![("credential_process", process.into())]).unwrap()
    }

    fn edited(text: &str, replaces: bool) -> Result<String, String> {
        with_profiles(text.as_bytes(), &[profile("new", "/c get")], replaces).map_err(|error| error.to_string())
    }

    const NEW: &str = "[profile new]\n# Written by credenza.\ncredential_process = /c get\n";

    #[test]
    fn adds_a_section_at_the_end() {
        for (before, between) in [
            ("", ""),
            ("[default]\nregion = r\n", "\n"),
            ("[default]\nregion = r", "\n\n"),
            ("[default]\n\n", ""),
            ("# only a comment\n", "\n"),
            ("\u{feff}[profile a]\nb=c\n", "\n"),
        ] {
            assert_eq!(edited(before, false), Ok(format!("{before}{between}{NEW}")), "{before:?}");
        }
        let with_cr = edited("[default]\r\nregion = r\r\n", false).unwrap();
        assert_eq!(with_cr, format!("[default]\r\nregion = r\r\n\r\n{}", NEW.replace('\n', "\r\n")));
        let default = with_profiles(b"", &[profile("default", "x")], false).unwrap();
        assert!(default.starts_with("[default]\n"), "{default}");
    }

    #[test]
    fn replaces_only_what_is_ours() {
        let ours = "[a]\n[profile new]\n# Written by credenza.\ncredential_process = old\noutput = json\n# mine\n\n[profile z]\nregion = r\n";
        let expected = ours.replace("= old", "= /c get");
        assert_eq!(edited(ours, true), Ok(expected));
        assert!(edited(ours, false).unwrap_err().contains("(line 2); add --replace"));
        for text in [
            "[profile new]\ncredential_process = old\n",
            "[profile new]\n\n# Written by credenza.\n",
            "[profile 'new']\n",
            "[profile new]\n# Written by credenza.\n[profile new]\nregion = r\n",
        ] {
            assert!(edited(text, true).unwrap_err().contains("(line 1); choose another name"), "{text}");
        }
        let cut = "[profile new]\n# Written by credenza.";
        assert_eq!(edited(cut, true), Ok(NEW.to_owned()));
        assert!(edited("no header\n", true).unwrap_err().contains("line 1"));
    }

    #[test]
    fn refuses_what_programs_read_differently() {
        for name in ["", "a b", "a:b", "a%b", "a]", "é", "a\nb"] {
            assert!(NewProfile::new(name, Vec::new()).is_err(), "{name:?}");
        }
        for value in ["", " a", "a #b", "a;b", "a\nb", "a\u{0}"] {
            assert!(NewProfile::new("a", vec![("region", value.into())]).is_err(), "{value:?}");
        }
    }

    proptest! {
        /// Whatever stands in the file stays there, byte for byte.
        #[test]
        fn keeps_every_byte(text in r"(\[(profile )?[ab]\]( #c)?\r?\n|[ab] ?= ?[a-z;#]{0,4}\n|  [ab] = c\n|#[a-z ]*\n|\n){0,12}") {
            if let Ok(new) = edited(&text, false) {
                prop_assert!(new.starts_with(&text), "{new:?}");
                let again = edited(&new, true).unwrap();
                prop_assert_eq!(again, new);
            }
        }
    }
}
