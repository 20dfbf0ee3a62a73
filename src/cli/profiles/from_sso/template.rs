//! The names of profiles that are made of accounts and roles.

use crate::model::nearest::did_you_mean;
use crate::model::text::Escaped;

/// A role of an account, with the texts that a name may contain. Ordered by account and role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SsoRoleNames {
    pub(crate) account_id: Box<str>,
    pub(crate) role: Box<str>,
    pub(crate) account_name: Box<str>,
}

/// The pattern of a name: `{account_name}-{role}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameTemplate(Vec<TemplatePart>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePart {
    Text(String),
    AccountName,
    AccountId,
    Role,
    Session,
}

const PLACEHOLDERS: [(&str, TemplatePart); 4] = [
    ("account_name", TemplatePart::AccountName),
    ("account_id", TemplatePart::AccountId),
    ("role", TemplatePart::Role),
    ("session", TemplatePart::Session),
];

/// The maximum length of a name in characters. Longer ones are cut; AWS's own names have at most 64.
const LONGEST_NAME: usize = 128;

impl SsoRoleNames {
    /// Returns true if account and role are as AWS writes them.
    pub(crate) fn is_valid(&self) -> bool {
        let is_role = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
        self.account_id.len() == 12
            && self.account_id.bytes().all(|byte| byte.is_ascii_digit())
            && (1..=64).contains(&self.role.len())
            && self.role.chars().all(is_role)
    }
}

impl NameTemplate {
    /// Parses the value of `--template`.
    ///
    /// # Errors
    /// If a placeholder is unknown, or there is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or("a { without its }")?;
            let known = PLACEHOLDERS.iter().find(|(known, _)| *known == name).map(|(_, part)| part.clone());
            parts.push(TemplatePart::Text(before.into()));
            parts.push(known.ok_or_else(|| {
                let names = PLACEHOLDERS.iter().map(|(name, _)| *name);
                let all: Vec<String> = names.clone().map(|name| format!("{{{name}}}")).collect();
                let hint = did_you_mean(name, names).map(|hint| format!("{hint} ")).unwrap_or_default();
                format!("unknown placeholder {{{}}}; {hint}there are {}", Escaped(name), all.join(", "))
            })?);
            rest = after;
        }
        if parts.is_empty() {
            return Err(
                "a template without a placeholder gives all profiles one name; write {account_name}-{role}".into()
            );
        }
        parts.push(TemplatePart::Text(rest.into()));
        Ok(Self(parts))
    }

    /// Returns the name of a role's profile. Characters that not every program reads become `-`.
    pub(super) fn name(&self, session: &str, role: &SsoRoleNames) -> String {
        let part = |part: &TemplatePart| match part {
            TemplatePart::Text(text) => text.clone(),
            // An account may have no name, or one without a plain letter.
            TemplatePart::AccountName if plain(&role.account_name).is_empty() => role.account_id.to_string(),
            TemplatePart::AccountName => role.account_name.to_string(),
            TemplatePart::AccountId => role.account_id.to_string(),
            TemplatePart::Role => role.role.to_string(),
            TemplatePart::Session => session.to_owned(),
        };
        let name = plain(&self.0.iter().map(part).collect::<String>());
        if name.is_empty() { role.account_id.to_string() } else { name }
    }
}

/// Returns the name without the account id that a collision has added.
pub(super) fn bare<'n>(name: &'n str, role: &SsoRoleNames) -> &'n str {
    name.strip_suffix(&*role.account_id).and_then(|name| name.strip_suffix('-')).unwrap_or(name)
}

/// Returns the text with each run of other characters than letters, digits and `_.+@/` as one `-`.
fn plain(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().take(LONGEST_NAME) {
        if c.is_ascii_alphanumeric() || "_.+@/".contains(c) {
            name.push(c);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    name.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shared_config::edit::NewProfile;

    fn role(account_name: &str, role: &str) -> SsoRoleNames {
        SsoRoleNames { account_id: "123456789012".into(), account_name: account_name.into(), role: role.into() }
    }

    #[test]
    fn makes_plain_names() {
        for (template, account, name, expected) in [
            ("{account_name}-{role}", "My Dev (eu)", "Admin", "My-Dev-eu-Admin"),
            ("{account_name}-{role}", "", "Admin", "123456789012-Admin"),
            ("{account_name}-{role}", "日本", "Admin", "123456789012-Admin"),
            ("x:{role}@{account_id}", "a", "R=o", "x-R-o@123456789012"),
            ("{session}/{account_name}", "a\n[b]", "r", "work/a-b"),
        ] {
            assert_eq!(
                NameTemplate::parse(template).unwrap().name("work", &role(account, name)),
                expected,
                "{template}"
            );
        }
    }

    #[test]
    fn refuses_templates() {
        for (template, part) in [
            ("plain", "without a placeholder"),
            ("{account_nam}", "did you mean account_name?"),
            ("{role", "without its }"),
            ("{}", "unknown placeholder {}"),
        ] {
            assert!(NameTemplate::parse(template).unwrap_err().contains(part), "{template}");
        }
    }

    proptest! {
        #[test]
        fn every_name_can_be_written(account in ".{0,20}", name in "[ -~]{0,20}", text in "[^{}]{0,10}") {
            let template = NameTemplate::parse(&format!("{text}{{account_name}}{text}{{role}}")).unwrap();
            prop_assert!(NewProfile::new(&template.name("work", &role(&account, &name)), Vec::new()).is_ok());
        }
    }
}
