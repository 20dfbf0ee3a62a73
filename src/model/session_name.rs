//! Texts of a session that name the client: session names, tags and source identities with `{client}`, `{user}` and
//! `{identity}`.
//!
//! Two clients never get the same text. Where STS accepts less than a name holds, a hash stands at the end.

use std::ops::RangeInclusive;

use ring::digest;

use crate::model::session_limits::{FEDERATED_NAME_LENGTH, MAX_TAG_VALUE, NAME_LENGTH, is_of_name, is_of_tag};
use crate::model::text::hex;

/// The number of hex digits of the hash at the end of a changed text. 48 bits do not meet by chance, and leave 19
/// characters of the shortest names.
const HASH_DIGITS: usize = 12;

/// The replacement of a character that STS does not accept.
const REPLACEMENT: char = '-';

/// The name of the owner among clients: the auth token, and the commands without a daemon.
pub(crate) const OWNER: &str = "owner";

/// A value that is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placeholder {
    Client,
    User,
    Identity,
}

/// The placeholders, as written.
const PLACEHOLDERS: [(&str, Placeholder); 3] =
    [("{client}", Placeholder::Client), ("{user}", Placeholder::User), ("{identity}", Placeholder::Identity)];

/// The values of the placeholders for one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionNames {
    pub(crate) client: Option<Box<str>>,
    pub(crate) user: Option<Box<str>>,
    pub(crate) identity: Box<str>,
}

impl SessionNames {
    fn value(&self, placeholder: Placeholder) -> Option<&str> {
        match placeholder {
            Placeholder::Client => self.client.as_deref(),
            Placeholder::User => self.user.as_deref(),
            Placeholder::Identity => Some(&self.identity),
        }
    }
}

/// The place of a text in a request, which decides the characters and the length that STS accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionTextKind {
    /// A session name or a source identity.
    Name,
    /// The name of a federated user.
    FederatedName,
    /// The value of a tag.
    TagValue,
}

impl SessionTextKind {
    fn accepts(self, c: char) -> bool {
        match self {
            Self::Name | Self::FederatedName => is_of_name(c),
            Self::TagValue => is_of_tag(c),
        }
    }

