//! Reads the source chain of an identity: `sources = […]`.

use crate::config::schema::SOURCE;
use crate::config::table::{ConfigErrors, TableEntry, TableSection};
use crate::config::{roles, value};
use crate::model::nearest::nearest;
use crate::model::secret::Secret;
use crate::source::spec::{SourceKind, SourceSpec, TextSource};

/// A source without settings, configured by one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BareSource {
    Environment,
    Profile,
    Container,
    Imds,
}

const WORDS: [(&str, BareSource); 4] = [
    ("environment", BareSource::Environment),
    ("profile", BareSource::Profile),
    ("container", BareSource::Container),
    ("imds", BareSource::Imds),
];

/// Returns the source chain of `default` without configuration.
pub(crate) fn built_in_chain() -> Vec<SourceSpec> {
    WORDS.map(|(_, word)| word.kind().into()).to_vec()
}

impl BareSource {
    fn kind(self) -> SourceKind {
        match self {
            Self::Environment => SourceKind::Environment,
            Self::Profile => SourceKind::Profile { name: None, credentials_file: None, config_file: None },
            Self::Container => SourceKind::Container,
            Self::Imds => SourceKind::Imds { allow_v1: false },
        }
    }
}

/// Reads the source chain of an identity and reports each wrong source.
pub(crate) fn read(entry: TableEntry<'_>, identity: &str, errors: &mut ConfigErrors) -> Vec<SourceSpec> {
    let (at, path) = (entry.at(), entry.path.clone());
    let Some(entries) = entry.list(errors, "source") else {
        return Vec::new();
    };
    if entries.is_empty() {
        errors.push(at, &path, "no source; list at least one");
    }
    let numbered = entries.into_iter().enumerate();
    numbered
        .filter_map(|(position, entry)| {
            if entry.is_text() {
                entry.read(errors, word_or_url)
            } else {
                table(entry, &format!("source {} of identity {identity}", position + 1), errors)
            }
        })
        .collect()
}

fn word_or_url(text: &str) -> Result<SourceSpec, String> {
    if let Some((_, word)) = WORDS.iter().find(|(word, _)| *word == text) {
        return Ok(word.kind().into());
    }
    if text.contains("://") {
        return Ok(SourceKind::Url(TextSource::Literal(value::url(text)?)).into());
    }
    Err(match nearest(text, WORDS.iter().map(|(word, _)| *word)) {
        Some(word) => format!("not a source; did you mean \"{word}\"?"),
        None => "not a source; write \"environment\", \"profile\", \"container\", \"imds\", a URL with user info, or a table \
                 such as { profile = \"dev\" }"
            .into(),
    })
}

/// Reads the base source of a role: a source as in a chain, or `"profile NAME"`.
fn base(entry: TableEntry<'_>, label: &str, errors: &mut ConfigErrors) -> Option<SourceSpec> {
    if !entry.is_text() {
        return table(entry, &format!("the source of {label}"), errors);
    }
    entry.read(errors, |text| match text.strip_prefix("profile").map(|name| (name, name.trim())) {
        Some((_, name)) if !name.is_empty() && text.as_bytes()["profile".len()].is_ascii_whitespace() => {
            let name = Some(value::profile(name)?);
            Ok(SourceKind::Profile { name, credentials_file: None, config_file: None }.into())
        }
        _ => word_or_url(text),
    })
}

