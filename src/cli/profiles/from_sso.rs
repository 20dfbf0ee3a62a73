//! `credenza profiles --from-sso`: every account and role of a login as a profile.

mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use crate::aws::sso_portal;
use crate::cli::confirm::confirm;
use crate::cli::error::CommandError;
use crate::cli::login::LoginRequest;
use crate::cli::login::targets;
use crate::cli::login::targets::LoginTarget;
pub(crate) use crate::cli::profiles::from_sso::template::NameTemplate;
use crate::cli::profiles::from_sso::template::SsoRoleNames;
use crate::cli::setup::config_file::ConfigFile;
use crate::context::Context;
use crate::login::sso;
use crate::model::text::{Escaped, Quoted};
use crate::shared_config::SharedConfig;
use crate::shared_config::edit::NewProfile;
use crate::shared_config::locate::NamedPaths;
use crate::shared_config::section::Section;

/// The request of `profiles --from-sso`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FromSsoRequest {
    /// The section of the session. `None` means the only one.
    pub(crate) session: Option<Box<str>>,
    pub(crate) template: NameTemplate,
    pub(crate) region: Option<Box<str>>,
    pub(crate) write: bool,
    /// Does not ask.
    pub(crate) yes: bool,
}

/// Returns the new profiles as text, or writes them and returns nothing.
///
/// # Errors
/// If the session is unknown, a person has to log in, the portal fails, or the file cannot be written.
pub(crate) async fn from_sso(
    context: &Context,
    named: &NamedPaths,
    request: &FromSsoRequest,
) -> Result<String, CommandError> {
    let file = ConfigFile::open(context, named).await?;
    let session = session_name(&file, request)?;
    let login = LoginRequest {
        target: LoginTarget::Session(session.clone()),
        open_browser: false,
        credentials_file: named.credentials.clone(),
        config_file: named.config.clone(),
    };
    let (sites, _) = targets::find(context, &login).await?;
    let site = sites.first().ok_or_else(|| CommandError::new(format!("there is no session {}", Escaped(&session))))?;
    let token = sso::login(context, &site.settings, &site.session, None).await.map_err(|error| site.failed(error))?;
    let token = &token.token.token;
    let mut roles = BTreeSet::new();
    let accounts = sso_portal::accounts(context, &site.settings, token).await.map_err(|error| site.failed(error))?;
    for account in accounts {
        let names = sso_portal::roles(context, &site.settings, token, &account.account_id).await;
        for role in names.map_err(|error| site.failed(error))? {
            let found = SsoRoleNames {
                account_id: account.account_id.clone(),
                role,
                account_name: account.account_name.clone(),
            };
            if found.is_valid() {
                roles.insert(found);
            } else {
                tracing::warn!(account = %Escaped(&found.account_id), role = %Escaped(&found.role), "the portal lists a role that no profile can name; it is left out");
            }
        }
    }
    let (profiles, there) = profiles(file.files(), &session, &roles, request).map_err(CommandError::new)?;
    let note = |text: String| {
        // Ignore errors: the reader may have closed the pipe.
        let _ = writeln!(io::stderr(), "credenza: {text}");
    };
    let summary = format!(
        "{} new, {} there already (of {} roles in {session})",
        profiles.len(),
        there,
        roles.len(),
        session = Escaped(&session)
    );
    if profiles.is_empty() {
        note(summary);
        return Ok(String::new());
    }
    file.check(&profiles, false)?;
    if !request.write {
        let sections: Vec<String> = profiles.iter().map(NewProfile::section).collect();
        note(format!("{summary}; --write adds them to {}", file.shown()));
        return Ok(sections.join("\n"));
    }
    file.show(&profiles);
    if !request.yes && !confirm(&format!("Write these {} profiles?", profiles.len()))? {
        return Err(CommandError::new("nothing is written"));
    }
    file.write(context, &profiles, false).await?;
    note(format!("{summary}; written to {}", file.shown()));
    Ok(String::new())
}

fn session_name(file: &ConfigFile, request: &FromSsoRequest) -> Result<Box<str>, CommandError> {
    if let Some(session) = &request.session {
        return Ok(session.clone());
    }
    let sessions: Vec<&str> = file.files().sso_sessions().map(Section::name).collect();
    match sessions[..] {
        [only] => Ok(only.into()),
        [] => Err(CommandError::new(format!(
            "there is no [sso-session …] in {}; add one with `aws configure sso-session`",
            file.shown()
        ))),
        _ => {
            let shown: Vec<String> = sessions.iter().map(|name| Quoted(name).to_string()).collect();
            Err(CommandError::new(format!(
                "there are several SSO sessions; add --session with one of {}",
                shown.join(", ")
            )))
        }
    }
}