    fn length(self) -> RangeInclusive<usize> {
        match self {
            Self::Name => NAME_LENGTH,
            Self::FederatedName => FEDERATED_NAME_LENGTH,
            Self::TagValue => 0..=MAX_TAG_VALUE,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextPart<'t> {
    Literal(&'t str),
    Placeholder(Placeholder),
}

/// Splits a text at its placeholders.
fn parts(text: &str) -> Result<Vec<TextPart<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (literal, braced) = rest.split_at(at);
        let known = PLACEHOLDERS.iter().find_map(|(name, known)| Some((*known, braced.strip_prefix(name)?)));
        let (placeholder, after) =
            known.ok_or("braces stand around {client}, {user} or {identity} only; write one of these, or no braces")?;
        if !literal.is_empty() {
            parts.push(TextPart::Literal(literal));
        }
        parts.push(TextPart::Placeholder(placeholder));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(TextPart::Literal(rest));
    }
    Ok(parts)
}

/// Checks a text of the configuration, with or without placeholders.
///
/// # Errors
/// If a placeholder is unknown, or STS does not accept the text between the placeholders.
pub(crate) fn check(text: &str, kind: SessionTextKind) -> Result<(), String> {
    let parts = parts(text)?;
    let length = kind.length();
    let count = |text: &str| text.chars().count();
    let literals = parts.iter().map(|part| match part {
        TextPart::Literal(text) => text,
        TextPart::Placeholder(_) => "",
    });
    let (mut written, mut is_valid) = (0, true);
    for literal in literals {
        written += count(literal);
        is_valid &= literal.chars().all(|c| kind.accepts(c));
    }
    if !is_valid {
        return Err(match kind {
            SessionTextKind::TagValue => {
                "STS accepts letters, digits, spaces and the characters _ . : / = + - @".into()
            }
            _ => "STS accepts letters, digits and the characters _ + = , . @ -".into(),
        });
    }
    let is_literal = !parts.iter().any(|part| matches!(part, TextPart::Placeholder(_)));
    if written > *length.end() || (is_literal && !length.contains(&written)) {
        return Err(format!("STS accepts {} to {} characters", length.start(), length.end()));
    }
    Ok(())
}

/// Returns true if the text has this placeholder.
pub(crate) fn names(text: &str, placeholder: Placeholder) -> bool {
    parts(text).is_ok_and(|parts| parts.contains(&TextPart::Placeholder(placeholder)))
}

/// Fills the placeholders of a text. A text without placeholders stays as it is.
///
/// STS accepts the result. Characters that STS refuses are replaced, and a long text is cut; the result then ends with a
/// hash of all parts, so that two clients never share a name.
///
/// # Errors
/// If a placeholder is unknown or has no value.
pub(crate) fn fill(text: &str, names: &SessionNames, kind: SessionTextKind) -> Result<Box<str>, String> {
    let parts = parts(text)?;
    if !parts.iter().any(|part| matches!(part, TextPart::Placeholder(_))) {
        return Ok(text.into());
    }
    let mut filled: Vec<(&str, bool)> = Vec::with_capacity(parts.len());
    for part in parts {
        filled.push(match part {
            TextPart::Literal(text) => (text, false),
            TextPart::Placeholder(placeholder) => {
                let (name, _) = PLACEHOLDERS[placeholder as usize];
                let value = names.value(placeholder);
                (value.ok_or_else(|| format!("{name} is in the text, and it is not known for this client"))?, true)
            }
        });
    }
    let whole: String = filled.iter().map(|(text, _)| *text).collect();
    let mapped: String = whole.chars().map(|c| if kind.accepts(c) { c } else { REPLACEMENT }).collect();
    let length = kind.length();
    let count = mapped.chars().count();
    if mapped == whole && length.contains(&count) && !ends_with_hash(&mapped) && !is_ambiguous(&filled) {
        return Ok(mapped.into());
    }
    let kept: String = mapped.chars().take(length.end() - HASH_DIGITS - 1).collect();
    Ok(format!("{kept}-{}", hash(&filled)).into())
}

/// Returns true if other values could fill the same text: `{client}-{user}` with `a-b` and `c`, or with `a` and `b-c`.
fn is_ambiguous(filled: &[(&str, bool)]) -> bool {
    let values: Vec<usize> = (0..filled.len()).filter(|position| filled[*position].1).collect();
    values.windows(2).any(|pair| {
        let between = &filled[pair[0] + 1..pair[1]];
        let separator = between.first().and_then(|(text, _)| text.chars().next());
        separator.is_none_or(|separator| filled[pair[0]].0.contains(separator))
    })
}

/// Returns true if the text could be one with a hash at its end.
fn ends_with_hash(text: &str) -> bool {
    let Some((_, end)) = text.rsplit_once('-') else { return false };
    end.len() == HASH_DIGITS && end.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn hash(filled: &[(&str, bool)]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for (text, _) in filled {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    hex(&context.finish().as_ref()[..HASH_DIGITS / 2])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::session_limits::{check_name, check_tag};

    fn of(client: &str, user: &str) -> SessionNames {
        SessionNames { client: Some(client.into()), user: Some(user.into()), identity: "prod".into() }
    }

    fn filled(text: &str, client: &str, user: &str) -> Box<str> {
        fill(text, &of(client, user), SessionTextKind::Name).unwrap()
    }

    #[test]
    fn fills_placeholders() {
        for (text, expected) in [
            ("{client}", "web"),
            ("x-{client}.{identity}", "x-web.prod"),
            ("{user}@{client}", "ann@web"),
            ("plain", "plain"),
        ] {
            assert_eq!(&*filled(text, "web", "ann"), expected);
        }
    }

    #[test]
    fn adds_a_hash_where_something_is_lost() {
        for (text, client, prefix) in [
            ("{client}", "a/b", "a-b-"),
            ("{client}", "ü", "--"),
            ("{client}", "a", "a-"),
            ("{client}{user}", "ab", "abann-"),
            ("{client}-{user}", "a-b", "a-b-ann-"),
            ("{client}", "a-0123456789ab", "a-0123456789ab-"),
        ] {
            let name = filled(text, client, "ann");
            assert!(name.starts_with(prefix) && ends_with_hash(&name), "{text} {client}: {name}");
            assert_eq!(name.len(), prefix.len() + HASH_DIGITS, "{name}");
        }
        let long = filled("{client}", &"a".repeat(65), "");
        assert_eq!(long.len(), 64);
        let federated = fill("{client}", &of(&"a".repeat(33), ""), SessionTextKind::FederatedName).unwrap();
        assert_eq!(federated.len(), 32);
        assert_eq!(&*filled("{client}-{user}", "a.b", "c-d"), "a.b-c-d");
    }

    #[test]
    fn refuses_unknown_placeholders_and_missing_values() {
        for text in ["{clients}", "{Client}", "{", "}", "a}b", "{client", "{{client}}", "{}", "{client }"] {
            assert!(check(text, SessionTextKind::Name).is_err(), "{text}");
            assert!(fill(text, &of("a", "b"), SessionTextKind::Name).is_err(), "{text}");
        }
        let names = SessionNames { user: None, ..of("web", "") };
        let error = fill("{client}.{user}", &names, SessionTextKind::Name).unwrap_err();
        assert_eq!(error, "{user} is in the text, and it is not known for this client");
    }

    #[test]
    fn checks_text_between_placeholders() {
        for (text, kind, is_valid) in [
            ("{client}", SessionTextKind::Name, true),
            ("a b{client}", SessionTextKind::Name, false),
            ("a b{client}", SessionTextKind::TagValue, true),
            ("", SessionTextKind::TagValue, true),
            ("", SessionTextKind::Name, false),
            ("a", SessionTextKind::Name, false),
            ("a{user}", SessionTextKind::Name, true),
            (&"a".repeat(65), SessionTextKind::Name, false),
            (&format!("{}{{user}}", "a".repeat(65)), SessionTextKind::Name, false),
        ] {
            assert_eq!(check(text, kind).is_ok(), is_valid, "{text}");
        }
        assert!(names("{client}-x", Placeholder::Client) && !names("{user}", Placeholder::Client));
    }

    /// Names that meet where they are mapped, cut or put together: hostile ones, and those as long as STS accepts.
    fn any_name() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ab.-]{1,4}",
            "\\PC{1,80}",
            "[\u{0}-\u{ff}]{1,70}",
            "[a-z]{1,3}-[0-9a-f]{12}",
            "[A-Za-z0-9_.@-]{1,64}",
            "a{16,22}[ab-]{1,2}",
            "a{29,34}[ab-]{1,2}",
            "a{48,54}[ab-]{1,2}",
            "a{61,66}[ab-]{1,2}",
            "a{252,258}[ab]",
            prop::sample::select(vec![
                "", "{client}", "{user}", "a/b", "a-b", "a b", "A-b", "a\nb", "ä", "a\u{308}", "é"
            ])
            .prop_map(str::to_owned),
        ]
    }

