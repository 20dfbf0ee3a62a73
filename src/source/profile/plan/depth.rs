//! How many profiles follow each other as sources, for lists: in one walk over all of them, however they are chained.

use std::collections::HashMap;

use crate::shared_config::SharedConfig;
use crate::shared_config::property::Section;
use crate::source::profile::plan::{CREDENTIAL_SOURCE, MAX_LINKS, SOURCE_PROFILE, is_role, value};

/// Of every profile that has been met on the way, how many follow it as a source of another one.
#[derive(Debug)]
pub(crate) struct Depths<'f> {
    files: &'f SharedConfig,
    known: HashMap<&'f str, usize>,
    /// How many profiles were walked over.
    #[cfg(test)]
    walked: usize,
}

impl<'f> Depths<'f> {
    pub(crate) fn new(files: &'f SharedConfig) -> Self {
        Self {
            files,
            known: HashMap::new(),
            #[cfg(test)]
            walked: 0,
        }
    }

    /// Whether the plan of this profile would be refused for its length.
    pub(crate) fn is_too_long(&mut self, first: &'f Section) -> bool {
        self.source(first, false).is_some_and(|source| self.of(source) >= MAX_LINKS)
    }

    fn source(&self, section: &'f Section, is_source: bool) -> Option<&'f Section> {
        if !is_role(section, is_source) || value(section, CREDENTIAL_SOURCE).is_some() {
            return None;
        }
        let (name, _) = value(section, SOURCE_PROFILE)?;
        self.files.profile(name).filter(|source| source.name() != section.name())
    }

    /// The profiles from this one, itself included, to the last. Those of a circle count as one, which the plan finds and
    /// tells, unless the circle alone is too long.
    fn of(&mut self, from: &'f Section) -> usize {
        let (mut path, mut places) = (Vec::new(), HashMap::new());
        let mut next = Some(from);
        let mut depth = loop {
            let Some(section) = next else { break 0 };
            if let Some(known) = self.known.get(section.name()) {
                break *known;
            }
            if let Some(start) = places.get(section.name()) {
                let circle: Vec<&str> = path.split_off(*start);
                let depth = if circle.len() > MAX_LINKS { circle.len() } else { 1 };
                self.known.extend(circle.into_iter().map(|name| (name, depth)));
                break depth;
            }
            places.insert(section.name(), path.len());
            path.push(section.name());
            #[cfg(test)]
            {
                self.walked += 1;
            }
            next = self.source(section, true);
        };
        while let Some(name) = path.pop() {
            depth += 1;
            self.known.insert(name, depth);
        }
        depth
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::shared_config::FileContent;

    #[test]
    fn each_profile_of_a_chain_is_walked_over_once() {
        const LENGTH: usize = 2_000;
        let mut config: String = (0..LENGTH)
            .map(|at| format!("[profile p{at}]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = p{}\n", at + 1))
            .collect();
        config += &format!("[profile p{LENGTH}]\naws_access_key_id = A\naws_secret_access_key = s\n");
        let content = FileContent { path: Path::new("/c"), bytes: config.as_bytes() };
        let files = SharedConfig::parse(Some(content), None).unwrap();
        let mut depths = Depths::new(&files);
        let too_long = (0..LENGTH).filter(|at| depths.is_too_long(files.profile(&format!("p{at}")).unwrap())).count();
        assert!(too_long > 0 && too_long < LENGTH && depths.walked <= LENGTH + 1, "{too_long} {}", depths.walked);
    }
}
