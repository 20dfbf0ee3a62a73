//! Keys that cannot be right. They are served as they stand, because a store may accept what AWS does not.

use crate::model::credentials::{Credentials, LACKS_SESSION_TOKEN};

/// Returns a sentence for each part of the credentials that cannot be right.
pub(super) fn doubts(credentials: &Credentials) -> Vec<String> {
    let halves = [("access key id", &*credentials.access_key_id), ("secret", credentials.secret_access_key.expose())];
    let doubts = halves.into_iter().filter_map(|(half, value)| Some((half, doubt(value)?)));
    let mut doubts: Vec<String> = doubts
        .map(|(half, doubt)| format!("the {half} {doubt}: it is served as it stands, and no service will accept it"))
        .collect();
    doubts.extend(credentials.lacks_session_token().then(|| LACKS_SESSION_TOKEN.to_owned()));
    doubts
}

/// Returns the reason why half a key pair cannot be right. Users copy quotes, blanks and placeholders with a key.
fn doubt(value: &str) -> Option<&'static str> {
    let is_zero_width = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
    let is_between = |open, close| value.starts_with(open) && value.ends_with(close);
    match value {
        _ if is_between('"', '"') || is_between('\'', '\'') => Some("is in quotes, which are part of it"),
        _ if value.contains(char::is_whitespace) => Some("contains white space"),
        _ if value.contains(is_zero_width) => Some("contains a character without width"),
        _ if value.starts_with("ENC[") => Some("is encrypted (SOPS)"),
        _ if is_between('<', '>') || value.starts_with("${") || value.starts_with("{{") => Some("is a placeholder"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubts_keys_that_were_copied_with_more() {
        for value in [
            "\"AKIA1\"",
            "'x'",
            "a b",
            "a\u{200b}",
            "\u{feff}a",
            "ENC[AES256_GCM,data:x]",
            "<YOUR_KEY>",
            "${KEY}",
            "{{ key }}",
        ] {
            assert!(doubt(value).is_some(), "{value}");
        }
        for value in ["AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPx=", "a\"b", "x<y>z", "$ecret"] {
            assert_eq!(doubt(value), None, "{value}");
        }
    }

    #[test]
    fn doubts_a_temporary_key_without_its_token() {
        let keys = Credentials::new("ASIAIOSFODNN7EXAMPLE", "secret").unwrap();
        assert_eq!(doubts(&keys), [LACKS_SESSION_TOKEN]);
        let whole = Credentials { session_token: Some("token".into()), ..keys };
        assert!(doubts(&whole).is_empty());
        for other in ["AKIAIOSFODNN7EXAMPLE", "ASIA1", "asiaiosfodnn7example"] {
            assert!(doubts(&Credentials::new(other, "secret").unwrap()).is_empty(), "{other}");
        }
    }
}
