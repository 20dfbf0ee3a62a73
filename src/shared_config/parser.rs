//! The parser: builds sections from lines, and ignores sections and names that the SDKs ignore.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::shared_config::SharedFile;
use crate::shared_config::error::{ExpectedSyntax, IgnoredItem, ParseError, ParseWarning};
use crate::shared_config::lexer::{LexError, Line, LineKind, lines, property, sub_property, text};
use crate::shared_config::raw_section::{RawProperty, RawSection, SectionKind};
use crate::shared_config::section::Section;

/// The maximum number of warnings that one file keeps. A user reads the first few to repair a file.
const MAX_WARNINGS: usize = 100;

/// The maximum number of sections of one file. Large companies have a few thousand profiles.
const MAX_SECTIONS: usize = 10_000;

/// The maximum number of properties, sub-properties and continuation lines of one file. It bounds the memory of a file
/// with very short lines: each takes about 200 bytes.
const MAX_PROPERTIES: usize = 60_000;

/// The sections of one file. Each list has each name once.
#[derive(Debug, Default)]
pub(crate) struct FileSections {
    pub(crate) profiles: Vec<Section>,
    pub(crate) sso_sessions: Vec<Section>,
    pub(crate) services: Vec<Section>,
    pub(crate) warnings: Vec<ParseWarning>,
}

/// Reads one file.
pub(crate) fn read(file: SharedFile, path: &Arc<Path>, bytes: &[u8]) -> Result<FileSections, ParseError> {
    let sections = || {
        let mut parser = Parser::new(file);
        for line in lines(text(bytes)?) {
            let line = line?;
            parser.take(line).map_err(|expected| LexError { line: line.number, expected })?;
        }
        Ok(parser.finish(path))
    };
    sections().map_err(|LexError { line, expected }| ParseError { file, path: Arc::clone(path), line, expected })
}

/// The state of the parser within one file.
struct Parser<'a> {
    file: SharedFile,
    /// The sections. The first one collects the lines of ignored sections, because those lines must be valid, too.
    sections: Vec<RawSection<'a>>,
    index: HashMap<(SectionKind, Cow<'a, str>), usize>,
    /// The index of the section that the next property belongs to.
    current: Option<usize>,
    /// The index of the section with the last property. A continuation belongs to this property.
    above: Option<usize>,
    /// The indent of the last property. As in botocore, a line that is indented further continues it, and another line is
    /// the next property.
    indent: usize,
    /// The number of properties, sub-properties and continuation lines.
    properties: usize,
    /// The ignored parts, each with its line and the name of its section.
    ignored: Vec<(u32, Option<Box<str>>, IgnoredItem)>,
    /// The number of warnings beyond the maximum, and the line of the first dropped warning.
    dropped: (usize, u32),
}

/// The index of the section that collects ignored lines.
const IGNORED: usize = 0;

impl<'a> Parser<'a> {
    fn new(file: SharedFile) -> Self {
        Self {
            file,
            sections: vec![RawSection { kind: SectionKind::Ignored, name: "".into(), line: 0, properties: Vec::new() }],
            index: HashMap::new(),
            current: None,
            above: None,
            indent: 0,
            properties: 0,
            ignored: Vec::new(),
            dropped: (0, 0),
        }
    }

    fn take(&mut self, Line { number, kind, is_cut }: Line<'a>) -> Result<(), ExpectedSyntax> {
        match kind {
            LineKind::Header(inside) => {
                self.above = None;
                self.current = Some(self.header(number, inside));
                if self.sections.len() > MAX_SECTIONS + 1 { Err(ExpectedSyntax::FewerSections) } else { Ok(()) }
            }
            _ if self.properties == MAX_PROPERTIES => Err(ExpectedSyntax::FewerProperties),
            LineKind::Property(name, value) => {
                self.properties += 1;
                self.indent = 0;
                self.property(number, name, value)?;
                if let Some(section) = self.above.filter(|section| is_cut && *section != IGNORED) {
                    self.ignore(number, Some(section), IgnoredItem::Command);
                }
                Ok(())
            }
            LineKind::Indented(indent, text) => {
                self.properties += 1;
                match self.above {
                    Some(section) if indent > self.indent => self.continuation(number, section, text),
                    _ => {
                        self.indent = indent;
                        let (name, value) = property(text)?;
                        self.property(number, name, value)
                    }
                }
            }
        }
    }

    fn header(&mut self, line: u32, inside: &'a str) -> usize {
        match section_kind(self.file, inside) {
            Ok((kind, name)) => *self.index.entry((kind, name.clone())).or_insert_with(|| {
                self.sections.push(RawSection { kind, name, line, properties: Vec::new() });
                self.sections.len() - 1
            }),
            Err(ignored) => {
                // The AWS CLI reads these sections of its own.
                if !matches!(&ignored, IgnoredItem::OtherSection(name) if ["plugins", "preview"].contains(&&**name)) {
                    self.ignore(line, None, ignored);
                }
                IGNORED
            }
        }
    }

    fn property(&mut self, line: u32, name: &'a str, value: &'a str) -> Result<(), ExpectedSyntax> {
        let mut section = self.current.ok_or(ExpectedSyntax::Header)?;
        if section != IGNORED && !is_name(name) {
            self.ignore(line, Some(section), IgnoredItem::PropertyName);
            section = IGNORED;
        }
        self.above = Some(section);
        if section == IGNORED {
            // Only a continuation needs the property above it.
            self.sections[IGNORED].properties.clear();
        }
        self.sections[section].properties.push(RawProperty::new(name, line, value));
        Ok(())
    }

