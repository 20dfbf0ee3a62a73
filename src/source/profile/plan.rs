//! The plan of a profile: the method of each profile in its chain, down to keys or a token. Planning is pure.
//!
//! The order of the methods within a profile is botocore's (`create_credential_resolver`): a role with a source, web
//! identity, SSO, keys of the credentials file, sign-in, a process, keys of the config file. As in all SDKs, a profile
//! that is used as a source profile prefers its keys to its role. Its other methods keep their order.

pub(crate) mod depth;
pub(crate) mod keys;
pub(crate) mod link;
pub(crate) mod role;
pub(crate) mod trust;

use crate::aws::arn::{REWRITE_ACCOUNT_ID, is_account_id, wrong_account_id};
use crate::login::sso::session::SsoSession;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::location::Location;
use crate::model::nearest::did_you_mean;
use crate::model::text::{Escaped, Quoted, usable};
use crate::shared_config::section::{Property, Section};
use crate::shared_config::{SharedConfig, SharedFile};
use crate::source::profile::plan::keys::{file_of, keys};
use crate::source::profile::plan::link::{Method, ProfileLink};
use crate::source::profile::plan::role::{credential_source, role, unknown_credential_source};
use crate::source::profile::plan::trust::PropertyTrust;
use crate::source::spec::RoleSpec;

pub(crate) const ACCESS_KEY_ID: &str = "aws_access_key_id";
pub(crate) const SECRET_ACCESS_KEY: &str = "aws_secret_access_key";
pub(crate) const SESSION_TOKEN: &str = "aws_session_token";
/// The old name of `aws_session_token`. botocore still prefers it.
pub(crate) const LEGACY_TOKEN: &str = "aws_security_token";
pub(crate) const ACCOUNT_ID: &str = "aws_account_id";
/// The properties with the end of a session that login tools write beside its keys: saml2aws, aws-mfa,
/// aws-azure-login, gsts and others.
pub(crate) const SESSION_ENDS: [&str; 5] =
    ["aws_credential_expiration", "expiration", "aws_expiration", "x_security_token_expires", "aws_session_expiration"];
pub(crate) const ROLE_ARN: &str = "role_arn";
pub(crate) const SOURCE_PROFILE: &str = "source_profile";
pub(crate) const CREDENTIAL_SOURCE: &str = "credential_source";
pub(crate) const WEB_IDENTITY_TOKEN_FILE: &str = "web_identity_token_file";
pub(crate) const ROLE_SESSION_NAME: &str = "role_session_name";
pub(crate) const DURATION_SECONDS: &str = "duration_seconds";
pub(crate) const SSO_SESSION: &str = "sso_session";
pub(crate) const SSO_ACCOUNT_ID: &str = "sso_account_id";
pub(crate) const SSO_ROLE_NAME: &str = "sso_role_name";
pub(crate) const CREDENTIAL_PROCESS: &str = "credential_process";
pub(crate) const LOGIN_SESSION: &str = "login_session";

/// The maximum number of profiles in a chain. A longer chain is a mistake, and every link costs a request. (boto3 fails
/// at about 140 links, at the recursion limit of Python.)
pub(crate) const MAX_LINKS: usize = 256;

/// The properties of all methods, for messages.
pub(crate) const METHODS: &str = "keys, role_arn, sso_session, login_session or credential_process";

/// Plans a profile. `None` if it has no property about credentials.
///
/// # Errors
/// Contradictory or incomplete properties, with file and line.
pub(crate) fn plan(
    files: &SharedConfig,
    section: &Section,
    trusted: PropertyTrust<'_>,
) -> Result<Option<ProfileLink>, SourceError> {
    Planner { files, trusted, first: section, path: Vec::new() }.plan()
}