/// Reads a source in a table. The label is its name in messages: `source 2 of identity minio`.
fn table(entry: TableEntry<'_>, label: &str, errors: &mut ConfigErrors) -> Option<SourceSpec> {
    let (at, path, before) = (entry.at(), entry.path.clone(), errors.count());
    let mut section = TableSection::open(entry, &SOURCE, errors)?;
    let role = roles::role(&mut section, label, base, errors);
    let word = match &role {
        Some(_) => None,
        None => section.take("source").and_then(|entry| entry.word(errors, &WORDS)),
    };
    let process = section.take("process").and_then(|entry| roles::process(entry, errors));
    let sso = roles::sso(&mut section, label, errors);
    let region = section.take("region").and_then(|entry| entry.read(errors, value::region));
    let keys = keys(&mut section, label, errors);
    let url = text_or_file(&mut section, "url", "url_file", value::url, errors);
    let profile = profile(&mut section, errors);
    let allow_v1 = section.take("allow_v1").and_then(|entry| entry.boolean(errors));
    section.close();
    if errors.count() > before {
        // Stop here: a value with an error is `None`, and the checks below would also report it as missing.
        return None;
    }
    let process = process.map(SourceKind::Process);
    let kinds = [role, process, sso, keys, url.map(SourceKind::Url), profile];
    let mut kinds: Vec<_> = kinds.into_iter().flatten().collect();
    if let Some(word) = word {
        let is_same_source = word == BareSource::Profile && matches!(kinds[..], [SourceKind::Profile { .. }]);
        kinds.extend((!is_same_source).then(|| word.kind()));
    }
    let kind = match (kinds.pop(), allow_v1) {
        (Some(SourceKind::Imds { .. }), allow_v1) if kinds.is_empty() => {
            Ok(SourceKind::Imds { allow_v1: allow_v1.unwrap_or_default() })
        }
        (Some(_), _) if !kinds.is_empty() => Err("has the keys of several sources; write one table for each"),
        (_, Some(_)) => Err("has allow_v1, which belongs to { source = \"imds\" }; remove it"),
        (Some(kind), None) => Ok(kind),
        (None, None) => Err(
            "does not name a source; add source = \"environment\", \"profile\", \"container\" or \"imds\", keys, a url, \
                             a profile, a process, a role_arn or an sso_session",
        ),
    };
    match kind {
        Ok(kind) => Some(SourceSpec { kind, region }),
        Err(reason) => {
            errors.push(at, &path, format!("{label} {reason}"));
            None
        }
    }
}

fn keys(section: &mut TableSection<'_>, label: &str, errors: &mut ConfigErrors) -> Option<SourceKind> {
    let before = errors.count();
    let mut part = |key, key_file, part| {
        let at = section.at(key).or_else(|| section.at(key_file));
        (at, text_or_file(section, key, key_file, value::credential_part(part), errors))
    };
    let (id_at, access_key_id) = part("access_key_id", "access_key_id_file", "access key id");
    let (secret_at, secret_access_key) = part("secret_access_key", "secret_access_key_file", "secret access key");
    let (token_at, session_token) = part("session_token", "session_token_file", "session token");
    let half = match (access_key_id, secret_access_key) {
        _ if errors.count() > before => return None,
        (Some(access_key_id), Some(secret_access_key)) => {
            return Some(SourceKind::Static { access_key_id, secret_access_key, session_token });
        }
        (Some(_), None) => "has access_key_id and no secret_access_key: half a key pair; add the secret_access_key",
        (None, Some(_)) => "has secret_access_key and no access_key_id: half a key pair; add the access_key_id",
        (None, None) => "has session_token and no key pair; add access_key_id and secret_access_key",
    };
    let (at, path) = id_at.or(secret_at).or(token_at)?;
    errors.push(at, &path, format!("{label} {half}"));
    None
}

fn profile(section: &mut TableSection<'_>, errors: &mut ConfigErrors) -> Option<SourceKind> {
    let name = section.take("profile").and_then(|entry| entry.read(errors, value::profile));
    let mut file = |key| section.take(key).and_then(|entry| entry.read(errors, value::path));
    let (credentials_file, config_file) = (file("credentials_file"), file("config_file"));
    let is_profile = name.is_some() || credentials_file.is_some() || config_file.is_some();
    is_profile.then_some(SourceKind::Profile { name, credentials_file, config_file })
}

/// Reads `key` or `key_file`, not both.
pub(crate) fn text_or_file(
    section: &mut TableSection<'_>,
    key: &'static str,
    key_file: &'static str,
    read: impl FnOnce(&str) -> Result<Secret, String>,
    errors: &mut ConfigErrors,
) -> Option<TextSource> {
    let (literal, file) = (section.take(key), section.take(key_file));
    if let (Some(_), Some(file)) = (&literal, &file) {
        return file.refuse(errors, format!("{key} is set as well; keep one of the two"));
    }
    let literal = literal.and_then(|entry| entry.read(errors, read)).map(TextSource::Literal);
    literal.or_else(|| file.and_then(|entry| entry.read(errors, value::path)).map(TextSource::File))
}
