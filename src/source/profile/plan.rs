//! What a profile comes to: the way its credentials are obtained, hop by hop, down to where keys or a token are. Pure.
//!
//! The order of the ways within a profile is botocore's (`create_credential_resolver`): a role with a source, web
//! identity, SSO, keys of the credentials file, sign-in, a process, keys of the config file. As in all SDKs, a profile that
//! is the source of another one and has keys is not asked for its own role; the order of its other ways stays.

pub(crate) mod depth;
pub(crate) mod keys;
pub(crate) mod link;
pub(crate) mod role;

use crate::login::sso::session::SsoSession;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::location::Location;
use crate::model::text::{Escaped, Quoted, usable};
use crate::shared_config::property::{Property, Section};
use crate::shared_config::{SharedConfig, SharedFile};
pub(crate) use crate::source::profile::dependencies::{USED, dependencies};
pub(crate) use crate::source::profile::plan::depth::Depths;
use crate::source::profile::plan::keys::{file_of, keys};
pub(crate) use crate::source::profile::plan::link::{Method, ProfileLink};
use crate::source::profile::plan::role::{credential_source, no_credential_source, role};
use crate::source::spec::RoleSpec;

pub(crate) const ACCESS_KEY_ID: &str = "aws_access_key_id";
pub(crate) const SECRET_ACCESS_KEY: &str = "aws_secret_access_key";
pub(crate) const SESSION_TOKEN: &str = "aws_session_token";
/// The name that the token had first. botocore prefers it still.
pub(crate) const LEGACY_TOKEN: &str = "aws_security_token";
pub(crate) const ACCOUNT_ID: &str = "aws_account_id";
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

/// A chain longer than this is a mistake, and every hop costs a call. (boto3 ends at about 140, where Python does.)
pub(crate) const MAX_LINKS: usize = 256;

/// What a profile can have its credentials from, for messages.
pub(crate) const WAYS: &str = "keys, role_arn, sso_session, login_session or credential_process";

/// Whether the file that a property stands in may say what is run and where tokens go; the reason when not.
pub(crate) type PropertyTrust<'a> = &'a dyn Fn(&Property) -> Result<(), String>;

/// What a profile comes to; `None` when it says nothing about credentials.
///
/// # Errors
/// Everything that contradicts itself, with file and line.
pub(crate) fn plan(
    files: &SharedConfig,
    section: &Section,
    trusted: PropertyTrust<'_>,
) -> Result<Option<ProfileLink>, SourceError> {
    Planner { files, trusted, first: section, path: Vec::new() }.plan()
}

/// The profiles that follow this one as sources are too many.
pub(crate) fn too_long(first: &Section) -> SourceError {
    SourceError::misconfigured(format!("more than {MAX_LINKS} profiles are each the source of another one"))
        .at(first.get(SOURCE_PROFILE).map(|at| location(at, first)))
        .with_hint("name one with keys earlier")
}

/// Whether a profile is the role that it names: as the source of another one it is its keys, where it has any.
fn is_role(section: &Section, is_source: bool) -> bool {
    let has_keys = || section.get(ACCESS_KEY_ID).or_else(|| section.get(SECRET_ACCESS_KEY)).is_some();
    section.get(ROLE_ARN).is_some() && section.get(WEB_IDENTITY_TOKEN_FILE).is_none() && !(is_source && has_keys())
}

struct Planner<'a> {
    files: &'a SharedConfig,
    trusted: PropertyTrust<'a>,
    first: &'a Section,
    /// The profiles from the first one to this, for cycles and messages.
    path: Vec<Box<str>>,
}

/// What one profile comes to.
enum PlanStep<'a> {
    /// Credentials, or nothing about any.
    End(Option<ProfileLink>),
    /// A role, and how the one comes by its credentials who assumes it.
    RoleOverBase(RoleOverBase<'a>, PlanBase<'a>),
}

/// The role of a profile, and where it stands.
struct RoleOverBase<'a> {
    section: &'a Section,
    role: RoleSpec,
    stands: &'a Property,
}

