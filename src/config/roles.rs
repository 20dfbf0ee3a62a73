//! Reads sources that get credentials from a service or a program: a role, a process, SSO.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::table::{ConfigErrors, TableEntry, TableSection};
use crate::config::value;
use crate::model::secret::Secret;
use crate::model::text::usable;
use crate::source::spec::{
    Program, REWRITE_ACCOUNT_ID, RoleSpec, SourceKind, SourceSpec, is_account_id, is_sendable_role, looks_like_arn,
    wrong_account_id,
};

/// The range that AssumeRole accepts.
const DURATION_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(900)..=Duration::from_secs(12 * 3600);

/// The keys that need a `role_arn`.
const ROLE_KEYS: [&str; 8] =
    ["external_id", "session_name", "duration", "mfa_serial", "policy_file", "policy_arns", "tags", "source_identity"];

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
    let arn = section.take("role_arn").and_then(|entry| entry.read(errors, arn));
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
    let role = RoleSpec {
        arn: arn.unwrap_or_default(),
        session_name: text_line(section, "session_name", errors),
        external_id: text_line(section, "external_id", errors),
        duration: section.take("duration").and_then(|entry| entry.read(errors, value::duration(&DURATION_ALLOWED))),
        mfa_serial: text_line(section, "mfa_serial", errors),
        policy_file: section.take("policy_file").and_then(|entry| entry.read(errors, value::path)),
        policy_arns: policy_arns(section, errors),
        tags: tags(section, errors),
        source_identity: text_line(section, "source_identity", errors),
    };
    match (base_entry, token_file) {
        (Some(entry), Some(_)) => {
            entry.refuse(errors, format!("{label} has web_identity_token_file as well; keep one of the two"))
        }
        (None, Some(token_file)) => Some(SourceKind::WebIdentity { role, token_file }),
        (Some(entry), None) => {
            let base = base(entry, label, errors)?;
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

fn arn(text: &str) -> Result<Box<str>, String> {
    let text = usable("role ARN", text).map_err(|error| error.to_string())?;
    if looks_like_arn(text) && is_sendable_role(text) {
        Ok(text.into())
    } else {
        Err("not the ARN of a role; write it like arn:aws:iam::123456789012:role/NAME".into())
    }
}

fn policy_arns(section: &mut TableSection<'_>, errors: &mut ConfigErrors) -> Vec<Box<str>> {
    let entries = section.take("policy_arns").and_then(|entry| entry.list(errors, "policy")).unwrap_or_default();
    entries.into_iter().filter_map(|entry| entry.read(errors, arn)).collect()
}

fn tags(section: &mut TableSection<'_>, errors: &mut ConfigErrors) -> Vec<(Box<str>, Box<str>)> {
    let entries = section.take("tags").map(|entry| entry.named(errors)).unwrap_or_default();
    let read = |(key, at, entry): (std::borrow::Cow<'_, str>, usize, TableEntry<'_>), errors: &mut ConfigErrors| {
        let path = entry.path.clone();
        let value = entry
            .read(errors, |text| if text.is_empty() { Ok("".into()) } else { usable("text", text).map(Box::from) });
        match usable("tag name", &key) {
            Ok(key) => Some((key.into(), value?)),
            Err(error) => {
                errors.push(at, &path, error.to_string());
                None
            }
        }
    };
    let mut tags: Vec<_> = entries.into_iter().filter_map(|entry| read(entry, errors)).collect();
    tags.sort();
    tags
}
