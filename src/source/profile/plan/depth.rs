//! The lengths of all profile chains, for lists of profiles. Each profile is visited only once.

use std::collections::HashMap;

use crate::shared_config::SharedConfig;
use crate::shared_config::section::Section;
use crate::source::profile::plan::{CREDENTIAL_SOURCE, MAX_LINKS, SOURCE_PROFILE, is_role, value};

/// The chain lengths of the visited profiles. A chain is a profile with all its source profiles.
#[derive(Debug)]
pub(crate) struct Depths<'f> {
    files: &'f SharedConfig,
    known: HashMap<&'f str, usize>,
    /// The number of visited profiles.
    #[cfg(test)]
    visited: usize,
}

impl<'f> Depths<'f> {
    pub(crate) fn new(files: &'f SharedConfig) -> Self {
        Self {
            files,
            known: HashMap::new(),
            #[cfg(test)]
            visited: 0,
        }
    }

    /// Returns true if the chain of this profile is too long for a plan.
    pub(crate) fn is_too_long(&mut self, first: &'f Section) -> bool {
        self.source(first, false).is_some_and(|source| self.length(source) >= MAX_LINKS)
    }

    fn source(&self, section: &'f Section, is_source: bool) -> Option<&'f Section> {
        if !is_role(section, is_source) || value(section, CREDENTIAL_SOURCE).is_some() {
            return None;
        }
        let (name, _) = value(section, SOURCE_PROFILE)?;
        self.files.profile(name).filter(|source| source.name() != section.name())
    }

    /// Returns the number of profiles from this one to the last. A cycle counts as one profile, so that the plan
    /// reports the cycle and not the length. A cycle that is too long counts in full.
    fn length(&mut self, from: &'f Section) -> usize {
        let (mut path, mut positions) = (Vec::new(), HashMap::new());
        let mut next = Some(from);
        let mut depth = loop {
            let Some(section) = next else { break 0 };
            if let Some(known) = self.known.get(section.name()) {
                break *known;
            }
            if let Some(start) = positions.get(section.name()) {
                let cycle: Vec<&str> = path.split_off(*start);
                let depth = if cycle.len() > MAX_LINKS { cycle.len() } else { 1 };
                self.known.extend(cycle.into_iter().map(|name| (name, depth)));
                break depth;
            }
            positions.insert(section.name(), path.len());
            path.push(section.name());
            #[cfg(test)]
            {
                self.visited += 1;
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
    fn visits_each_profile_once() {
        const LENGTH: usize = 2_000;
        let mut config: String = (0..LENGTH)
            .map(|at| format!("[profile p{at}]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = p{}\n", at + 1))
            .collect();
        config += &format!("[profile p{LENGTH}]\naws_access_key_id = A\naws_secret_access_key = s\n");
        let content = FileContent { path: Path::new("/c"), bytes: config.as_bytes() };
        let files = SharedConfig::parse(Some(content), None).unwrap();
        let mut depths = Depths::new(&files);
        let too_long = (0..LENGTH).filter(|at| depths.is_too_long(files.profile(&format!("p{at}")).unwrap())).count();
        assert!(too_long > 0 && too_long < LENGTH && depths.visited <= LENGTH + 1, "{too_long} {}", depths.visited);
    }
}
