//! Where to log in, as the shared files say it.

use std::collections::BTreeMap;
use std::fmt;

use crate::aws::endpoint::checked as checked_region;
use crate::model::error::SourceError;
use crate::model::location::Location;
use crate::model::text::{Escaped, Quoted, usable};
use crate::shared_config::SharedConfig;
use crate::shared_config::property::{Property, Section};

/// Without this scope there is no refresh token; the AWS CLI writes it into every session that it configures.
const DEFAULT_SCOPE: &str = "sso:account:access";

const SESSION: &str = "sso_session";
const START_URL: &str = "sso_start_url";
const REGION: &str = "sso_region";
const SCOPES: &str = "sso_registration_scopes";

/// A place to log in at, as an `[sso-session NAME]` section or the legacy keys of a profile describe it.
///
/// It prints as it is spoken of: `SSO session work`, or `SSO login at https://…` for the legacy keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SsoSession {
    /// The name of the section; `None` for the legacy keys, whose tokens are never refreshed.
    pub name: Option<Box<str>>,
    /// `sso_start_url`.
    pub start_url: Box<str>,
    /// `sso_region`: where the service lives, not the region of the profile.
    pub region: Box<str>,
    /// The place of the region.
    pub region_location: Option<Location>,
    /// `sso_registration_scopes`, else the one that gives a refresh token; none for the legacy keys.
    pub scopes: Vec<Box<str>>,
}

/// A session and, for legacy keys, a profile that has them.
pub(crate) type DescribedSession = (SsoSession, Option<Box<str>>);

impl SsoSession {
    /// A session with this name, start URL and region, whose login can be refreshed. The name is that of the section in the
    /// shared config file, because it selects the file in the login cache.
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

    /// The session of a profile: the section that its `sso_session` names, else its own legacy keys. `None` when it says
    /// nothing of either.
    ///
    /// # Errors
    /// When the section does not exist, is incomplete or contradicts the profile; file and line are named.
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
            .with_hint("add it (aws configure sso-session), or correct the name")
            .at(at(named, profile))
        })?;
        for key in [START_URL, REGION] {
            if let (Some(own), Some(of_session)) = (present(profile, key), present(section, key))
                && own.value().trim() != of_session.value().trim()
            {
                return Err(SourceError::misconfigured(format!(
                    "{key} says one thing here and another in [sso-session {}] ({})",
                    Escaped(name),
                    of_session.location()
                ))
                .with_hint("remove it here")
                .at(at(own, profile)));
            }
        }
        Self::of_section(section).map(Some).map_err(|error| error.at(at(named, profile)))
    }

    /// The session that an `[sso-session NAME]` section describes.
    ///
    /// # Errors
    /// When it is incomplete; file and line are named.
    pub(crate) fn of_section(section: &Section) -> Result<Self, SourceError> {
        let (url, region) = match (present(section, START_URL), present(section, REGION)) {
            (Some(url), Some(region)) => (url, region),
            (Some(url), None) => return Err(incomplete(url, START_URL, REGION)),
            (None, Some(region)) => return Err(incomplete(region, REGION, START_URL)),
            (None, None) => {
                return Err(SourceError::misconfigured(format!(
                    "[sso-session {}] has neither {START_URL} nor {REGION}; add both (aws configure sso-session)",
                    Escaped(section.name())
                )));
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

    /// Every session of the shared files once, and what is wrong with those that cannot be used. Of two that share a
    /// file of the cache the first counts.
    #[must_use]
    pub(crate) fn all(files: &SharedConfig) -> (Vec<DescribedSession>, Vec<SourceError>) {
        let (mut sessions, mut failures) = (BTreeMap::new(), Vec::new());
        for section in files.sso_sessions() {
            match Self::of_section(section) {
                Ok(session) => {
                    sessions.entry(session.key().to_owned()).or_insert((session, None));
                }
                Err(failure) => failures.push(failure),
            }
        }
        for name in files.profiles() {
            // Those of sections have been seen with them.
            let is_legacy =
                |profile: &&Section| present(profile, SESSION).is_none() && present(profile, START_URL).is_some();
            let Some(profile) = files.profile(name).filter(is_legacy) else { continue };
            match Self::of_profile(files, profile) {
                Ok(Some(session)) => {
                    sessions.entry(session.key().to_owned()).or_insert((session, Some(name.into())));
                }
                Ok(None) => {}
                Err(failure) => failures.push(failure),
            }
        }
        (sessions.into_values().collect(), failures)
    }

    /// What names the file of the cache.
    pub(crate) fn key(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.start_url)
    }

    /// The command that logs in here; `profile` is one that has the legacy keys.
    #[must_use]
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

/// A property that says something.
fn present<'s>(section: &'s Section, name: &str) -> Option<&'s Property> {
    section.get(name).filter(|property| !property.value().trim().is_empty())
}

fn checked<'p>(name: &'static str, property: &'p Property) -> Result<&'p str, SourceError> {
    if property.value().trim().is_empty() {
        return Ok("");
    }
    let wrong = |why: &dyn fmt::Display| SourceError::misconfigured(why.to_string()).at(property.location());
    let text = usable(name, property.value()).map_err(|why| wrong(&why).with_hint("write it anew, in one line"))?;
    if name == REGION {
        checked_region(text).map_err(|failure| wrong(&format!("{REGION}: {failure}")))?;
    }
    Ok(text)
}

