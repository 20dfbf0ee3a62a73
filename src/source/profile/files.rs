//! The AWS shared files of this user, as sources and commands see them: found, read through the [`Context`], parsed once
//! per change in this process however many look at them.

use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use crate::aws::settings::Settings;
use crate::context::Context;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::text::Escaped;
use crate::os::files::contents::{FileContents, FileError, FileOwner};
use crate::os::files::parse_cache::FileRequest;
use crate::shared_config::locate::{NamedPaths, PathOrigin, SharedFilePath, SharedFilePaths};
use crate::shared_config::property::{Property, Section};
use crate::shared_config::{FileContent, SharedConfig, locate};

/// Both files as they are now.
#[derive(Clone)]
pub(crate) struct ProfileFiles {
    parsed: Arc<ParsedProfiles>,
    location: SharedFilePaths,
}

/// The files, or why there are none.
type ParsedProfiles = Result<OwnedProfiles, Box<str>>;

/// What they say, and whose they are.
struct OwnedProfiles {
    files: SharedConfig,
    owners: Vec<(PathBuf, FileOwner)>,
}

impl ProfileFiles {
    /// Opens the files: those that are named, else those of the environment, else those of the home directory. Whoever
    /// reads through a watched world is told when what `digest` makes of them becomes other.
    ///
    /// # Errors
    /// When a path cannot be made sense of. Files that cannot be read or parsed are an error of [`ProfileFiles::files`].
    pub(crate) async fn open<D>(context: &Context, named: &NamedPaths, digest: D) -> Result<Self, SourceError>
    where
        D: Fn(&SharedConfig) -> u64 + Send + Sync + 'static,
    {
        let environment = &context.environment;
        let location = locate(environment.variables(), environment.home(), named)
            .map_err(|error| SourceError::misconfigured(error.to_string()))?;
        let wanted = |place: &SharedFilePath| FileRequest {
            path: place.path.clone(),
            required: place.origin == PathOrigin::Named,
        };
        let key: Vec<FileRequest> =
            [&location.config, &location.credentials].into_iter().flatten().map(wanted).collect();
        let of = location.clone();
        let digest = move |parsed: &ParsedProfiles| match parsed {
            // Files that cannot be read differ from all that can.
            Err(_) => 0,
            Ok(read) => 1 | digest(&read.files).wrapping_add(read.owners()) << 1,
        };
        let parsed = context.files.parsed(&key, move |contents| parse(&of, contents), digest).await;
        Ok(Self { parsed, location })
    }

    /// What they say together.
    ///
    /// # Errors
    /// A named file that is missing, one that cannot be read, the first line that breaks the grammar: unsettled, since
    /// somebody may be writing it.
    pub(crate) fn files(&self) -> Result<&SharedConfig, SourceError> {
        match &*self.parsed {
            Ok(read) => Ok(&read.files),
            Err(message) => Err(SourceError::new(ErrorKind::Unsettled, message.clone())),
        }
    }

    /// Whether the file that a property stands in may say what is run and where tokens go.
    ///
    /// # Errors
    /// Whose file it is: `belongs to user 1001, …`.
    pub(crate) fn trusted(&self, context: &Context, property: &Property) -> Result<(), String> {
        let owners = self.parsed.as_ref().as_ref().map_or(&[][..], |read| &read.owners);
        match owners.iter().find(|(path, _)| **path == **property.path()) {
            Some((_, owner)) => {
                owner.trusted(context.uid(), &context.trusted_owners).map_err(|distrust| distrust.to_string())
            }
            None => Err("is of an unknown owner".into()),
        }
    }

    /// How services of AWS are called for this profile, or without one.
    #[must_use]
    pub(crate) fn settings(&self, context: &Context, profile: Option<&Section>) -> Settings {
        let trusted =
            |property: &Property| self.trusted(context, property).map_err(|distrust| format!("the file {distrust}"));
        let files = self.parsed.as_ref().as_ref().map(|read| &read.files).ok();
        match files {
            Some(files) => Settings::new(&context.environment, files, profile, &trusted),
            None => Settings::of_environment(&context.environment),
        }
    }

    /// The places of both files, for messages.
    #[must_use]
    pub(crate) fn places(&self) -> String {
        let places: Vec<String> = [&self.location.credentials, &self.location.config]
            .into_iter()
            .flatten()
            .map(|place| Escaped(&place.path.to_string_lossy()).to_string())
            .collect();
        if places.is_empty() { "the home directory, which is unknown".into() } else { places.join(" or ") }
    }
}

impl std::fmt::Debug for ProfileFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profiles").field("location", &self.location).finish_non_exhaustive()
    }
}

impl OwnedProfiles {
    /// Whose word it is decides what of it counts.
    fn owners(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.owners.hash(&mut hasher);
        hasher.finish()
    }
}

/// One number for several sections: equal when a reader of these properties would find nothing new in any of them.
#[must_use]
pub(crate) fn digest<'s>(sections: impl IntoIterator<Item = &'s Section>, properties: &[&str]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for section in sections {
        (section.name(), section.digest(properties)).hash(&mut hasher);
    }
    hasher.finish()
}

/// What the bytes of both files come to. A missing file is as bad as whoever named it says.
fn parse(location: &SharedFilePaths, contents: Vec<Result<FileContents, FileError>>) -> ParsedProfiles {
    let mut read: [Option<(&SharedFilePath, FileContents)>; 2] = [None, None];
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
                PathOrigin::Named => return Err(format!("{error}; create it, or name another file").into()),
                PathOrigin::Variable(variable) => {
                    tracing::warn!(variable, %error, "a variable names a shared file that is missing; it counts as empty, as in the SDKs");
                }
                PathOrigin::Default => {}
            },
            Err(error) => return Err(format!("{error}; see that it is a file that we may read").into()),
        }
    }
    let content = |slot: usize| {
        read[slot].as_ref().map(|(place, content)| FileContent { path: &place.path, bytes: &content.bytes })
    };
    let files = SharedConfig::parse(content(0), content(1)).map_err(|error| error.to_string())?;
    for warning in files.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(OwnedProfiles { files, owners })
}
