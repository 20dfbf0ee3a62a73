//! File trust of a plan: properties that decide what our programs, keys and logins are used for.
//!
//! An untrusted file may give its own keys. It may give a role over them only if they are in an untrusted file of the
//! same owner: such a role uses nothing of ours.

use crate::model::error::SourceError;
use crate::model::text::Escaped;
use crate::shared_config::section::{Property, Section};
use crate::source::profile::plan::link::{Method, ProfileLink};
use crate::source::profile::plan::{
    ACCESS_KEY_ID, CREDENTIAL_SOURCE, DURATION_SECONDS, Planner, ROLE_ARN, ROLE_SESSION_NAME, RoleStep,
    SECRET_ACCESS_KEY, SOURCE_PROFILE, SSO_ACCOUNT_ID, SSO_ROLE_NAME, SSO_SESSION, error_at,
};

/// The properties of a role.
const OF_ROLE: [&str; 7] =
    [ROLE_ARN, SOURCE_PROFILE, CREDENTIAL_SOURCE, ROLE_SESSION_NAME, DURATION_SECONDS, "external_id", "mfa_serial"];

/// The properties of a profile that uses SSO, and of the `[sso-session NAME]` section that it names.
const OF_SSO: [&str; 5] = [SSO_ACCOUNT_ID, SSO_ROLE_NAME, SSO_SESSION, "sso_start_url", "sso_region"];

/// The reason why the file of a property is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UntrustedFile {
    /// The owner of the file, if no other user can write or exchange it.
    pub(crate) owner: Option<u32>,
    /// The end of a sentence after the path: `belongs to user 1001, …`.
    pub(crate) reason: String,
}

/// Checks file trust for a property.
pub(crate) type PropertyTrust<'a> = &'a dyn Fn(&Property) -> Result<(), UntrustedFile>;

impl Planner<'_> {
    /// Checks file trust for a property that decides which program runs, where a token goes, or what our logins are used
    /// for.
    pub(super) fn check_trust(&self, section: &Section, name: &str, at: &Property) -> Result<(), SourceError> {
        (self.trusted)(at).map_err(|untrusted| not_used(section, name, at, &untrusted))
    }

    /// Checks all these properties of a section that it has.
    fn check_all(&self, section: &Section, names: &[&str]) -> Result<(), SourceError> {
        let present = names.iter().filter_map(|name| Some((name, section.get(name)?)));
        present.into_iter().try_for_each(|(name, at)| self.check_trust(section, name, at))
    }

    /// Checks the properties of a profile that uses SSO: they decide what our login is used for.
    pub(super) fn check_sso(&self, section: &Section) -> Result<(), SourceError> {
        self.check_all(section, &OF_SSO)?;
        let session = section.get(SSO_SESSION).and_then(|name| self.files.sso_session(name.value().trim()));
        session.map_or(Ok(()), |session| self.check_all(session, &OF_SSO))
    }

    /// Checks the roles of a chain, from the first profile to the one with the base credentials.
    pub(super) fn check_roles(&self, roles: &[RoleStep<'_>], base: &ProfileLink) -> Result<(), SourceError> {
        // The owner of the keys at the end of the chain, if they are in an untrusted file.
        let keys = match &base.method {
            Method::Keys(_) => self.files.profile(&base.profile).and_then(|section| self.owner_of(section)),
            _ => None,
        };
        for RoleStep { section, .. } in roles {
            for (name, at) in OF_ROLE.iter().filter_map(|name| Some((name, section.get(name)?))) {
                let Err(untrusted) = (self.trusted)(at) else { continue };
                if untrusted.owner.is_none() || keys != untrusted.owner {
                    return Err(not_used(section, name, at, &untrusted)
                        .with_hint("keep the role and the keys under it in files of one owner"));
                }
            }
        }
        Ok(())
    }

    /// Returns the owner of the untrusted files that both halves of a key pair are in.
    fn owner_of(&self, section: &Section) -> Option<u32> {
        let owner = |name| (self.trusted)(section.get(name)?).err()?.owner;
        owner(ACCESS_KEY_ID).filter(|id| owner(SECRET_ACCESS_KEY) == Some(*id))
    }
}

/// Checks that both halves of a key pair are in trusted files, or in files of one owner. Else another user could complete
/// half a pair of ours.
pub(super) fn check_pair(
    section: &Section,
    trusted: PropertyTrust<'_>,
    [(id_name, id), (secret_name, secret)]: [(&str, &Property); 2],
) -> Result<(), SourceError> {
    let is_one_file = id.path() == secret.path();
    match (trusted(id), trusted(secret)) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(a), Err(b)) if is_one_file || a.owner.is_some() && a.owner == b.owner => Ok(()),
        (Err(untrusted), _) => Err(not_used(section, id_name, id, &untrusted)),
        (_, Err(untrusted)) => Err(not_used(section, secret_name, secret, &untrusted)),
    }
}

fn not_used(section: &Section, name: &str, at: &Property, untrusted: &UntrustedFile) -> SourceError {
    let path = Escaped(&at.path().to_string_lossy()).to_string();
    error_at(at, section, format!("{name} is not used: {path} {}", untrusted.reason))
}