fn incomplete(property: &Property, has: &str, lacks: &str) -> SourceError {
    SourceError::misconfigured(format!("{has} stands there without {lacks}"))
        .with_hint("add it")
        .at(property.location())
}

/// The line of a property of a profile.
fn at(property: &Property, profile: &Section) -> Location {
    property.location().in_profile(profile.name())
}

/// The same error, with the name of the profile that its line belongs to.
fn in_profile(mut error: SourceError, profile: &Section) -> SourceError {
    error.location = error.location.map(|location| location.in_profile(profile.name()));
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_config::FileContent;
    use std::path::Path;

    fn files(config: &str) -> SharedConfig {
        SharedConfig::parse(Some(FileContent { path: Path::new("/c"), bytes: config.as_bytes() }), None).unwrap()
    }

    fn of_profile(config: &str) -> Result<Option<SsoSession>, SourceError> {
        let files = files(config);
        SsoSession::of_profile(&files, files.profile("p").unwrap())
    }

    #[test]
    fn a_profile_names_its_session_or_describes_it() {
        let work = "[sso-session work]\nsso_start_url = https://d\nsso_region = r\n";
        let session = of_profile(&format!("{work}[profile p]\nsso_session = work\nsso_region = r\n")).unwrap().unwrap();
        assert_eq!((session.name.as_deref(), &*session.start_url, &*session.region), (Some("work"), "https://d", "r"));
        assert_eq!(session.scopes, [Box::from(DEFAULT_SCOPE)]);
        assert_eq!(
            (session.to_string(), session.login_command(Some("p"))),
            ("SSO session work".into(), "credenza login --sso-session work".into())
        );
        let scopes = format!("{work}sso_registration_scopes = a:b, c:d,\n[profile p]\nsso_session = work\n");
        assert_eq!(of_profile(&scopes).unwrap().unwrap().scopes, ["a:b", "c:d"].map(Box::from));
        let legacy = of_profile("[profile p]\nsso_start_url = https://d\nsso_region = r\n").unwrap().unwrap();
        assert_eq!((legacy.name.as_deref(), legacy.scopes.len()), (None, 0));
        assert_eq!(
            (legacy.to_string(), legacy.login_command(Some("p"))),
            ("SSO login at https://d".into(), "credenza login --profile p".into())
        );
        assert_eq!(of_profile("[profile p]\nregion = r\n"), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_line() {
        for (config, says) in [
            (
                "[profile p]\nsso_session = work\n",
                "/c, line 2: profile p: it names the sso_session work, and no [sso-session work]",
            ),
            ("[sso-session work]\n[profile p]\nsso_session = work\n", "[sso-session work] has neither"),
            (
                "[sso-session work]\nsso_region = r\n[profile p]\nsso_session = work\n",
                "/c, line 2: profile p: sso_region stands there without sso_start_url; add it",
            ),
            (
                "[sso-session work]\nsso_start_url = u\n[profile p]\nsso_session = work\n",
                "/c, line 2: profile p: sso_start_url stands there without sso_region",
            ),
            (
                "[profile p]\nsso_start_url = u\n",
                "/c, line 2: profile p: sso_start_url stands there without sso_region",
            ),
            ("[profile p]\nsso_region = r\n", "/c, line 2: profile p: sso_region stands there without sso_start_url"),
            (
                "[sso-session work]\nsso_start_url = u\nsso_region = r\n[profile p]\nsso_session = work\nsso_region = q\n",
                "/c, line 6: profile p: sso_region says one thing here and another in [sso-session work] (/c, line 3); remove",
            ),
            (
                "[profile p]\nsso_start_url = u\n v\nsso_region = r\n",
                "/c, line 2: profile p: the sso_start_url contains a control character (a line break, perhaps); write it anew",
            ),
            (
                "[profile p]\nsso_start_url = u\nsso_region = eu west\n",
                "/c, line 3: profile p: sso_region: the region \"eu west\" is none: it must look like eu-west-1",
            ),
        ] {
            let failure = of_profile(config).unwrap_err();
            assert!(failure.to_string().contains(says), "{says}: {failure}");
            assert_eq!(failure.kind, crate::model::error::ErrorKind::Misconfigured);
        }
    }

    #[test]
    fn all_are_each_there_once() {
        let mut config = String::from(
            "[profile x]\nregion = r\n[sso-session broken]\nsso_region = r\n[profile lame]\nsso_start_url = u\n[profile stray]\nsso_region = r\n",
        );
        for session in ["a", "b"] {
            config += &format!("[sso-session {session}]\nsso_start_url = https://{session}\nsso_region = r\n");
        }
        for n in 0..40 {
            config += &format!("[profile p{n:02}]\n");
            config += match n % 3 {
                0 => "sso_session = a\n",
                1 => "sso_session = b\n",
                _ => "sso_start_url = https://c\nsso_region = r\n",
            };
        }
        let (sessions, failures) = SsoSession::all(&files(&config));
        let keys: Vec<_> = sessions.iter().map(|(session, profile)| (session.key(), profile.as_deref())).collect();
        assert_eq!(keys, [("a", None), ("b", None), ("https://c", Some("p02"))]);
        assert_eq!(failures.len(), 2, "{failures:?}");
    }
}
