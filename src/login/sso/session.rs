//! The SSO sessions of the shared files.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use crate::aws::endpoint::check_region;
use crate::model::error::SourceError;
use crate::model::location::Location;
use crate::model::nearest::did_you_mean;
use crate::model::text::{Escaped, Quoted, usable};
use crate::shared_config::SharedConfig;
use crate::shared_config::section::{Property, Section};

/// The scope that gives a refresh token. The AWS CLI writes it into every session that it configures.
const DEFAULT_SCOPE: &str = "sso:account:access";

const SESSION: &str = "sso_session";
const START_URL: &str = "sso_start_url";
const REGION: &str = "sso_region";
const SCOPES: &str = "sso_registration_scopes";

/// A session of IAM Identity Center: an `[sso-session NAME]` section or the legacy keys of a profile.
///
/// It prints as `SSO session work`, or as `SSO login at https://…` for the legacy keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SsoSession {
    /// The name of the section. `None` for the legacy keys: their tokens are never refreshed.
    pub name: Option<Box<str>>,
    /// The start URL: `sso_start_url`.
    pub start_url: Box<str>,
    /// `sso_region`: the region of IAM Identity Center, not that of the profile.
    pub region: Box<str>,
    /// The location of `sso_region`.
    pub region_location: Option<Location>,
    /// `sso_registration_scopes`, else the scope that gives a refresh token. Empty for the legacy keys.
    pub scopes: Vec<Box<str>>,
}

/// A session. If it comes from legacy keys, the name of a profile with those keys is added.
pub(crate) type DescribedSession = (SsoSession, Option<Box<str>>);

impl SsoSession {
    /// Makes a session with a refreshable login. `name` must be the name of the section in the shared config file,
    /// because the file in the login cache depends on it.
    #[must_use]
    pub fn new(name: &str, start_url: &str, region: &str) -> Self {
        Self {
            name: Some(name.into()),
            start_url: start_url.into(),
            region: region.into(),
            region_location: None,
            scopes: vec![DEFAULT_SCOPE.into()],
        }
    }

    /// Returns the session of a profile: the section that `sso_session` names, else the legacy keys. `None` if the
    /// profile has neither.
    ///
    /// # Errors
    /// If the section does not exist, is incomplete or contradicts the profile. The error has a location.
    pub(crate) fn of_profile(files: &SharedConfig, profile: &Section) -> Result<Option<Self>, SourceError> {
        let Some(named) = present(profile, SESSION) else {
            let legacy = match (present(profile, START_URL), present(profile, REGION)) {
                (None, None) => Ok(None),
                (Some(url), Some(region)) => Self::legacy(url, region).map(Some),
                (Some(url), None) => Err(incomplete(url, START_URL, REGION)),
                (None, Some(region)) => Err(incomplete(region, REGION, START_URL)),
            };
            return legacy.map_err(|error| in_profile(error, profile));
        };
        let name = named.value().trim();
        let section = files.sso_session(name).ok_or_else(|| {
            SourceError::misconfigured(format!(
                "it names the sso_session {}, and no [sso-session {}] is in the config file",
                Escaped(name),
                Escaped(name)
            ))
            .with_hint(missing_section_hint(files, name))
            .at(at(named, profile))
        })?;
        for key in [START_URL, REGION] {
            if let (Some(own), Some(of_session)) = (present(profile, key), present(section, key))
                && own.value().trim() != of_session.value().trim()
            {
                return Err(SourceError::misconfigured(format!(
                    "{key} differs from the one in [sso-session {}] ({})",
                    Escaped(name),
                    of_session.location()
                ))
                .with_hint("remove it here")
                .at(at(own, profile)));
            }
        }
        Self::of_section(section).map(Some).map_err(|error| error.at(at(named, profile)))
    }

