//! Reads sources that get credentials from a service or a program: a role, a process, SSO.

use crate::config::table::{ConfigErrors, TableEntry, TableSection};
use crate::config::{schema, value};
use crate::model::policy::SessionPolicy;
use crate::model::secret::Secret;
use crate::model::session_limits::{ROLE_DURATION, check_policies, check_role_duration, check_tag, check_tags};
use crate::model::session_name::{self, SessionTextKind};
use crate::model::text::usable;
use crate::source::spec::{
    Program, REWRITE_ACCOUNT_ID, RoleSpec, SourceKind, SourceSpec, is_account_id, wrong_account_id,
};

/// The keys that need a `role_arn`.
const ROLE_KEYS: [&str; 9] = [
    "external_id",
    "session_name",
    "duration",
    "mfa_serial",
    "policy",
    "policy_file",
    "policy_arns",
    "tags",
    "source_identity",
];

/// The keys that AssumeRole accepts and AssumeRoleWithWebIdentity does not.
const ASSUME_ROLE_KEYS: [&str; 4] = ["external_id", "mfa_serial", "tags", "source_identity"];

/// Reads the base source of a role. The text is the name of the role in messages.
pub(crate) type BaseReader<'t> = fn(TableEntry<'t>, &str, &mut ConfigErrors) -> Option<SourceSpec>;

/// Reads `{ role_arn = …, source = … }` or `{ role_arn = …, web_identity_token_file = … }`.
pub(crate) fn role<'t>(
    section: &mut TableSection<'t>,
    label: &str,
    base: BaseReader<'t>,
    errors: &mut ConfigErrors,
) -> Option<SourceKind> {
    let arn_at = section.at("role_arn");
    let token_file_at = section.at("web_identity_token_file");
    let arn = section.take("role_arn").and_then(|entry| entry.read(errors, value::role_arn));
    let token_file = section.take("web_identity_token_file").and_then(|entry| entry.read(errors, value::path));
    let Some((at, path)) = arn_at else {
        let refuse = |(at, path): (usize, String), key: &str, errors: &mut ConfigErrors| {
            errors.push(at, &path, format!("{label} has {key} and no role_arn; add role_arn, or remove {key}"));
        };
        if let Some(location) = token_file_at {
            refuse(location, "web_identity_token_file", errors);
        }
        for key in ROLE_KEYS {
            if let Some(location) = section.at(key) {
                refuse(location, key, errors);
                section.take(key);
            }
        }
        return None;
    };
    let base_entry = section.take("source");
    if token_file_at.is_some() {
        for key in ASSUME_ROLE_KEYS {
            if let Some((at, path)) = section.at(key) {
                errors.push(
                    at,
                    &path,
                    format!("{label} has {key}, which STS does not accept with a web identity; remove it"),
                );
            }
        }
    }
    let duration_at = section.at("duration");
    let mfa_serial = text_line(section, "mfa_serial", errors);
    let role = RoleSpec { arn: arn.unwrap_or_default(), mfa_serial, ..session(section, errors) };
    match (base_entry, token_file) {
        (Some(entry), Some(_)) => {
            entry.refuse(errors, format!("{label} has web_identity_token_file as well; keep one of the two"))
        }
        (None, Some(token_file)) => Some(SourceKind::WebIdentity { role, token_file }),
        (Some(entry), None) => {
            let base = base(entry, label, errors)?;
            check_chained(&role, base.kind.is_role_session(), duration_at, errors);
            Some(SourceKind::AssumeRole { role, base: Box::new(base) })
        }
        (None, None) => {
            if token_file_at.is_none() {
                let message = "has no source; add the base credentials, such as source = \"profile base\", or \
                               web_identity_token_file";
                errors.push(at, &path, format!("{label} {message}"));
            }
            None
        }
    }
}

/// Reads `assume` of an identity: the role that is assumed with the credentials of its sources. `is_chained` is true if
/// one of these sources is certainly a role.
pub(crate) fn assume(entry: TableEntry<'_>, is_chained: bool, errors: &mut ConfigErrors) -> Option<RoleSpec> {
    let (at, path, before) = (entry.at(), entry.path.clone(), errors.count());
    let mut section = TableSection::open(entry, &schema::ASSUME, errors)?;
    let role_arn = section.take("role_arn").and_then(|entry| entry.read(errors, value::role_arn));
    let duration_at = section.at("duration");
    let role = session(&mut section, errors);
    section.close();
    check_chained(&role, is_chained, duration_at, errors);
    if role_arn.is_none() && errors.count() == before {
        errors.push(at, &path, "there is no role_arn; add the role to assume");
    }
    Some(RoleSpec { arn: role_arn?, ..role })
}

/// Reads the properties of a role's session.
fn session(section: &mut TableSection<'_>, errors: &mut ConfigErrors) -> RoleSpec {
    let arns_at = ["policy_arns", "policy"].iter().find_map(|key| section.at(key));
    let (policy, policy_file) = policy(section, errors);
    let before = errors.count();
    let policy_arns = policy_arns(section, errors);
    if let Some((at, path)) = arns_at.filter(|_| errors.count() == before)
        && let Err(why) = check_policies(policy.as_ref(), &policy_arns)
    {
        errors.push(at, &path, why);
    }
    RoleSpec {
        session_name: session_text(section, "session_name", errors),
        external_id: text_line(section, "external_id", errors),
        duration: section.take("duration").and_then(|entry| entry.read(errors, value::duration(&ROLE_DURATION))),
        policy,
        policy_file,
        policy_arns,
        tags: tags(section, errors),
        source_identity: session_text(section, "source_identity", errors),
        ..RoleSpec::default()
    }
}