/// Who assumes a role.
enum PlanBase<'a> {
    /// Another profile, which stands there as the source.
    Profile(&'a Section, &'a Property),
    /// This.
    Link(ProfileLink),
}

impl<'a> Planner<'a> {
    /// Profile by profile and then back, in a loop: a long chain takes no more stack than a short one.
    fn plan(mut self) -> Result<Option<ProfileLink>, SourceError> {
        let (mut roles, mut section, mut named) = (Vec::new(), self.first, None);
        let end = loop {
            match self.step(section)? {
                PlanStep::End(end) => break end,
                PlanStep::RoleOverBase(role, PlanBase::Link(link)) => {
                    roles.push(role);
                    break Some(link);
                }
                PlanStep::RoleOverBase(role, PlanBase::Profile(source, at)) => {
                    named = Some((section, at));
                    roles.push(role);
                    section = source;
                }
            }
        };
        let Some(end) = end else {
            let Some((section, at)) = named else { return Ok(None) };
            // The path has come to it.
            let message = "source_profile names a profile that says nothing about credentials";
            let message = format!("{message}: {}; give it {WAYS}", self.told());
            return Err(error_at(at, section, message));
        };
        Ok(Some(roles.into_iter().rev().fold(end, |base, RoleOverBase { section, role, stands }| ProfileLink {
            profile: section.name().into(),
            location: location(stands, section),
            way: Method::Role { role, base: Box::new(base) },
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
        let keys = keys(section)?;
        let in_credentials_file = |section: &Section| {
            [ACCESS_KEY_ID, SECRET_ACCESS_KEY]
                .iter()
                .any(|name| file_of(section, name) == Some(SharedFile::Credentials))
        };
        Ok(PlanStep::End(match keys {
            Some(keys) if in_credentials_file(section) => Some(keys),
            keys => sign_in(section)?.or(self.process(section)?).or(keys),
        }))
    }

    fn role(&self, section: &'a Section) -> Result<PlanStep<'a>, SourceError> {
        let (role, stands) = role(section)?;
        let wrong = |at: &Property, message: String| error_at(at, section, message);
        let base = match (value(section, SOURCE_PROFILE), value(section, CREDENTIAL_SOURCE)) {
            (Some((_, at)), Some(_)) => {
                return Err(wrong(
                    at,
                    "source_profile and credential_source are both there; keep one of the two".into(),
                ));
            }
            (None, None) => {
                let message = "role_arn stands there without source_profile, credential_source or \
                               web_identity_token_file: nothing says who assumes the role; add one of them";
                return Err(wrong(stands, message.into()));
            }
            (None, Some((word, at))) => PlanBase::Link(ProfileLink {
                profile: section.name().into(),
                location: location(at, section),
                way: Method::CredentialSource(
                    credential_source(word).ok_or_else(|| wrong(at, no_credential_source(word)))?,
                ),
            }),
            (Some((name, at)), None) => self.source(section, name, at)?,
        };
        Ok(PlanStep::RoleOverBase(RoleOverBase { section, role, stands }, base))
    }

    /// The profile that another one names as its source.
    fn source(&self, section: &'a Section, name: &str, at: &'a Property) -> Result<PlanBase<'a>, SourceError> {
        let path = || format!("{} → {}", self.told(), Escaped(name));
        let wrong = |message: String| error_at(at, section, message);
        let Some(source) = self.files.profile(name) else {
            // A file that is being written may not have come to it yet.
            let message = format!(
                "source_profile names a profile that is in neither file: {}; `credenza profiles` lists those that are",
                path()
            );
            return Err(SourceError { kind: ErrorKind::Unsettled, ..error_at(at, section, message) });
        };
        if name == section.name() {
            return keys(section)?.map(PlanBase::Link).ok_or_else(|| {
                let message = "source_profile names the profile itself, which has no keys of its own";
                wrong(format!("{message}: {}; add them, or name another profile", path()))
            });
        }
        if self.path.iter().any(|seen| **seen == *name) {
            return Err(wrong(format!(
                "source_profile goes round in a circle: {}; one of them needs keys of its own",
                path()
            )));
        }
        if self.path.len() >= MAX_LINKS {
            return Err(too_long(self.first));
        }
        Ok(PlanBase::Profile(source, at))
    }

    /// `A → B → C`.
    fn told(&self) -> String {
        let names: Vec<String> = self.path.iter().map(|name| Escaped(name).to_string()).collect();
        names.join(" → ")
    }

    fn web_identity(&self, section: &Section) -> Result<Option<ProfileLink>, SourceError> {
        let Some((token_file, at)) = value(section, WEB_IDENTITY_TOKEN_FILE) else { return Ok(None) };
        self.obeyed(section, WEB_IDENTITY_TOKEN_FILE, at)?;
        if section.get(ROLE_ARN).is_none() {
            let message = "web_identity_token_file stands there without role_arn: nothing says which role; add it";
            return Err(error_at(at, section, message));
        }
        let (role, _) = role(section)?;
        let way = Method::WebIdentity { role, token_file: token_file.into() };
        Ok(Some(ProfileLink { profile: section.name().into(), location: location(at, section), way }))
    }

    /// As in botocore, a profile uses SSO when it names an account or a role of it.
    fn sso(&self, section: &Section) -> Result<Option<ProfileLink>, SourceError> {
        let Some((_, at)) = value(section, SSO_ACCOUNT_ID).or_else(|| value(section, SSO_ROLE_NAME)) else {
            return Ok(None);
        };
        let needed = |name: &str| -> Result<Box<str>, SourceError> {
            let wrong = |at: &Property, message: String| error_at(at, section, message);
            let Some((text, at)) = value(section, name) else {
                return Err(wrong(at, format!("there is no {name}; `aws configure sso` writes all that is needed")));
            };
            Ok(usable("text", text).map_err(|why| wrong(at, format!("{name}: {why}; {REWRITE}")))?.into())
        };
        let (account_id, role_name) = (needed(SSO_ACCOUNT_ID)?, needed(SSO_ROLE_NAME)?);
        let session = SsoSession::of_profile(self.files, section)?.ok_or_else(|| {
            let message = "nothing says where to log in: sso_session is missing (or sso_start_url and sso_region); \
                           `aws configure sso` writes all that is needed";
            error_at(at, section, message)
        })?;
        let way = Method::Sso { session, account_id, role_name };
        Ok(Some(ProfileLink { profile: section.name().into(), location: location(at, section), way }))
    }

    fn process(&self, section: &Section) -> Result<Option<ProfileLink>, SourceError> {
        let Some((command, at)) = value(section, CREDENTIAL_PROCESS) else { return Ok(None) };
        self.obeyed(section, CREDENTIAL_PROCESS, at)?;
        if command.contains('\0') {
            let message = "credential_process contains a NUL character, which no command can; take it out";
            return Err(error_at(at, section, message));
        }
        let account_id = value(section, ACCOUNT_ID).map(|(id, _)| id.into());
        let way = Method::Process { command: command.into(), account_id };
        Ok(Some(ProfileLink { profile: section.name().into(), location: location(at, section), way }))
    }

    /// What decides what is run and where tokens go counts in a trusted file only.
    fn obeyed(&self, section: &Section, name: &str, at: &Property) -> Result<(), SourceError> {
        let path = Escaped(&at.path().to_string_lossy()).to_string();
        (self.trusted)(at)
            .map_err(|distrust| error_at(at, section, format!("{name} does not count there: {path} {distrust}")))
    }
}

/// What to do about a value that nothing could carry.
pub(crate) const REWRITE: &str = "write it anew, in one line";

fn sign_in(section: &Section) -> Result<Option<ProfileLink>, SourceError> {
    let Some((session, at)) = value(section, LOGIN_SESSION) else { return Ok(None) };
    let session = usable("login session", session).map_err(|why| {
        let message = format!("{why}; run: aws login --profile {}", Quoted(section.name()));
        error_at(at, section, message)
    })?;
    let way = Method::SignIn { session: session.into() };
    Ok(Some(ProfileLink { profile: section.name().into(), location: location(at, section), way }))
}

/// A value that is not blank, and where it stands.
pub(crate) fn value<'s>(section: &'s Section, name: &str) -> Option<(&'s str, &'s Property)> {
    let property = section.get(name)?;
    let text = property.value().trim();
    (!text.is_empty()).then_some((text, property))
}

/// The line of a property, with the profile that it belongs to.
pub(crate) fn location(at: &Property, section: &Section) -> Location {
    at.location().in_profile(section.name())
}

/// An error about a property of a profile.
pub(crate) fn error_at(at: &Property, section: &Section, message: impl std::fmt::Display) -> SourceError {
    SourceError::misconfigured(message.to_string()).at(location(at, section))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::shared_config::FileContent;

    const KEYS: &str = "aws_access_key_id = AKIA1\naws_secret_access_key = hush\n";
    const ROLE: &str = "role_arn = arn:aws:iam::123456789012:role/r\n";

    fn parse(config: &str, credentials: &str) -> SharedConfig {
        let content = |path, text: &'static str| FileContent { path: Path::new(path), bytes: text.as_bytes() };
        let leak = |text: &str| &*Box::leak(text.to_owned().into_boxed_str());
        SharedConfig::parse(Some(content("/c", leak(config))), Some(content("/k", leak(credentials)))).unwrap()
    }

    /// What the profile `dev` comes to, hop by hop, or what is wrong with it.
    fn told(config: &str, credentials: &str) -> String {
        let files = parse(config, credentials);
        match plan(&files, files.profile("dev").unwrap(), &|_| Ok(())) {
            Ok(None) => "nothing".into(),
            Ok(Some(link)) => shown(&link),
            Err(failure) => {
                assert!(!failure.to_string().contains("hush"), "{failure}");
                failure.to_string()
            }
        }
    }

    fn shown(link: &ProfileLink) -> String {
        let way = match &link.way {
            Method::Keys(keys) => {
                let token = keys.session_token.as_ref().map_or("", |_| " with token");
                format!("keys {}{token}", keys.access_key_id)
            }
            Method::Role { role, base } => {
                format!("role {} < {}", role.arn.rsplit('/').next().unwrap_or_default(), shown(base))
            }
            Method::CredentialSource(source) => format!("{source:?}"),
            Method::WebIdentity { role, token_file } => format!("web identity {token_file} {:?}", role.session_name),
            Method::Sso { session, account_id, role_name } => {
                format!("sso {:?} {} {account_id} {role_name}", session.name, session.start_url)
            }
            Method::Process { command, account_id } => format!("process {} {account_id:?}", command.expose()),
            Method::SignIn { session } => format!("sign-in {session}"),
        };
        format!("{} {way}", link.location.to_string().rsplit_once(": profile ").unwrap().0)
    }

    #[test]
    fn ways_and_their_order() {
        let sso = "sso_start_url = https://s\nsso_region = r\nsso_account_id = 1\nsso_role_name = n\n";
        let web = "web_identity_token_file = /t\n";
        let both = |config: &str, credentials: &str| {
            let dev =
                |text: &str, head: &str| if text.is_empty() { String::new() } else { format!("[{head}]\n{text}") };
            told(&dev(config, "profile dev"), &dev(credentials, "dev"))
        };
        for (config, credentials, expected) in [
            (KEYS, "", "/c, line 2 keys AKIA1"),
            ("region = r\n", "", "nothing"),
            ("sso_session = s\nsource_profile = x\n", "", "nothing"),
            // Keys of one file are one unit.
            ("aws_session_token = old\n", KEYS, "/k, line 2 keys AKIA1"),
            ("", &format!("{KEYS}aws_session_token = t\n"), "/k, line 2 keys AKIA1 with token"),
            (
                "aws_access_key_id = B\naws_secret_access_key = hush\n",
                "aws_access_key_id = A\n",
                "aws_access_key_id and aws_secret_access_key come from different files",
            ),
            ("aws_secret_access_key = hush\n", "aws_access_key_id = A\n", "/k, line 2 keys A"),
            (
                "aws_access_key_id = A\n",
                "",
                "/c, line 2: profile dev: aws_access_key_id stands there without aws_secret_access_key; add it, or remove this half",
            ),
            // Which way goes first.
            (&format!("{ROLE}credential_source = environment\n{sso}"), KEYS, "role r < /c, line 3 Environment"),
            (&format!("{web}{ROLE}{sso}"), KEYS, "/c, line 2 web identity /t None"),
            (&format!("{ROLE}{web}credential_source = EcsContainer\n"), "", "web identity /t"),
            (&format!("{sso}credential_process = p\n"), KEYS, "sso None https://s 1 n"),
            ("credential_process = p\n", KEYS, "/k, line 2 keys AKIA1"),
            (&format!("credential_process = p | q\n{KEYS}"), "", "/c, line 2 process p | q None"),
            ("credential_process = p\naws_account_id = 123456789012\n", "", "process p Some(\"123456789012\")"),
            ("login_session = l\ncredential_process = p\n", "", "/c, line 2 sign-in l"),
            ("login_session = l\n", KEYS, "keys AKIA1"),
            // Contradictions.
            (
                ROLE,
                "",
                "line 2: profile dev: role_arn stands there without source_profile, credential_source or web_identity_token_file: nothing says who assumes the role; add",
            ),
            (&format!("{ROLE}source_profile = dev\ncredential_source = Environment\n"), "", "keep one of the two"),
            (
                &format!("{ROLE}credential_source = Nowhere\n"),
                "",
                "line 3: profile dev: credential_source is Nowhere, which is none of the three that there are; write \
                 Environment, Ec2InstanceMetadata or EcsContainer",
            ),
            // It may be a secret in the wrong line.
            (
                &format!("{ROLE}credential_source = hush/hush\n"),
                "",
                "credential_source has a value that is none of the three that there are; write Environment,",
            ),
            (
                &format!("{ROLE}credential_source = {}\n", "h".repeat(25)),
                "",
                "credential_source has a value that is none of the three",
            ),
            (
                &format!("{ROLE}credential_source = Environment\nduration_seconds = 1h\n"),
                "",
                "is no number of seconds; write one such as 3600",
            ),
            (
                "role_arn = arn:aws:iam::1:role/a\n  b\ncredential_source = Environment\n",
                "",
                "control character (a line break, perhaps); write it anew, in one line",
            ),
            ("role_arn = r s\ncredential_source = Environment\n", "", "role_arn is no name of a role, or one"),
            (web, "", "web_identity_token_file stands there without role_arn: nothing says which role; add it"),
            ("sso_account_id = 1\n", "", "line 2: profile dev: there is no sso_role_name"),
            (
                "sso_account_id = 1\nsso_role_name = n\nsso_session = s\n",
                "",
                "/c, line 4: profile dev: it names the sso_session s, and no [sso-session s]",
            ),
        ] {
            let told = both(config, credentials);
            assert!(told.contains(expected), "{config}---\n{credentials}---\n{told}\nnot: {expected}");
        }
    }

    #[test]
    fn sso_sessions() {
        let session = "[sso-session s]\nsso_start_url = https://s\nsso_region = r\nsso_registration_scopes = a, b\n";
        let profile = "[profile dev]\nsso_session = s\nsso_account_id = 1\nsso_role_name = n\n";
        assert_eq!(told(&format!("{session}{profile}"), ""), "/c, line 7 sso Some(\"s\") https://s 1 n");
        let differing = told(&format!("{session}{profile}sso_region = other\n"), "");
        assert!(differing.starts_with("/c, line 9: profile dev: sso_region says one thing here"), "{differing}");
        let half = told(&format!("[sso-session s]\nsso_region = r\n{profile}"), "");
        assert!(half.contains("/c, line 2") && half.contains("sso_start_url"), "{half}");
    }

    #[test]
    fn chains_of_profiles() {
        let chain = |source: &str| format!("[profile dev]\n{ROLE}source_profile = {source}\n");
        let rest = "[profile a]\nrole_arn = arn:aws:iam::1:role/a\nsource_profile = b\n";
        for (config, credentials, expected) in [
            (
                format!("{}{rest}", chain("a")),
                format!("[b]\n{KEYS}"),
                "/c, line 2 role r < /c, line 5 role a < /k, line 2 keys",
            ),
            (format!("{}{KEYS}", chain("dev")), String::new(), "role r < /c, line 4 keys AKIA1"),
            // The source of another profile is taken for its keys, whatever role it has.
            (format!("{}{rest}{KEYS}", chain("a")), String::new(), "role r < /c, line 7 keys AKIA1"),
            (chain("dev"), String::new(), "has no keys of its own: dev → dev; add them"),
            (
                chain("gone"),
                String::new(),
                "/c, line 3: profile dev: source_profile names a profile that is in neither file: dev → gone",
            ),
            (
                format!("{}{rest}", chain("a")),
                String::new(),
                "profile a: source_profile names a profile that is in neither file: dev → a → b",
            ),
            (
                format!("{}{rest}[profile b]\n{ROLE}source_profile=dev\n", chain("a")),
                String::new(),
                "goes round in a circle: dev → a → b → dev",
            ),
            (
                format!("{}[profile a]\nregion = r\n", chain("a")),
                String::new(),
                "says nothing about credentials: dev → a; give it keys, role_arn",
            ),
        ] {
            let told = told(&config, &credentials);
            assert!(told.contains(expected), "{config}---\n{credentials}---\n{told}\nnot: {expected}");
        }
    }

    #[test]
    fn long_chains_are_followed_and_endless_ones_refused() {
        let chain = |length: usize| {
            let links = (0..length).map(|n| {
                let name = if n == 0 { "dev".to_owned() } else { format!("p{n}") };
                format!("[profile {name}]\n{ROLE}source_profile = p{}\n", n + 1)
            });
            format!("{}[profile p{length}]\n{KEYS}", links.collect::<String>())
        };
        assert!(told(&chain(255), "").ends_with("keys AKIA1"));
        assert!(told(&chain(256), "").contains("more than 256 profiles"));
        assert!(told(&chain(100_000), "").starts_with(
            "/c, line 3: profile dev: more than 256 profiles are each the source of another one; name one"
        ));
    }

    #[test]
    fn a_distrusted_file_says_neither_what_is_run_nor_where_tokens_are() {
        for config in [
            "[profile dev]\ncredential_process = p\n".to_owned(),
            format!("[profile dev]\n{ROLE}web_identity_token_file = /t\n"),
        ] {
            let files = parse(&config, "");
            let distrust = |_: &Property| Err("belongs to user 7".into());
            let failure = plan(&files, files.profile("dev").unwrap(), &distrust).unwrap_err();
            assert!(failure.to_string().contains("does not count there: /c belongs to user 7"), "{failure}");
        }
        let files = parse(&format!("[profile dev]\n{KEYS}"), "");
        assert!(plan(&files, files.profile("dev").unwrap(), &|_| Err(String::new())).unwrap().is_some());
    }

    #[test]
    fn everything_that_a_plan_looks_at_leaves_a_footprint() {
        let config = "[profile dev]\nsource_profile = a\nservices = v\n[profile a]\nsso_session = s\nsource_profile = dev\n\
                      [sso-session s]\n[services v]\n[profile other]\n";
        let files = parse(config, "");
        let names: Vec<_> = dependencies(&files, "dev").iter().map(|section| section.name()).collect();
        assert_eq!(names, ["dev", "a", "s", "v"]);
        assert!(dependencies(&files, "gone").is_empty());
    }
}
