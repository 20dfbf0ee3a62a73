//! From lines to sections: which of them count, and what belongs to which.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::File;
use super::draft::{Draft, DraftProperty, Sort, finish};
use super::error::{Expected, Ignored, ParseError, Warning};
use super::lines::{Fault, Kind, Line, lines, sub_property, text};
use super::profile::Section;

/// The warnings of one file that are kept. Somebody who mends a file reads the first few.
const WARNINGS: usize = 100;

/// What one file says, each name once in each list.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub(super) profiles: Vec<Section>,
    pub(super) sso_sessions: Vec<Section>,
    pub(super) services: Vec<Section>,
    pub(super) warnings: Vec<Warning>,
}

/// Reads one file.
pub(super) fn read(file: File, path: &Arc<Path>, bytes: &[u8]) -> Result<Sections, ParseError> {
    let sections = || {
        let mut reader = Reader::new(file);
        for line in lines(text(bytes)?) {
            let line = line?;
            reader.take(line).map_err(|expected| Fault { line: line.number, expected })?;
        }
        reader.finish(path)
    };
    sections().map_err(|Fault { line, expected }| ParseError { file, path: Arc::clone(path), line, expected })
}

/// The state of a pass over one file.
struct Reader<'a> {
    file: File,
    /// The first one takes what is ignored: its lines have to be right too, and continuations have their place there.
    drafts: Vec<Draft<'a>>,
    index: HashMap<(Sort, &'a str), usize>,
    /// The draft that properties go to.
    section: Option<usize>,
    /// The draft whose last property a continuation would continue.
    above: Option<usize>,
    ignored: Vec<(u32, Ignored)>,
    /// How many more there were, and the line of the first of them.
    unsaid: (usize, u32),
}

/// The index of the draft for what is ignored.
const IGNORED: usize = 0;

impl<'a> Reader<'a> {
    fn new(file: File) -> Self {
        Self {
            file,
            drafts: vec![Draft { sort: Sort::Ignored, name: "", line: 0, properties: Vec::new() }],
            index: HashMap::new(),
            section: None,
            above: None,
            ignored: Vec::new(),
            unsaid: (0, 0),
        }
    }

    fn take(&mut self, Line { number, kind, is_cut }: Line<'a>) -> Result<(), Expected> {
        match kind {
            Kind::Header(inside) => {
                self.above = None;
                self.section = Some(self.header(number, inside));
                Ok(())
            }
            Kind::Property(name, first) => {
                self.property(number, name, first)?;
                if is_cut && self.above != Some(IGNORED) {
                    self.ignore(number, Ignored::Command);
                }
                Ok(())
            }
            Kind::Continuation(text) => self.continuation(number, text),
        }
    }

    fn header(&mut self, line: u32, inside: &'a str) -> usize {
        match sort(self.file, inside) {
            Ok((sort, name)) => *self.index.entry((sort, name)).or_insert_with(|| {
                self.drafts.push(Draft { sort, name, line, properties: Vec::new() });
                self.drafts.len() - 1
            }),
            Err(ignored) => {
                self.ignore(line, ignored);
                IGNORED
            }
        }
    }

    fn property(&mut self, line: u32, name: &'a str, first: &'a str) -> Result<(), Expected> {
        let mut draft = self.section.ok_or(Expected::Header)?;
        if draft != IGNORED && !is_name(name) {
            self.ignore(line, Ignored::PropertyName);
            draft = IGNORED;
        }
        self.above = Some(draft);
        self.drafts[draft].properties.push(DraftProperty::new(name, line, first));
        Ok(())
    }

    fn continuation(&mut self, line: u32, text: &'a str) -> Result<(), Expected> {
        let missing = if self.section.is_some() { Expected::Property } else { Expected::Header };
        let draft = self.above.ok_or(missing)?;
        let property = self.drafts[draft].properties.last_mut().ok_or(missing)?;
        if !property.first.is_empty() {
            property.more.push(text);
            return Ok(());
        }
        let (name, value) = sub_property(text)?;
        if is_name(name) {
            property.sub_properties.push((name, line, value));
        } else if draft != IGNORED {
            self.ignore(line, Ignored::SubPropertyName);
        }
        Ok(())
    }

    fn ignore(&mut self, line: u32, ignored: Ignored) {
        match (self.ignored.len(), self.unsaid) {
            (..WARNINGS, _) => self.ignored.push((line, ignored)),
            (_, (0, _)) => self.unsaid = (1, line),
            (_, (count, first)) => self.unsaid = (count + 1, first),
        }
    }

    fn finish(mut self, path: &Arc<Path>) -> Result<Sections, Fault> {
        let mut sections = Sections::default();
        let default_gives_way = self.index.contains_key(&(Sort::Profile, "default"));
        self.drafts.retain(|draft| match draft.sort {
            Sort::Ignored => false,
            Sort::Default if default_gives_way => {
                self.ignored.push((draft.line, Ignored::Default));
                false
            }
            _ => true,
        });
        for (draft, section) in self.drafts.iter().zip(finish(&self.drafts, self.file, path)?) {
            match draft.sort {
                Sort::Ignored | Sort::Default | Sort::Profile => sections.profiles.push(section),
                Sort::SsoSession => sections.sso_sessions.push(section),
                Sort::Services => sections.services.push(section),
            }
        }
        self.ignored.sort_by_key(|(line, _)| *line);
        if let (count @ 1.., first) = self.unsaid {
            self.ignored.push((first, Ignored::More(count)));
        }
        let warning = |(line, ignored)| Warning { file: self.file, path: Arc::clone(path), line, ignored };
        sections.warnings = self.ignored.into_iter().map(warning).collect();
        Ok(sections)
    }
}

/// What the text between the brackets of a header begins, and the name alone.
fn sort(file: File, inside: &str) -> Result<(Sort, &str), Ignored> {
    let (word, name) = match inside.split_once([' ', '\t']) {
        Some((word, name)) => (word, name.trim_start_matches([' ', '\t'])),
        None => ("", inside),
    };
    let sort = match (file, word, name) {
        (File::Config, "", "default") => Sort::Default,
        (File::Config, "profile", _) | (File::Credentials, "", _) => Sort::Profile,
        (File::Config, "sso-session", _) => Sort::SsoSession,
        (File::Config, "services", _) => Sort::Services,
        (File::Config, ..) => return Err(Ignored::OtherSection(inside.into())),
        (File::Credentials, "profile", _) => return Err(Ignored::Prefixed(inside.into())),
        (File::Credentials, ..) => return Err(Ignored::SectionName(inside.into())),
    };
    if is_name(name) { Ok((sort, name)) } else { Err(Ignored::SectionName(inside.into())) }
}

/// Whether sections and properties may bear this name.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/.%@:+".contains(&byte))
}