/// Returns a profile for each role that has none, and the number of roles that have one.
///
/// The names depend on the roles and the file alone, not on the order of the portal. Roles whose names collide all get the
/// account id, and then a number.
fn profiles(
    files: &SharedConfig,
    session: &str,
    roles: &BTreeSet<SsoRoleNames>,
    request: &FromSsoRequest,
) -> Result<(Vec<NewProfile>, usize), String> {
    let is_there = |role: &SsoRoleNames| {
        files.profiles().filter_map(|name| files.profile(name)).any(|profile| {
            let is = |key, value: &str| profile.get(key).is_some_and(|property| property.value().trim() == value);
            is("sso_session", session) && is("sso_account_id", &role.account_id) && is("sso_role_name", &role.role)
        })
    };
    let new: Vec<&SsoRoleNames> = roles.iter().filter(|role| !is_there(role)).collect();
    let mut names: BTreeMap<&SsoRoleNames, String> =
        new.iter().map(|role| (*role, request.template.name(session, role))).collect();
    // A profile that every program without a profile uses is never made from the name of an account.
    let is_taken = |name: &str| name == "default" || files.profile(name).is_some();
    for (role, name) in names.clone() {
        let is_shared = names.iter().any(|(other, theirs)| *other != role && template::bare(theirs, other) == name);
        if is_shared || is_taken(&name) {
            names.insert(role, format!("{name}-{}", role.account_id));
        }
    }
    let mut used = BTreeSet::new();
    let mut profiles = Vec::new();
    for (role, name) in &names {
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| !is_taken(name) && !used.contains(name));
        let name = free.unwrap_or_default();
        used.insert(name.clone());
        let mut properties = vec![
            ("sso_session", session.to_owned()),
            ("sso_account_id", role.account_id.to_string()),
            ("sso_role_name", role.role.to_string()),
        ];
        properties.extend(request.region.as_ref().map(|region| ("region", region.to_string())));
        profiles.push(NewProfile::new(&name, properties).map_err(|error| error.to_string())?);
    }
    Ok((profiles, roles.len() - new.len()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::shared_config::FileContent;

    fn role(account: &str, account_name: &str, role: &str) -> SsoRoleNames {
        SsoRoleNames { account_id: account.into(), account_name: account_name.into(), role: role.into() }
    }

    fn names(text: &str, template: &str, roles: &[SsoRoleNames]) -> (Vec<String>, usize) {
        let content = FileContent { path: Path::new("/c"), bytes: text.as_bytes() };
        let files = SharedConfig::parse(Some(content), None).unwrap();
        let template = NameTemplate::parse(template).unwrap();
        let request = FromSsoRequest { session: None, template, region: None, write: false, yes: false };
        let (profiles, there) = profiles(&files, "work", &roles.iter().cloned().collect(), &request).unwrap();
        (profiles.iter().map(|profile| profile.name().to_owned()).collect(), there)
    }

    #[test]
    fn names_depend_on_roles_alone() {
        let default = "{account_name}-{role}";
        let (dev, prod) = (role("111111111111", "My Dev", "Admin"), role("222222222222", "prod", "Admin"));
        let twin = role("333333333333", "my dev", "Admin");
        assert_eq!(
            names("", default, &[dev.clone(), prod.clone()]),
            (vec!["My-Dev-Admin".into(), "prod-Admin".into()], 0)
        );
        let roles = [prod.clone(), dev.clone()];
        assert_eq!(names("", "{role}", &roles).0, ["Admin-111111111111", "Admin-222222222222"]);
        assert_eq!(
            names("", "{session}", &[dev.clone(), role("111111111111", "x", "Ro")]).0,
            ["work-111111111111", "work-111111111111-2"]
        );
        assert_eq!(names("", default, &[dev.clone(), twin]).0, ["My-Dev-Admin", "my-dev-Admin"]);
        assert_eq!(
            names("[profile prod-Admin]\nregion=r\n", default, std::slice::from_ref(&prod)).0,
            ["prod-Admin-222222222222"]
        );
        let there = "[profile x]\nsso_session=work\nsso_account_id=222222222222\nsso_role_name=Admin\n";
        assert_eq!(names(there, default, &[dev, prod]), (vec!["My-Dev-Admin".into()], 1));
    }
}