    /// Adds a line to the last property of a section.
    fn continuation(&mut self, line: u32, section: usize, text: &'a str) -> Result<(), ExpectedSyntax> {
        let Some(property) = self.sections[section].properties.last_mut() else { return Err(ExpectedSyntax::Header) };
        if !property.value.is_empty() {
            property.continuations.push(text);
            return Ok(());
        }
        let (name, value) = sub_property(text)?;
        if is_name(name) {
            property.sub_properties.push((name, line, value));
        } else if section != IGNORED {
            self.ignore(line, Some(section), IgnoredItem::SubPropertyName);
        }
        Ok(())
    }

    fn ignore(&mut self, line: u32, section: Option<usize>, ignored: IgnoredItem) {
        match (self.ignored.len(), self.dropped) {
            (..MAX_WARNINGS, _) => {
                let section = section.map(|section| self.sections[section].name.clone().into());
                self.ignored.push((line, section, ignored));
            }
            (_, (0, _)) => self.dropped = (1, line),
            (_, (count, first)) => self.dropped = (count + 1, first),
        }
    }

    fn finish(mut self, path: &Arc<Path>) -> FileSections {
        let mut sections = FileSections::default();
        let default_is_replaced = self.index.contains_key(&(SectionKind::Profile, "default".into()));
        self.sections.retain(|section| match section.kind {
            SectionKind::Ignored => false,
            SectionKind::Default if default_is_replaced => {
                self.ignored.push((section.line, Some("default".into()), IgnoredItem::Default));
                false
            }
            _ => true,
        });
        for raw in &self.sections {
            let section = raw.finish(self.file, path);
            match raw.kind {
                SectionKind::Ignored | SectionKind::Default | SectionKind::Profile => sections.profiles.push(section),
                SectionKind::SsoSession => sections.sso_sessions.push(section),
                SectionKind::Services => sections.services.push(section),
            }
        }
        self.ignored.sort_by_key(|(line, ..)| *line);
        if let (count @ 1.., first) = self.dropped {
            self.ignored.push((first, None, IgnoredItem::More(count)));
        }
        let warning =
            |(line, section, ignored)| ParseWarning { file: self.file, path: Arc::clone(path), line, section, ignored };
        sections.warnings = self.ignored.into_iter().map(warning).collect();
        sections
    }
}

/// Returns the kind of section that a header begins, and its name: `profile` and `dev` for `[profile dev]`.
///
/// As in botocore, the config file has quotes around a name with spaces, and the credentials file has the bare name.
pub(crate) fn section_kind(file: SharedFile, inside: &str) -> Result<(SectionKind, Cow<'_, str>), IgnoredItem> {
    let (word, name) = match inside.split_once([' ', '\t']) {
        Some((word, name)) => (word, name.trim_start_matches([' ', '\t'])),
        None => ("", inside),
    };
    let kind = match (file, word, name) {
        (SharedFile::Config, "", "default") => SectionKind::Default,
        (SharedFile::Config, "profile", _) => SectionKind::Profile,
        (SharedFile::Config, "sso-session", _) => SectionKind::SsoSession,
        (SharedFile::Config, "services", _) => SectionKind::Services,
        (SharedFile::Config, ..) => return Err(IgnoredItem::OtherSection(inside.into())),
        (SharedFile::Credentials, "profile", _) => return Err(IgnoredItem::Prefixed(inside.into())),
        (SharedFile::Credentials, "sso-session" | "services", _) => {
            return Err(IgnoredItem::SectionName(inside.into()));
        }
        (SharedFile::Credentials, ..) => SectionKind::Profile,
    };
    let name = if file == SharedFile::Config { unquoted(name) } else { Some(inside.into()) };
    let is_section_name = |name: &Cow<'_, str>| name.split(' ').all(is_name);
    name.filter(is_section_name).map(|name| (kind, name)).ok_or_else(|| IgnoredItem::SectionName(inside.into()))
}

/// Reads a name by the rules of Python's `shlex`, as the AWS CLI does: `'my dev'`, `"my dev"` and `my\\ dev` are one name.
/// `None` if there are several words, or a quote is open.
fn unquoted(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['\'', '"', '\\', ' ', '\t']) {
        return Some(text.into());
    }
    let (mut name, mut quote, mut chars) = (String::new(), None, text.chars());
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ' | '\t') => return None,
            (None, '\\') => name.push(chars.next()?),
            (Some('"'), '\\') => match chars.next()? {
                escaped @ ('"' | '\\') => name.push(escaped),
                other => name.extend(['\\', other]),
            },
            _ => name.push(c),
        }
    }
    quote.is_none().then(|| name.into())
}

/// Returns true if sections and properties may have this name.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/.%@:+".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_properties_are_limited() {
        let line = |text: String| {
            let read = read(SharedFile::Credentials, &Arc::from(Path::new("/k")), text.as_bytes());
            read.err().map(|error| (error.line as usize, error.expected))
        };
        let sections = |count: usize| (0..count).map(|number| format!("[{number}]\n")).collect::<String>();
        assert_eq!(line(sections(MAX_SECTIONS)), None);
        assert_eq!(line(sections(MAX_SECTIONS + 5)), Some((MAX_SECTIONS + 1, ExpectedSyntax::FewerSections)));
        assert_eq!(line(sections(10) + &"[0]\n".repeat(MAX_SECTIONS)), None, "one section, repeated");
        for start in ["[a]\n", "[profile ignored]\n", "[a]\ns =\n"] {
            let one = if start.contains('=') { " a=b\n" } else { "a=b\n" };
            let full = MAX_PROPERTIES - start.matches('=').count();
            assert_eq!(line(start.to_owned() + &one.repeat(full)), None);
            let (at, expected) = line(start.to_owned() + &one.repeat(full + 1)).unwrap();
            assert_eq!((at, expected), (1 + MAX_PROPERTIES + 1, ExpectedSyntax::FewerProperties), "{start}");
        }
    }
}
