//! The AWS shared files of this user, as sources and commands see them: found, read through the [`World`], parsed once
//! per change in this process however many look at them.

use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use crate::aws::settings::Settings;
use crate::credentials::Escaped;
use crate::failure::{Failure, Kind};
use crate::files::{Contents, FileError, Owner, Wanted};
use crate::shared_files::{Content, Location, Named, Origin, Place, Property, Section, SharedFiles, locate};
use crate::world::World;

/// Both files as they are now.
#[derive(Clone)]
pub struct Profiles {
    parsed: Arc<Parsed>,
    location: Location,
}

/// The files, or why there are none.
type Parsed = Result<Read, Box<str>>;

/// What they say, and whose they are.
struct Read {
    files: SharedFiles,
    owners: Vec<(PathBuf, Owner)>,
}

impl Profiles {
    /// Opens the files: those that are named, else those of the environment, else those of the home directory. Whoever
    /// reads through a watched world is told when what `digest` makes of them becomes other.
    ///
    /// # Errors
    /// When a path cannot be made sense of. Files that cannot be read or parsed are an error of [`Profiles::files`].
    pub async fn open<D>(world: &World, named: &Named, digest: D) -> Result<Self, Failure>
    where
        D: Fn(&SharedFiles) -> u64 + Send + Sync + 'static,
    {
        let environment = &world.environment;
        let location = locate(environment.variables(), environment.home(), named)
            .map_err(|error| Failure::misconfigured(error.to_string()))?;
        let wanted = |place: &Place| Wanted { path: place.path.clone(), required: place.origin == Origin::Named };
        let key: Vec<Wanted> = [&location.config, &location.credentials].into_iter().flatten().map(wanted).collect();
        let of = location.clone();
        let digest = move |parsed: &Parsed| match parsed {
            // Files that cannot be read differ from all that can.
            Err(_) => 0,
            Ok(read) => 1 | digest(&read.files).wrapping_add(read.owners()) << 1,
        };
        let parsed = world.files.parsed(&key, move |contents| parse(&of, contents), digest).await;
        Ok(Self { parsed, location })
    }

    /// What they say together.
    ///
    /// # Errors
    /// A named file that is missing, one that cannot be read, the first line that breaks the grammar: unsettled, since
    /// somebody may be writing it.
    pub fn files(&self) -> Result<&SharedFiles, Failure> {
        match &*self.parsed {
            Ok(read) => Ok(&read.files),
            Err(message) => Err(Failure::new(Kind::Unsettled, message.clone())),
        }
    }

    /// Whether the file that a property stands in may say what is run and where tokens go.
    ///
    /// # Errors
    /// Whose file it is: `belongs to user 1001, …`.
    pub fn trusted(&self, world: &World, property: &Property) -> Result<(), String> {
        let owners = self.parsed.as_ref().as_ref().map_or(&[][..], |read| &read.owners);
        match owners.iter().find(|(path, _)| **path == **property.path()) {
            Some((_, owner)) => {
                owner.trusted(world.uid(), &world.trusted_owners).map_err(|distrust| distrust.to_string())
            }
            None => Err("is of an unknown owner".into()),
        }
    }

    /// How services of AWS are called for this profile, or without one.
    #[must_use]
    pub fn settings(&self, world: &World, profile: Option<&Section>) -> Settings {
        let trusted = |property: &Property| {
            self.trusted(world, property).map_err(|distrust| {
                let path = Escaped(&property.path().to_string_lossy()).to_string();
                format!("{path}, line {}: it says where requests go, and the file {distrust}", property.line())
            })
        };
        let files = self.parsed.as_ref().as_ref().map(|read| &read.files).ok();
        match files {
            Some(files) => Settings::new(&world.environment, files, profile, &trusted),
            None => Settings::of_environment(&world.environment),
        }
    }

    /// The places of both files, for messages.
    #[must_use]
    pub fn places(&self) -> String {
        let places: Vec<String> = [&self.location.credentials, &self.location.config]
            .into_iter()
            .flatten()
            .map(|place| Escaped(&place.path.to_string_lossy()).to_string())
            .collect();
        if places.is_empty() { "the home directory, which is unknown".into() } else { places.join(" or ") }
    }
}

impl std::fmt::Debug for Profiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profiles").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Read {
    /// Whose word it is decides what of it counts.
    fn owners(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.owners.hash(&mut hasher);
        hasher.finish()
    }
}

/// One number for several sections: equal when a reader of these properties would find nothing new in any of them.
#[must_use]
pub fn digest<'s>(sections: impl IntoIterator<Item = &'s Section>, properties: &[&str]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for section in sections {
        (section.name(), section.digest(properties)).hash(&mut hasher);
    }
    hasher.finish()
}

/// What the bytes of both files come to. A missing file is as bad as whoever named it says.
fn parse(location: &Location, contents: Vec<Result<Contents, FileError>>) -> Parsed {
    let mut read: [Option<(&Place, Contents)>; 2] = [None, None];
    let mut owners = Vec::new();
    let places = [&location.config, &location.credentials].into_iter().enumerate();
    let present = places.filter_map(|(slot, place)| place.as_ref().map(|place| (slot, place)));
    for ((slot, place), content) in present.zip(contents) {
        match content {
            Ok(content) => {
                owners.push((place.path.clone(), content.owner));
                read[slot] = Some((place, content));
            }
            Err(error) if error.is_missing() => match place.origin {
                Origin::Named => return Err(format!("{error}; create it, or name another file").into()),
                Origin::Variable(variable) => {
                    tracing::warn!(variable, %error, "a variable names a shared file that is missing; it counts as empty, as in the SDKs");
                }
                Origin::Default => {}
            },
            Err(error) => return Err(format!("{error}; see that it is a file that we may read").into()),
        }
    }
    let content =
        |slot: usize| read[slot].as_ref().map(|(place, content)| Content { path: &place.path, bytes: &content.bytes });
    let files = SharedFiles::parse(content(0), content(1)).map_err(|error| error.to_string())?;
    for warning in files.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(Read { files, owners })
}
