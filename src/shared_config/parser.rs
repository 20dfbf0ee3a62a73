//! From lines to sections: which of them count, and what belongs to which.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::shared_config::SharedFile;
use crate::shared_config::error::{ExpectedSyntax, IgnoredItem, ParseError, ParseWarning};
use crate::shared_config::lexer::{LexError, Line, LineKind, lines, sub_property, text};
use crate::shared_config::property::Section;
use crate::shared_config::section::{RawProperty, RawSection, SectionKind};

/// The warnings of one file that are kept. Somebody who mends a file reads the first few.
const WARNINGS: usize = 100;

/// What one file says, each name once in each list.
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
        let mut reader = Parser::new(file);
        for line in lines(text(bytes)?) {
            let line = line?;
            reader.take(line).map_err(|expected| LexError { line: line.number, expected })?;
        }
        Ok(reader.finish(path))
    };
    sections().map_err(|LexError { line, expected }| ParseError { file, path: Arc::clone(path), line, expected })
}

/// The state of a pass over one file.
struct Parser<'a> {
    file: SharedFile,
    /// The first one takes what is ignored: its lines have to be right too, and continuations have their place there.
    drafts: Vec<RawSection<'a>>,
    index: HashMap<(SectionKind, &'a str), usize>,
    /// The draft that properties go to.
    section: Option<usize>,
    /// The draft whose last property a continuation would continue.
    above: Option<usize>,
    ignored: Vec<(u32, IgnoredItem)>,
    /// How many more there were, and the line of the first of them.
    unsaid: (usize, u32),
}

/// The index of the draft for what is ignored.
const IGNORED: usize = 0;

impl<'a> Parser<'a> {
    fn new(file: SharedFile) -> Self {
        Self {
            file,
            drafts: vec![RawSection { kind: SectionKind::Ignored, name: "", line: 0, properties: Vec::new() }],
            index: HashMap::new(),
            section: None,
            above: None,
            ignored: Vec::new(),
            unsaid: (0, 0),
        }
    }

    fn take(&mut self, Line { number, kind, is_cut }: Line<'a>) -> Result<(), ExpectedSyntax> {
        match kind {
            LineKind::Header(inside) => {
                self.above = None;
                self.section = Some(self.header(number, inside));
                Ok(())
            }
            LineKind::Property(name, first) => {
                self.property(number, name, first)?;
                if is_cut && self.above != Some(IGNORED) {
                    self.ignore(number, IgnoredItem::Command);
                }
                Ok(())
            }
            LineKind::Continuation(text) => self.continuation(number, text),
        }
    }

    fn header(&mut self, line: u32, inside: &'a str) -> usize {
        match sort(self.file, inside) {
            Ok((kind, name)) => *self.index.entry((kind, name)).or_insert_with(|| {
                self.drafts.push(RawSection { kind, name, line, properties: Vec::new() });
                self.drafts.len() - 1
            }),
            Err(ignored) => {
                self.ignore(line, ignored);
                IGNORED
            }
        }
    }

    fn property(&mut self, line: u32, name: &'a str, first: &'a str) -> Result<(), ExpectedSyntax> {
        let mut draft = self.section.ok_or(ExpectedSyntax::Header)?;
        if draft != IGNORED && !is_name(name) {
            self.ignore(line, IgnoredItem::PropertyName);
            draft = IGNORED;
        }
        self.above = Some(draft);
        self.drafts[draft].properties.push(RawProperty::new(name, line, first));
        Ok(())
    }

    fn continuation(&mut self, line: u32, text: &'a str) -> Result<(), ExpectedSyntax> {
        let missing = if self.section.is_some() { ExpectedSyntax::Property } else { ExpectedSyntax::Header };
        let draft = self.above.ok_or(missing)?;
        let property = self.drafts[draft].properties.last_mut().ok_or(missing)?;
        if !property.value.is_empty() {
            property.continuations.push(text);
            return Ok(());
        }
        let (name, value) = sub_property(text)?;
        if is_name(name) {
            property.sub_properties.push((name, line, value));
        } else if draft != IGNORED {
            self.ignore(line, IgnoredItem::SubPropertyName);
        }
        Ok(())
    }

    fn ignore(&mut self, line: u32, ignored: IgnoredItem) {
        match (self.ignored.len(), self.unsaid) {
            (..WARNINGS, _) => self.ignored.push((line, ignored)),
            (_, (0, _)) => self.unsaid = (1, line),
            (_, (count, first)) => self.unsaid = (count + 1, first),
        }
    }

    fn finish(mut self, path: &Arc<Path>) -> FileSections {
        let mut sections = FileSections::default();
        let default_gives_way = self.index.contains_key(&(SectionKind::Profile, "default"));
        self.drafts.retain(|draft| match draft.kind {
            SectionKind::Ignored => false,
            SectionKind::Default if default_gives_way => {
                self.ignored.push((draft.line, IgnoredItem::Default));
                false
            }
            _ => true,
        });
        for draft in &self.drafts {
            let section = draft.finish(self.file, path);
            match draft.kind {
                SectionKind::Ignored | SectionKind::Default | SectionKind::Profile => sections.profiles.push(section),
                SectionKind::SsoSession => sections.sso_sessions.push(section),
                SectionKind::Services => sections.services.push(section),
            }
        }
        self.ignored.sort_by_key(|(line, _)| *line);
        if let (count @ 1.., first) = self.unsaid {
            self.ignored.push((first, IgnoredItem::More(count)));
        }
        let warning = |(line, ignored)| ParseWarning { file: self.file, path: Arc::clone(path), line, ignored };
        sections.warnings = self.ignored.into_iter().map(warning).collect();
        sections
    }
}

/// What the text between the brackets of a header begins, and the name alone.
fn sort(file: SharedFile, inside: &str) -> Result<(SectionKind, &str), IgnoredItem> {
    let (word, name) = match inside.split_once([' ', '\t']) {
        Some((word, name)) => (word, name.trim_start_matches([' ', '\t'])),
        None => ("", inside),
    };
    let sort = match (file, word, name) {
        (SharedFile::Config, "", "default") => SectionKind::Default,
        (SharedFile::Config, "profile", _) | (SharedFile::Credentials, "", _) => SectionKind::Profile,
        (SharedFile::Config, "sso-session", _) => SectionKind::SsoSession,
        (SharedFile::Config, "services", _) => SectionKind::Services,
        (SharedFile::Config, ..) => return Err(IgnoredItem::OtherSection(inside.into())),
        (SharedFile::Credentials, "profile", _) => return Err(IgnoredItem::Prefixed(inside.into())),
        (SharedFile::Credentials, ..) => return Err(IgnoredItem::SectionName(inside.into())),
    };
    if is_name(name) { Ok((sort, name)) } else { Err(IgnoredItem::SectionName(inside.into())) }
}

/// Whether sections and properties may bear this name.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/.%@:+".contains(&byte))
}
