//! The JSON document in which ECS, EKS and the instance metadata service hand out credentials, and programs print them.
//!
//! Nothing of it is ever shown but `Code` and `Message`: what does not parse may still hold a secret, and so may the
//! error of the parser.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use zeroize::Zeroizing;

use crate::aws::arn::account_of_role;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::secret::Secret;
use crate::model::text::excerpt;
use crate::model::time::parse_timestamp;

/// The first of January 2100. A later end (endpoints write 9999 for "never") is no moment to plan by, and several SDKs
/// overflow on it: it counts as unknown, so that the lease is read anew like that of any long-lived key.
const END_OF_TIME: Duration = Duration::from_secs(4_102_444_800);

/// Codes that say no, and not "not now".
const REFUSALS: [&str; 3] = ["AssumeRoleUnauthorizedAccess", "AccessDenied", "AccessDeniedException"];

/// Whether a document has to say `Code: Success`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SuccessCode {
    /// The metadata service always says it.
    Required,
    /// Container endpoints may leave it out.
    IfPresent,
}

/// The credentials in this answer of `tried`. What equals `hush` is not repeated from its messages.
///
/// # Errors
/// What stands in their way, without anything of the body but its `Code` and `Message`.
pub(crate) fn credentials(
    body: &[u8],
    code: SuccessCode,
    tried: &str,
    hush: Option<&Secret>,
) -> Result<Credentials, SourceError> {
    let failure = |kind, why: String| SourceError::new(kind, format!("{tried}: {why}"));
    let document = parse(body).map_err(|why| failure(ErrorKind::Unavailable, why))?;
    document.succeeded(code, hush).map_err(|(kind, why)| failure(kind, why))?;
    document.credentials().map_err(|why| failure(ErrorKind::Misconfigured, format!("in the document, {why}")))
}

/// The credentials that a program has printed for `credential_process`.
///
/// # Errors
/// Why they are none; nothing of the output is shown.
pub(crate) fn printed(output: &[u8]) -> Result<Credentials, String> {
    let document = parse(output).map_err(|why| why.replace("the answer", "its output"))?;
    match document.values[Field::Version as usize] {
        Some(Value::Number(1)) => {}
        Some(Value::Number(version)) => return Err(format!("its output has Version {version}, and only 1 is known")),
        _ => return Err("its output has no \"Version\": 1".into()),
    }
    document.credentials_with(Field::SessionToken).map_err(|why| format!("in its output, {why}"))
}

#[derive(Clone, Copy)]
enum Field {
    AccessKeyId,
    SecretAccessKey,
    Token,
    Expiration,
    AccountId,
    RoleArn,
    Code,
    Message,
    Version,
    SessionToken,
}

const FIELDS: [&str; 10] = [
    "AccessKeyId",
    "SecretAccessKey",
    "Token",
    "Expiration",
    "AccountId",
    "RoleArn",
    "Code",
    "Message",
    "Version",
    "SessionToken",
];

enum Value {
    Text(Zeroizing<String>),
    Number(u64),
    Null,
    Other,
}

#[derive(Default)]
struct Document {
    values: [Option<Value>; FIELDS.len()],
    twice: Option<&'static str>,
}

fn parse(body: &[u8]) -> Result<Document, String> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            _ if body.trim_ascii().is_empty() => "the answer is empty".into(),
            _ if body.trim_ascii_start().starts_with(b"<") => "the answer is HTML, not a JSON document".into(),
            Category::Eof => "the answer ends in the middle of its JSON document".into(),
            Category::Data => "the answer is JSON, but no object with AccessKeyId and SecretAccessKey".into(),
            Category::Syntax | Category::Io => {
                format!("the answer is not a JSON document (line {line}, column {column})")
            }
        }
    })
}

impl Document {
    fn succeeded(&self, code: SuccessCode, hush: Option<&Secret>) -> Result<(), (ErrorKind, String)> {
        let misconfigured = |why| (ErrorKind::Misconfigured, format!("in the document, {why}"));
        match self.text(Field::Code).map_err(misconfigured)? {
            None if code == SuccessCode::Required => {
                Err((ErrorKind::Unavailable, "the document has no Code, which must be Success".into()))
            }
            None | Some("Success") => Ok(()),
            Some(code) => {
                let kind = if REFUSALS.contains(&code) { ErrorKind::Denied } else { ErrorKind::Unavailable };
                let message = self.text(Field::Message).ok().flatten().map(|text| excerpt(text, hush));
                Err((kind, format!("Code {}: {}", excerpt(code, hush), message.as_deref().unwrap_or("no Message"))))
            }
        }
    }