    /// Returns the session that an `[sso-session NAME]` section describes.
    ///
    /// # Errors
    /// If the section is incomplete. The error has a location, unless the section is empty.
    pub(crate) fn of_section(section: &Section) -> Result<Self, SourceError> {
        let (url, region) = match (present(section, START_URL), present(section, REGION)) {
            (Some(url), Some(region)) => (url, region),
            (Some(url), None) => return Err(incomplete(url, START_URL, REGION)),
            (None, Some(region)) => return Err(incomplete(region, REGION, START_URL)),
            (None, None) => {
                return Err(SourceError::misconfigured(format!(
                    "[sso-session {}] has neither {START_URL} nor {REGION}",
                    Escaped(section.name())
                ))
                .with_hint("add both (aws configure sso-session)"));
            }
        };
        let written = section.get(SCOPES).map(|property| checked(SCOPES, property)).transpose()?;
        let scopes: Vec<Box<str>> = written
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|scope| !scope.is_empty())
            .map(Into::into)
            .collect();
        Ok(Self {
            name: Some(section.name().into()),
            start_url: checked(START_URL, url)?.into(),
            region: checked(REGION, region)?.into(),
            region_location: Some(region.location()),
            scopes: if scopes.is_empty() { vec![DEFAULT_SCOPE.into()] } else { scopes },
        })
    }

    fn legacy(url: &Property, region: &Property) -> Result<Self, SourceError> {
        let region_location = Some(region.location());
        let (start_url, region) = (checked(START_URL, url)?.into(), checked(REGION, region)?.into());
        Ok(Self { name: None, start_url, region, region_location, scopes: Vec::new() })
    }

    /// Returns all sessions of the shared files, and the errors of unusable ones. If two sessions have one cache file,
    /// the first is returned.
    pub(crate) fn all(files: &SharedConfig) -> (Vec<DescribedSession>, Vec<SourceError>) {
        let (mut sessions, mut errors) = (BTreeMap::new(), Vec::new());
        for section in files.sso_sessions() {
            match Self::of_section(section) {
                Ok(session) => {
                    sessions.entry(session.key().to_owned()).or_insert((session, None));
                }
                Err(error) => errors.push(error),
            }
        }
        for name in files.profiles() {
            // Take only profiles with legacy keys: the sessions of sections are in the list already.
            let is_legacy =
                |profile: &&Section| present(profile, SESSION).is_none() && present(profile, START_URL).is_some();
            let Some(profile) = files.profile(name).filter(is_legacy) else { continue };
            match Self::of_profile(files, profile) {
                Ok(Some(session)) => {
                    sessions.entry(session.key().to_owned()).or_insert((session, Some(name.into())));
                }
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        (sessions.into_values().collect(), errors)
    }

    /// Returns the text that is hashed for the name of the cache file.
    pub(crate) fn key(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.start_url)
    }

    /// Returns the command that logs in to this session. `profile` is a profile with the legacy keys.
    pub(crate) fn login_command(&self, profile: Option<&str>) -> String {
        match (&self.name, profile) {
            (Some(name), _) => format!("credenza login --sso-session {}", Quoted(name)),
            (None, Some(profile)) => format!("credenza login --profile {}", Quoted(profile)),
            (None, None) => "credenza login".into(),
        }
    }
}

impl fmt::Display for SsoSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "SSO session {}", Escaped(name)),
            None => write!(f, "SSO login at {}", Escaped(&self.start_url)),
        }
    }
}

/// Returns the hint for a missing section: the reason why it is ignored, or how to add it.
pub(crate) fn missing_section_hint(files: &SharedConfig, name: &str) -> String {
    const ADD: &str = "add it (aws configure sso-session), or correct the name";
    let ignored = files.ignored_section(name).map(ToString::to_string);
    ignored.unwrap_or_else(|| match did_you_mean(name, files.sso_sessions().map(Section::name)) {
        Some(hint) => format!("{hint} Else {ADD}"),
        None => ADD.into(),
    })
}

/// Returns a property of the section, unless it is empty.
fn present<'s>(section: &'s Section, name: &str) -> Option<&'s Property> {
    section.get(name).filter(|property| !property.value().trim().is_empty())
}

fn checked<'p>(name: &'static str, property: &'p Property) -> Result<&'p str, SourceError> {
    if property.value().trim().is_empty() {
        return Ok("");
    }
    let text = usable(name, property.value())
        .map_err(|error| SourceError::from(error).with_hint("write it again, in one line").at(property.location()))?;
    if name == REGION {
        // Clear `is_of_region`, so that the error keeps the location of sso_region and does not get the location of the
        // profile's region.
        check_region(text).map_err(|error| SourceError {
            is_of_region: false,
            ..error.while_trying(REGION).at(property.location())
        })?;
    }
    Ok(text)
}

fn incomplete(property: &Property, has: &str, lacks: &str) -> SourceError {
    SourceError::misconfigured(format!("{has} is set without {lacks}")).with_hint("add it").at(property.location())
}

/// Returns the location of a property of a profile.
fn at(property: &Property, profile: &Section) -> Location {
    property.location().in_profile(profile.name())
}

/// Returns the error with the name of the profile in its location.
fn in_profile(mut error: SourceError, profile: &Section) -> SourceError {
    error.location = error.location.map(|location| location.in_profile(profile.name()));
    error
}
