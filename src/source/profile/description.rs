//! A line for each profile: the way in which it gets credentials, or the reason why it gets none.

use std::fmt;

use crate::context::Context;
use crate::model::error::SourceError;
use crate::shared_config::SharedConfig;
use crate::shared_config::section::Section;
use crate::source::profile::files::ProfileFiles;
use crate::source::profile::plan::depth::Depths;
use crate::source::profile::plan::link::{Method, ProfileLink};
use crate::source::profile::plan::trust::PropertyTrust;
use crate::source::profile::{build, plan};

/// Describes the plan of each profile in a few words, `role arn:… ← profile base (keys)`, or its error. `failure` returns
/// the reason why the plan gives no credentials, as far as it is known without a load.
///
/// The time is linear in the length of the text, because a chain that is too long is not followed from each of its
/// profiles.
pub(crate) fn describe<'f>(
    files: &'f SharedConfig,
    trusted: PropertyTrust<'f>,
    failure: &'f dyn Fn(&Section, &ProfileLink) -> Option<String>,
) -> impl Iterator<Item = (&'f Section, ProfileDescription)> {
    let mut depths = Depths::new(files);
    files.profiles().filter_map(|name| files.profile(name)).map(move |section| {
        let planned = match depths.is_too_long(section) {
            true => Err(plan::chain_too_long(section)),
            false => plan::plan(files, section, trusted),
        };
        (section, description(planned, |link| failure(section, link)))
    })
}

/// Returns the reason why a planned profile gives no credentials: its S3 endpoint must not be used, or the session of its
/// keys has ended. `None` if only a load can tell.
pub(crate) fn failure(
    context: &Context,
    profiles: &ProfileFiles,
    section: &Section,
    link: &ProfileLink,
) -> Option<String> {
    if let Some(Err(error)) = profiles.settings(context, Some(section)).s3_endpoint {
        return Some(SourceError::from(error).message.into());
    }
    let mut base = link;
    while let Method::Role { base: next, .. } = &base.method {
        base = next;
    }
    match &base.method {
        Method::Keys(keys) => build::ended_session(keys, context),
        _ => None,
    }
}

pub(super) fn description(
    planned: Result<Option<ProfileLink>, SourceError>,
    failure: impl Fn(&ProfileLink) -> Option<String>,
) -> ProfileDescription {
    match planned {
        Ok(Some(link)) => match failure(&link) {
            Some(reason) => ProfileDescription::Fails(reason),
            None => ProfileDescription::Method(link.to_string()),
        },
        Ok(None) => ProfileDescription::NoCredentials,
        Err(error) => ProfileDescription::Wrong(error),
    }
}

/// The way in which a profile gets credentials, or the reason why it gets none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProfileDescription {
    Method(String),
    NoCredentials,
    /// A setting is wrong.
    Wrong(SourceError),
    /// The settings are right, and give no credentials now.
    Fails(String),
}

impl ProfileDescription {
    /// Returns true if the profile says how it gets credentials, and gets none.
    pub(crate) fn is_failing(&self) -> bool {
        matches!(self, Self::Wrong(_) | Self::Fails(_))
    }
}

impl fmt::Display for ProfileDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method(method) => f.write_str(method),
            Self::NoCredentials => f.write_str("no credentials"),
            Self::Wrong(error) => write!(f, "wrong: {error}"),
            Self::Fails(reason) => write!(f, "fails: {reason}"),
        }
    }
}