    fn credentials(&self) -> Result<Credentials, String> {
        self.credentials_with(Field::Token)
    }

    fn credentials_with(&self, token: Field) -> Result<Credentials, String> {
        if let Some(field) = self.twice {
            return Err(format!("{field} stands twice"));
        }
        let (key, secret) = (self.text(Field::AccessKeyId)?, self.text(Field::SecretAccessKey)?);
        let token = self.text(token)?;
        let credentials = Credentials::new(key.unwrap_or_default(), secret.unwrap_or_default())
            .and_then(|keys| keys.with_session_token(token))
            .map_err(|unusable| unusable.to_string())?;
        Ok(credentials.with_expiration(self.expiration()?).with_account_id(self.account()?))
    }

    /// Absent, null and empty are unknown.
    fn expiration(&self) -> Result<Option<SystemTime>, String> {
        let Some(text) = self.text(Field::Expiration)? else { return Ok(None) };
        let at = parse_timestamp(text).map_err(|why| format!("Expiration {why}"))?;
        Ok(Some(at).filter(|at| *at < SystemTime::UNIX_EPOCH + END_OF_TIME))
    }

    /// `AccountId`, or the account of `RoleArn`, whose credentials these are. Two that differ are not certain.
    fn account(&self) -> Result<Option<&str>, String> {
        let written = self.text(Field::AccountId)?;
        let of_role = self.text(Field::RoleArn)?.and_then(account_of_role);
        Ok(match (written, of_role) {
            (Some(written), Some(of_role)) if written != of_role => None,
            (written, of_role) => written.or(of_role),
        })
    }

    /// The text of a field; null, empty and blank are none.
    fn text(&self, field: Field) -> Result<Option<&str>, String> {
        match &self.values[field as usize] {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
            Some(Value::Number(_) | Value::Other) => Err(format!("{} is not a text", FIELDS[field as usize])),
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DocumentVisitor;
        impl<'de> Visitor<'de> for DocumentVisitor {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut document = Document::default();
                while let Some(Name(known)) = map.next_key()? {
                    let Some(index) = known else {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    };
                    if document.values[index].replace(map.next_value()?).is_some() {
                        document.twice = Some(FIELDS[index]);
                    }
                }
                Ok(document)
            }
        }
        deserializer.deserialize_map(DocumentVisitor)
    }
}