/// Makes an error of a chain with more than [`MAX_LINKS`] profiles.
pub(crate) fn chain_too_long(first: &Section) -> SourceError {
    SourceError::misconfigured(format!("the chain of source_profile has more than {MAX_LINKS} profiles"))
        .at(first.get(SOURCE_PROFILE).map(|at| location(at, first)))
        .with_hint("name a profile with keys earlier in the chain")
}

/// Returns true if a profile uses its role. A source profile with keys uses the keys instead.
fn is_role(section: &Section, is_source: bool) -> bool {
    let has_keys = || section.get(ACCESS_KEY_ID).or_else(|| section.get(SECRET_ACCESS_KEY)).is_some();
    section.get(ROLE_ARN).is_some() && section.get(WEB_IDENTITY_TOKEN_FILE).is_none() && !(is_source && has_keys())
}

struct Planner<'a> {
    files: &'a SharedConfig,
    trusted: PropertyTrust<'a>,
    first: &'a Section,
    /// The path of profiles from the first to the current one. It serves to find cycles, and for messages.
    path: Vec<Box<str>>,
}

/// The plan of one profile.
enum PlanStep<'a> {
    /// The last link of the chain. `None` if the profile has no property about credentials.
    End(Option<ProfileLink>),
    Role(RoleStep<'a>, PlanBase<'a>),
}

/// The role of a profile, with the property `role_arn`.
struct RoleStep<'a> {
    section: &'a Section,
    role: RoleSpec,
    property: &'a Property,
}

enum PlanBase<'a> {
    /// Another profile, with the property `source_profile` that names it.
    Profile(&'a Section, &'a Property),
    /// A source that needs no other profile.
    Link(Box<ProfileLink>),
}

impl<'a> Planner<'a> {
    /// Plans one profile after another in a loop, so a long chain takes no more stack than a short one.
    fn plan(mut self) -> Result<Option<ProfileLink>, SourceError> {
        let (mut roles, mut section, mut named) = (Vec::new(), self.first, None);
        let end = loop {
            match self.step(section)? {
                PlanStep::End(end) => break end,
                PlanStep::Role(role, PlanBase::Link(link)) => {
                    roles.push(role);
                    break Some(*link);
                }
                PlanStep::Role(role, PlanBase::Profile(source, at)) => {
                    named = Some((section, at));
                    roles.push(role);
                    section = source;
                }
            }
        };
        let Some(end) = end else {
            let Some((section, at)) = named else { return Ok(None) };
            let message = "source_profile names a profile that has no properties for credentials";
            let message = format!("{message}: {}", self.path_so_far());
            return Err(error_at(at, section, message).with_hint(format!("give it {METHODS}")));
        };
        self.check_roles(&roles, &end)?;
        Ok(Some(roles.into_iter().rev().fold(end, |base, RoleStep { section, role, property }| ProfileLink {
            profile: section.name().into(),
            location: location(property, section),
            method: Method::Role { role, base: Box::new(base) },
        })))
    }