/// Reads `policy` or `policy_file`, not both.
fn policy(
    section: &mut TableSection<'_>,
    errors: &mut ConfigErrors,
) -> (Option<SessionPolicy>, Option<std::path::PathBuf>) {
    let (inline, file) = (section.take("policy"), section.take("policy_file"));
    if let (Some(_), Some(file)) = (&inline, &file) {
        file.refuse::<()>(errors, "policy is set as well; keep one of the two");
        return (None, None);
    }
    let policy = inline.and_then(|entry| {
        entry.read(errors, |text| SessionPolicy::parse(text).map_err(|error| format!("{error} (within the policy)")))
    });
    (policy, file.and_then(|entry| entry.read(errors, value::path)))
}

/// Reads a session name or a source identity, with or without placeholders.
fn session_text(section: &mut TableSection<'_>, key: &'static str, errors: &mut ConfigErrors) -> Option<Box<str>> {
    section.take(key)?.read(errors, value::session_name)
}

/// Refuses a duration that STS does not give in a role chain.
fn check_chained(role: &RoleSpec, is_chained: bool, at: Option<(usize, String)>, errors: &mut ConfigErrors) {
    if let Some((duration, (at, path))) = role.duration.zip(at)
        && let Err(why) = check_role_duration(duration, is_chained)
    {
        errors.push(at, &path, why.strip_prefix("duration: ").unwrap_or(&why));
    }
}

/// Reads `process`: a list runs without a shell, a text runs with `sh -c`.
pub(crate) fn process(entry: TableEntry<'_>, errors: &mut ConfigErrors) -> Option<Program> {
    if !entry.is_list() {
        return entry.read(errors, |text| match text.trim() {
            "" => Err("empty; write a command"),
            line if line.contains('\0') => Err("not a command: it contains a NUL character; remove it"),
            line => Ok(Program::Line(Secret::new(line))),
        });
    }
    let (at, path) = (entry.at(), entry.path.clone());
    let words = entry.list(errors, "word")?;
    if words.is_empty() {
        errors.push(at, &path, "empty; write a program and its arguments");
        return None;
    }
    let word =
        |text: &str| if text.contains('\0') { Err("contains a NUL character; remove it") } else { Ok(Box::from(text)) };
    let count = words.len();
    let words: Vec<Box<str>> = words.into_iter().filter_map(|entry| entry.read(errors, word)).collect();
    (words.len() == count).then_some(Program::Words(words))
}

/// Reads `{ sso_session = …, account_id = …, role_name = … }`.
pub(crate) fn sso(section: &mut TableSection<'_>, label: &str, errors: &mut ConfigErrors) -> Option<SourceKind> {
    const KEYS: [&str; 3] = ["sso_session", "account_id", "role_name"];
    let locations = KEYS.map(|key| section.at(key));
    let [session, account_id, role_name] = KEYS.map(|key| match key {
        "account_id" => section.take(key)?.read(errors, account_id),
        _ => text_line(section, key, errors),
    });
    let (at, path) = locations.iter().flatten().next()?.clone();
    if let Some(missing) = KEYS.iter().zip(&locations).find(|(_, location)| location.is_none()) {
        errors.push(
            at,
            &path,
            format!("{label} has no {}; write sso_session, account_id and role_name together", missing.0),
        );
        return None;
    }
    Some(SourceKind::Sso { session: session?, account_id: account_id?, role_name: role_name? })
}

fn text_line(section: &mut TableSection<'_>, key: &'static str, errors: &mut ConfigErrors) -> Option<Box<str>> {
    section.take(key)?.read(errors, |text| usable("text", text).map(Box::from))
}

fn account_id(text: &str) -> Result<Box<str>, String> {
    let text = usable("text", text).map_err(|error| error.to_string())?;
    if is_account_id(text) {
        return Ok(text.into());
    }
    Err(format!("{}; {REWRITE_ACCOUNT_ID}", wrong_account_id(text)))
}

fn policy_arns(section: &mut TableSection<'_>, errors: &mut ConfigErrors) -> Vec<Box<str>> {
    let entries = section.take("policy_arns").and_then(|entry| entry.list(errors, "policy")).unwrap_or_default();
    entries.into_iter().filter_map(|entry| entry.read(errors, value::policy_arn)).collect()
}

fn tags(section: &mut TableSection<'_>, errors: &mut ConfigErrors) -> Vec<(Box<str>, Box<str>)> {
    let (tags_at, before) = (section.at("tags"), errors.count());
    let entries = section.take("tags").map(|entry| entry.named(errors)).unwrap_or_default();
    let read = |(key, at, entry): (std::borrow::Cow<'_, str>, usize, TableEntry<'_>), errors: &mut ConfigErrors| {
        let path = entry.path.clone();
        let value = entry.read(errors, |text| {
            if text.is_empty() {
                return Ok("".into());
            }
            let text = usable("text", text).map_err(|error| error.to_string())?;
            session_name::check(text, SessionTextKind::TagValue).map(|()| Box::from(text))
        });
        let checked = usable("tag name", &key).map_err(|error| error.to_string());
        let checked = checked.and_then(|key| check_tag(key, "").map(|()| key));
        match checked {
            Ok(key) => Some((key.into(), value?)),
            Err(error) => {
                errors.push(at, &path, error.strip_prefix("tags: ").unwrap_or(&error));
                None
            }
        }
    };
    let mut tags: Vec<_> = entries.into_iter().filter_map(|entry| read(entry, errors)).collect();
    tags.sort();
    let without_values: Vec<_> = tags.iter().map(|(key, _)| (Box::clone(key), Box::default())).collect();
    if let Some((at, path)) = tags_at.filter(|_| errors.count() == before)
        && let Err(why) = check_tags(&without_values)
    {
        errors.push(at, &path, why.strip_prefix("tags: ").unwrap_or(&why));
    }
    tags
}