struct Name(Option<usize>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl Visitor<'_> for Key {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Name, E> {
                Ok(Name(FIELDS.iter().position(|field| *field == name)))
            }
        }
        deserializer.deserialize_str(Key)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use testkit::document;

    fn read(body: &str) -> Result<Credentials, SourceError> {
        credentials(body.as_bytes(), SuccessCode::IfPresent, "GET http://h/", None)
    }

    fn with(more: &str) -> Result<Credentials, SourceError> {
        read(&format!(r#"{{"AccessKeyId":"A","SecretAccessKey":"hush",{more}}}"#))
    }

    #[test]
    fn a_whole_document() {
        let body = document("ASIA1", "2026-11-23T16:00:00Z");
        let found = credentials(body.as_bytes(), SuccessCode::Required, "", None).unwrap();
        assert_eq!((&*found.access_key_id, found.secret_access_key.expose()), ("ASIA1", "hush-secret"));
        assert_eq!(found.session_token.unwrap().expose(), "hush-session");
        assert_eq!(found.expiration, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600)));
    }

    #[test]
    fn what_a_program_prints() {
        const KEYS: &str = r#""AccessKeyId":"ASIA1","SecretAccessKey":"hush""#;
        let whole = format!(
            r#"{{"Version":1,{KEYS},"SessionToken":"t","Expiration":"2026-11-23T16:00:00Z","AccountId":"123456789012"}}"#
        );
        let found = printed(whole.as_bytes()).unwrap();
        assert_eq!((&*found.access_key_id, found.session_token.unwrap().expose()), ("ASIA1", "t"));
        assert_eq!((found.expiration.is_some(), found.account_id.as_deref()), (true, Some("123456789012")));
        assert!(printed(format!(r#"{{"Version":1,{KEYS}}}"#).as_bytes()).unwrap().is_long_lived());
        for (output, why) in [
            (format!("{{{KEYS}}}"), "its output has no \"Version\": 1"),
            (format!(r#"{{"Version":2,{KEYS}}}"#), "Version 2"),
            (format!(r#"{{"Version":"1",{KEYS}}}"#), "no \"Version\": 1"),
            (r#"{"Version":1,"AccessKeyId":"A"}"#.into(), "the secret access key is empty"),
            (format!(r#"{{"Version":1,{KEYS},"Token":"t","SessionToken":7}}"#), "SessionToken is not a text"),
            (format!(r#"{{"Version":1,{KEYS},"Expiration":"soon"}}"#), "Expiration is not a timestamp"),
            ("please log in".into(), "its output is not a JSON document"),
            (String::new(), "its output is empty"),
            (format!(r#"{{"Version":1,{KEYS}"#), "ends in the middle"),
        ] {
            let said = printed(output.as_bytes()).unwrap_err();
            assert!(said.contains(why) && !said.contains("hush"), "{output}: {said}");
        }
    }

    #[test]
    fn absent_null_and_empty_are_none() {
        for more in ["\"x\":1", r#""Token":null,"Expiration":null"#, r#""Token":"","Expiration":" ""#] {
            let found = with(more).unwrap();
            assert_eq!((found.session_token, found.expiration, found.account_id), (None, None, None), "{more}");
        }
    }

    #[test]
    fn what_is_unknown_is_ignored_and_the_far_end_is_unknown() {
        for (more, seconds) in [
            (r#""Other":{"a":[1,{"b":null}]},"Expiration":"2026-11-23T16:00:00.123Z""#, Some(1_795_449_600)),
            (r#""Expiration":"2001-09-09T01:46:40Z""#, Some(1_000_000_000)),
            (r#""Expiration":"2099-12-31T23:59:59Z""#, Some(4_102_444_799)),
            (r#""Expiration":"2100-01-01T00:00:00Z""#, None),
            (r#""Expiration":"9999-12-31T23:59:59Z""#, None),
        ] {
            let end = with(more).unwrap().expiration;
            let end = end.map(|end| end.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
            assert_eq!(end, seconds, "{more}");
        }
    }

    #[test]
    fn an_account_counts_when_it_is_certain() {
        const ACCOUNT: Option<&str> = Some("123456789012");
        for (more, account) in [
            (r#""AccountId":"123456789012""#, ACCOUNT),
            (r#""RoleArn":"arn:aws:iam::123456789012:role/path/r""#, ACCOUNT),
            (r#""RoleArn":"arn:aws-cn:sts::123456789012:assumed-role/r/s""#, ACCOUNT),
            (r#""AccountId":"123456789012","RoleArn":"arn:aws:iam::123456789012:role/r""#, ACCOUNT),
            (r#""AccountId":"123456789012","RoleArn":"TASK_EXECUTION_ROLE_ARN""#, ACCOUNT),
            (r#""AccountId":"123456789012","RoleArn":"arn:aws:iam::210987654321:role/r""#, None),
            (r#""AccountId":"12","RoleArn":"arn:aws:iam::123456789012:role/r""#, None),
            (r#""RoleArn":"arn:aws:iam::123456789012:user/u""#, None),
            (r#""RoleArn":"arn:aws:s3::123456789012:role/u""#, None),
            (r#""RoleArn":"arn:aws:iam::x:role/r""#, None),
            (r#""RoleArn":"""#, None),
        ] {
            assert_eq!(with(more).unwrap().account_id.as_deref(), account, "{more}");
        }
    }

    #[test]
    fn malformed_answers_are_named_and_not_shown() {
        let brackets = "[".repeat(10_000);
        let nested = format!(r#"{{"x":{brackets}"#);
        let deep = format!(r#"{{"Token":{brackets}{}}}"#, "]".repeat(10_000));
        let pair = r#""AccessKeyId":"A","SecretAccessKey":"hush""#;
        for (body, kind, said) in [
            ("", ErrorKind::Unavailable, "the answer is empty"),
            (" <html>hush</html>", ErrorKind::Unavailable, "HTML"),
            (r#"{"AccessKeyId":"A","SecretAccessKey":"hus"#, ErrorKind::Unavailable, "ends in the middle"),
            ("hush", ErrorKind::Unavailable, "not a JSON document (line 1, column 1)"),
            ("\"hush\"", ErrorKind::Unavailable, "no object"),
            ("[\"hush\"]", ErrorKind::Unavailable, "no object"),
            ("{} hush", ErrorKind::Unavailable, "not a JSON document (line 1, column 4)"),
            ("{\"a\":\"hu\nsh\"}", ErrorKind::Unavailable, "not a JSON document"),
            (&brackets, ErrorKind::Unavailable, "no object"),
            (&nested, ErrorKind::Unavailable, "ends in the middle"),
            (&deep, ErrorKind::Misconfigured, "Token is not a text"),
            ("{}", ErrorKind::Misconfigured, "the access key id is empty"),
            (r#"{"AccessKeyId":"A"}"#, ErrorKind::Misconfigured, "the secret access key is empty"),
            (r#"{"SecretAccessKey":"hush"}"#, ErrorKind::Misconfigured, "the access key id is empty"),
            (r#"{"AccessKeyId":1,"SecretAccessKey":"hush"}"#, ErrorKind::Misconfigured, "AccessKeyId is not a text"),
            (
                r#"{"AccessKeyId":"A","SecretAccessKey":["hush"]}"#,
                ErrorKind::Misconfigured,
                "SecretAccessKey is not a text",
            ),
            (
                r#"{"AccessKeyId":"A","SecretAccessKey":"hu\nsh"}"#,
                ErrorKind::Misconfigured,
                "contains a control character",
            ),
            (&format!(r#"{{{pair},"Token":{{"hush":1}}}}"#), ErrorKind::Misconfigured, "Token is not a text"),
            (&format!(r#"{{{pair},"Token":"hu\u0000sh"}}"#), ErrorKind::Misconfigured, "the session token contains"),
            (&format!("{{{pair},{pair}}}"), ErrorKind::Misconfigured, "stands twice"),
            (&format!(r#"{{{pair},"Expiration":1795449600}}"#), ErrorKind::Misconfigured, "Expiration is not a text"),
            (
                &format!(r#"{{{pair},"Expiration":"2026-11-23T16:00:00"}}"#),
                ErrorKind::Misconfigured,
                "has no time zone",
            ),
            (&format!(r#"{{{pair},"Expiration":"hush"}}"#), ErrorKind::Misconfigured, "is not a timestamp"),
            (&format!(r#"{{{pair},"AccountId":true}}"#), ErrorKind::Misconfigured, "AccountId is not a text"),
        ] {
            let failure = read(body).unwrap_err();
            assert!(failure.to_string().contains(said) && failure.kind == kind, "{body:.50}: {failure:?}");
            assert!(
                failure.to_string().starts_with("GET http://h/: ") && !failure.to_string().contains("hush"),
                "{failure}"
            );
        }
    }

    #[test]
    fn a_code_other_than_success_is_told() {
        let failure = with(r#""Code":"Failed","Message":"not\nnow""#).unwrap_err();
        assert_eq!(
            (failure.kind, &*failure.to_string()),
            (ErrorKind::Unavailable, r"GET http://h/: Code Failed: not\nnow")
        );
        let failure = read(r#"{"Code":"AssumeRoleUnauthorizedAccess"}"#).unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Denied);
        let body = br#"{"AccessKeyId":"A","SecretAccessKey":"s"}"#;
        assert!(credentials(body, SuccessCode::Required, "", None).unwrap_err().message.contains("must be Success"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(credentials(&body, SuccessCode::IfPresent, "", None));
        }

        #[test]
        fn no_cut_and_no_flip_panics(at in 0..300_usize, byte in any::<u8>()) {
            let mut body = document("ASIA1", "2026-11-23T16:00:00Z").into_bytes();
            drop(credentials(&body[..at.min(body.len())], SuccessCode::Required, "", None));
            let at = at % body.len();
            body[at] = byte;
            drop(credentials(&body, SuccessCode::Required, "", None));
        }
    }
}