    fn step(&mut self, section: &'a Section) -> Result<PlanStep<'a>, SourceError> {
        let is_source = !self.path.is_empty();
        self.path.push(section.name().into());
        if is_role(section, is_source) {
            return self.role(section);
        }
        let other = match self.web_identity(section)? {
            None => self.sso(section)?,
            link => link,
        };
        if other.is_some() {
            return Ok(PlanStep::End(other));
        }
        let keys = keys(section, self.trusted)?;
        let in_credentials_file = |section: &Section| {
            [ACCESS_KEY_ID, SECRET_ACCESS_KEY]
                .iter()
                .any(|name| file_of(section, name) == Some(SharedFile::Credentials))
        };
        Ok(PlanStep::End(match keys {
            Some(keys) if in_credentials_file(section) => Some(keys),
            keys => self.sign_in(section)?.or(self.process(section)?).or(keys),
        }))
    }

    fn role(&self, section: &'a Section) -> Result<PlanStep<'a>, SourceError> {
        let (role, property) = role(section)?;
        let base = match (value(section, SOURCE_PROFILE), value(section, CREDENTIAL_SOURCE)) {
            (Some((_, at)), Some(_)) => {
                return Err(error_at(at, section, "source_profile and credential_source are both set")
                    .with_hint("keep one of the two"));
            }
            (None, None) => {
                let message = "role_arn is set without source_profile, credential_source or web_identity_token_file: the \
                               role has no base credentials";
                return Err(error_at(property, section, message).with_hint("add one of them"));
            }
            (None, Some((word, at))) => {
                let source = credential_source(word).ok_or_else(|| unknown_credential_source(word, at, section))?;
                PlanBase::Link(Box::new(link(at, section, Method::CredentialSource(source))))
            }
            (Some((name, at)), None) => self.source(section, name, at)?,
        };
        Ok(PlanStep::Role(RoleStep { section, role, property }, base))
    }

    /// Returns the profile that another profile names as its source profile.
    fn source(&self, section: &'a Section, name: &str, at: &'a Property) -> Result<PlanBase<'a>, SourceError> {
        let path = || format!("{} → {}", self.path_so_far(), Escaped(name));
        let error = |message: &str| error_at(at, section, format!("{message}: {}", path()));
        let Some(source) = self.files.profile(name) else {
            // The error is unsettled: another program may be writing the file, and may yet add the profile.
            let error = error("source_profile names a profile that is in neither file")
                .with_hint(missing_hint(self.files, name));
            return Err(SourceError { kind: ErrorKind::Unsettled, ..error });
        };
        if name == section.name() {
            return keys(section, self.trusted)?.map(|link| PlanBase::Link(Box::new(link))).ok_or_else(|| {
                error("source_profile names the profile itself, which has no keys")
                    .with_hint("add them, or name another profile")
            });
        }
        if self.path.iter().any(|seen| **seen == *name) {
            return Err(error("source_profile makes a cycle").with_hint("give one of these profiles keys"));
        }
        if self.path.len() >= MAX_LINKS {
            return Err(chain_too_long(self.first));
        }
        Ok(PlanBase::Profile(source, at))
    }

    /// Prints the path as `A → B → C`.
    fn path_so_far(&self) -> String {
        let names: Vec<String> = self.path.iter().map(|name| Escaped(name).to_string()).collect();
        names.join(" → ")
    }

    fn web_identity(&self, section: &Section) -> Result<Option<ProfileLink>, SourceError> {
        let Some((token_file, at)) = value(section, WEB_IDENTITY_TOKEN_FILE) else { return Ok(None) };
        self.check_trust(section, WEB_IDENTITY_TOKEN_FILE, at)?;
        if section.get(ROLE_ARN).is_none() {
            let message = "web_identity_token_file is set without role_arn: the role is unknown";
            return Err(error_at(at, section, message).with_hint("add role_arn"));
        }
        if let Some(arn) = section.get(ROLE_ARN) {
            self.check_trust(section, ROLE_ARN, arn)?;
        }
        let (role, _) = role(section)?;
        let method = Method::WebIdentity { role, token_file: token_file.into() };
        Ok(Some(link(at, section, method)))
    }

    /// Plans SSO. As in botocore, a profile uses SSO if it names an SSO account or an SSO role.
    fn sso(&self, section: &Section) -> Result<Option<ProfileLink>, SourceError> {
        let Some((_, at)) = value(section, SSO_ACCOUNT_ID).or_else(|| value(section, SSO_ROLE_NAME)) else {
            return Ok(None);
        };
        self.check_sso(section)?;
        let needed = |name: &str| -> Result<Box<str>, SourceError> {
            let Some((text, at)) = value(section, name) else {
                return Err(error_at(at, section, format!("there is no {name}")).with_hint(CONFIGURE_SSO));
            };
            let usable = usable("text", text);
            Ok(usable.map_err(|error| error_at(at, section, format!("{name}: {error}")).with_hint(REWRITE))?.into())
        };
        let (account_id, role_name) = (needed(SSO_ACCOUNT_ID)?, needed(SSO_ROLE_NAME)?);
        if let Some((account_id, at)) = value(section, SSO_ACCOUNT_ID).filter(|(id, _)| !is_account_id(id)) {
            let message = format!("sso_account_id {}", wrong_account_id(account_id));
            return Err(error_at(at, section, message).with_hint(REWRITE_ACCOUNT_ID));
        }
        let session = SsoSession::of_profile(self.files, section)?.ok_or_else(|| {
            let message = "the login is unknown: sso_session is missing (or sso_start_url and sso_region)";
            error_at(at, section, message).with_hint(CONFIGURE_SSO)
        })?;
        let method = Method::Sso { session, account_id, role_name };
        Ok(Some(link(at, section, method)))
    }

    fn sign_in(&self, section: &Section) -> Result<Option<ProfileLink>, SourceError> {
        let Some((session, at)) = value(section, LOGIN_SESSION) else { return Ok(None) };
        self.check_trust(section, LOGIN_SESSION, at)?;
        let session = usable("login session", session).map_err(|error| {
            error_at(at, section, error).with_hint(format!("run: aws login --profile {}", Quoted(section.name())))
        })?;
        let method = Method::SignIn { session: session.into() };
        Ok(Some(ProfileLink { profile: section.name().into(), location: location(at, section), method }))
    }

    fn process(&self, section: &Section) -> Result<Option<ProfileLink>, SourceError> {
        let Some((command, at)) = value(section, CREDENTIAL_PROCESS) else { return Ok(None) };
        self.check_trust(section, CREDENTIAL_PROCESS, at)?;
        if command.contains('\0') {
            let message = "credential_process contains a NUL character, which no command can have";
            return Err(error_at(at, section, message).with_hint("remove it"));
        }
        let account_id =
            value(section, ACCOUNT_ID).filter(|(_, at)| (self.trusted)(at).is_ok()).map(|(id, _)| id.into());
        // As in botocore, the lines of a command are one command.
        let method = Method::Process { command: command.replace('\n', " ").as_str().into(), account_id };
        Ok(Some(link(at, section, method)))
    }
}

/// The hint for a value with control characters.
pub(crate) const REWRITE: &str = "write it again, in one line";

/// The hint for incomplete SSO properties.
const CONFIGURE_SSO: &str = "`aws configure sso` writes all of them";

/// The hint for an unknown profile.
pub(crate) const LIST_PROFILES: &str = "`credenza profiles` lists all profiles";

/// Returns the hint for a missing profile: the reason why its section is ignored, or a similar name.
pub(crate) fn missing_hint(files: &SharedConfig, name: &str) -> String {
    let ignored = files.ignored_section(name).map(ToString::to_string);
    ignored.unwrap_or_else(|| match did_you_mean(name, files.profiles()) {
        Some(hint) => format!("{hint} {LIST_PROFILES}"),
        None => LIST_PROFILES.into(),
    })
}

/// Returns a value that is not blank, with its property.
pub(crate) fn value<'s>(section: &'s Section, name: &str) -> Option<(&'s str, &'s Property)> {
    let property = section.get(name)?;
    let text = property.value().trim();
    (!text.is_empty()).then_some((text, property))
}

/// Returns the location of a property, with its profile.
pub(crate) fn location(at: &Property, section: &Section) -> Location {
    at.location().in_profile(section.name())
}

/// Makes the link of a profile. The property decides the method.
pub(crate) fn link(at: &Property, section: &Section, method: Method) -> ProfileLink {
    ProfileLink { profile: section.name().into(), location: location(at, section), method }
}

/// Makes an error about a property of a profile.
pub(crate) fn error_at(at: &Property, section: &Section, message: impl std::fmt::Display) -> SourceError {
    SourceError::misconfigured(message.to_string()).at(location(at, section))
}

#[cfg(test)]
mod tests;