    /// Two clients with their users and identities: any two, and a pair that differs in one letter or its end.
    fn any_pair() -> impl Strategy<Value = [[String; 3]; 2]> {
        let three = || [any_name(), any_name(), any_name()];
        let alike =
            (three(), 0..3_usize, any::<prop::sample::Index>(), prop::sample::select(vec!["", "a", "-", "/", "ä"]));
        let alike = alike.prop_map(|(one, place, at, letter)| {
            let mut other = one.clone();
            let mut letters: Vec<String> = other[place].chars().map(String::from).collect();
            match letters.is_empty() {
                true => letters.push(letter.into()),
                false => letters[at.index(other[place].chars().count())] = letter.into(),
            }
            other[place] = letters.concat();
            [one, other]
        });
        let moved = [any_name(), any_name()].prop_map(|[one, other]| {
            let at = one.chars().count() / 2;
            let (start, end) = (one.chars().take(at).collect::<String>(), one.chars().skip(at).collect::<String>());
            [[one, other.clone(), "i".into()], [start, format!("{end}{other}"), "i".into()]]
        });
        prop_oneof![[three(), three()], alike, moved]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn two_clients_never_share_a_name(
            text in prop::sample::select(vec![
                "{client}", "{client}{user}", "{client}-{user}", "x{user}.-{client}", "{user}{identity}{client}",
                "{identity}", "{client}-{identity}", "{identity}.{client}@{user}", "a{client}aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ]),
            kind in prop::sample::select(vec![SessionTextKind::Name, SessionTextKind::FederatedName, SessionTextKind::TagValue]),
            [first, second] in any_pair(),
        ) {
            let fill = |[client, user, identity]: &[String; 3]| {
                let names = SessionNames { identity: identity.as_str().into(), ..of(client, user) };
                fill(text, &names, kind).unwrap()
            };
            let (one, other) = (fill(&first), fill(&second));
            let placeholders = ["{client}", "{user}", "{identity}"].into_iter().zip(first.iter().zip(&second));
            let is_same = placeholders.into_iter().all(|(name, (one, other))| !text.contains(name) || one == other);
            prop_assert_eq!(one == other, is_same, "{} {}", one, other);
            for name in [one, other] {
                let checked = match kind {
                    SessionTextKind::TagValue => check_tag("k", &name),
                    _ => check_name("name", &name, &kind.length()),
                };
                prop_assert!(checked.is_ok(), "{}", name);
            }
        }

        #[test]
        fn parts_of_a_text_never_move(a in "[ab-]{1,3}", b in "[ab-]{1,3}", c in "[ab-]{1,3}", d in "[ab-]{1,3}") {
            let is_same = a == c && b == d;
            prop_assert_eq!(filled("{client}-{user}", &a, &b) == filled("{client}-{user}", &c, &d), is_same);
            prop_assert_eq!(filled("{client}{user}", &a, &b) == filled("{client}{user}", &c, &d), is_same);
        }
    }
}
