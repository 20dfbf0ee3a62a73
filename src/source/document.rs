//! The JSON document with credentials that ECS, EKS and the instance metadata service return, and that programs print.
//!
//! Errors show only `Code` and `Message` of the document. A document that does not parse may still hold a secret, and
//! the error of the parser may quote it.

use std::fmt;
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use zeroize::Zeroizing;

use crate::aws::arn::account_of_role;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::secret::Secret;
use crate::model::text::excerpt;
use crate::model::time::parse_timestamp;

/// The codes of a refused request. Other codes are transient.
const DENIED_CODES: [&str; 3] = ["AssumeRoleUnauthorizedAccess", "AccessDenied", "AccessDeniedException"];

/// The rule of a protocol about the field `Code: Success` in its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SuccessCode {
    /// The document must have the field, as from the metadata service.
    Required,
    /// The field may be missing, as from a container endpoint.
    IfPresent,
}

/// Returns the credentials in this response to `request`. The request carried `secret`, which no error shows.
///
/// # Errors
/// The document has no usable credentials. The error shows only `Code` and `Message` of the body.
pub(crate) fn credentials(
    body: &[u8],
    code: SuccessCode,
    request: &str,
    secret: Option<&Secret>,
) -> Result<Credentials, SourceError> {
    let error = |kind, why: String| SourceError::new(kind, format!("{request}: {why}"));
    let document = parse(body).map_err(|why| error(ErrorKind::Unavailable, why))?;
    document.succeeded(code, secret).map_err(|(kind, why)| error(kind, why))?;
    document
        .credentials(DocumentField::Token)
        .map_err(|why| error(ErrorKind::Misconfigured, format!("in the document, {why}")))
}

/// Returns the credentials that a program has printed for `credential_process`.
///
/// # Errors
/// The reason why the output has no usable credentials, without any part of the output.
pub(crate) fn printed(output: &[u8]) -> Result<Credentials, String> {
    let document = parse(output).map_err(|why| why.replace("the answer", "its output"))?;
    match document.values[DocumentField::Version as usize] {
        Some(FieldValue::Number(1)) => {}
        Some(FieldValue::Number(version)) => {
            return Err(format!("its output has Version {version}, and only 1 is supported"));
        }
        Some(_) => {
            return Err(
                "its output has a Version that is not the number 1; print \"Version\": 1 without quotes or point"
                    .into(),
            );
        }
        None => return Err("its output has no \"Version\": 1".into()),
    }
    document.credentials(DocumentField::SessionToken).map_err(|why| format!("in its output, {why}"))
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(field_identifier)]
enum DocumentField {
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
    #[serde(other)]
    Unknown,
}

enum FieldValue {
    Text(Zeroizing<String>),
    Number(u64),
    Null,
    Other,
}

#[derive(Default)]
struct CredentialDocument {
    values: [Option<FieldValue>; DocumentField::Unknown as usize],
    duplicate: Option<DocumentField>,
}

fn parse(body: &[u8]) -> Result<CredentialDocument, String> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            _ if body.trim_ascii().is_empty() => "the answer is empty".into(),
            _ if body.trim_ascii_start().starts_with(b"<") => "the answer is HTML, not a JSON document".into(),
            Category::Eof => "the answer ends in the middle of its JSON document".into(),
            Category::Data => "the answer is JSON, but not an object with AccessKeyId and SecretAccessKey".into(),
            Category::Syntax | Category::Io => {
                format!("the answer is not a JSON document (line {line}, column {column})")
            }
        }
    })
}

impl CredentialDocument {
    fn succeeded(&self, code: SuccessCode, secret: Option<&Secret>) -> Result<(), (ErrorKind, String)> {
        let misconfigured = |why| (ErrorKind::Misconfigured, format!("in the document, {why}"));
        match self.text(DocumentField::Code).map_err(misconfigured)? {
            None if code == SuccessCode::Required => {
                Err((ErrorKind::Unavailable, "the document has no Code, which must be Success".into()))
            }
            None | Some("Success") => Ok(()),
            Some(code) => {
                let kind = if DENIED_CODES.contains(&code) { ErrorKind::Denied } else { ErrorKind::Unavailable };
                let message = self.text(DocumentField::Message).ok().flatten().map(|text| excerpt(text, secret));
                Err((kind, format!("Code {}: {}", excerpt(code, secret), message.as_deref().unwrap_or("no Message"))))
            }
        }
    }

    fn credentials(&self, token: DocumentField) -> Result<Credentials, String> {
        if let Some(field) = self.duplicate {
            return Err(format!("{field:?} occurs twice"));
        }
        let (key, secret) = (self.text(DocumentField::AccessKeyId)?, self.text(DocumentField::SecretAccessKey)?);
        let token = self.text(token)?;
        let credentials = Credentials::new(key.unwrap_or_default(), secret.unwrap_or_default())
            .and_then(|keys| keys.with_session_token(token))
            .map_err(|unusable| unusable.to_string())?;
        Ok(credentials.with_expiration(self.expiration()?).with_account_id(self.account()?))
    }

    /// Returns the expiration. Absent, null and empty mean unknown.
    fn expiration(&self) -> Result<Option<SystemTime>, String> {
        let Some(text) = self.text(DocumentField::Expiration)? else { return Ok(None) };
        parse_timestamp(text).map(Some).map_err(|why| format!("Expiration {why}"))
    }

    /// Returns `AccountId` as the endpoint says it, else the account of `RoleArn`.
    fn account(&self) -> Result<Option<&str>, String> {
        let of_role = self.text(DocumentField::RoleArn)?.and_then(account_of_role);
        Ok(self.text(DocumentField::AccountId)?.or(of_role))
    }

    /// Returns the text of a field. Null, empty and blank are `None`.
    fn text(&self, field: DocumentField) -> Result<Option<&str>, String> {
        match &self.values[field as usize] {
            None | Some(FieldValue::Null) => Ok(None),
            Some(FieldValue::Text(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
            Some(FieldValue::Number(_) | FieldValue::Other) => Err(format!("{field:?} is not a string")),
        }
    }
}

impl<'de> Deserialize<'de> for CredentialDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DocumentVisitor;
        impl<'de> Visitor<'de> for DocumentVisitor {
            type Value = CredentialDocument;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CredentialDocument, A::Error> {
                let mut document = CredentialDocument::default();
                while let Some(field) = map.next_key::<DocumentField>()? {
                    let Some(value) = document.values.get_mut(field as usize) else {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    };
                    if value.replace(map.next_value()?).is_some() {
                        document.duplicate = Some(field);
                    }
                }
                Ok(document)
            }
        }
        deserializer.deserialize_map(DocumentVisitor)
    }
}

impl<'de> Deserialize<'de> for FieldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = FieldValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<FieldValue, E> {
        Ok(FieldValue::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<FieldValue, E> {
        Ok(FieldValue::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<FieldValue, E> {
        Ok(FieldValue::Other)
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<FieldValue, E> {
        Ok(FieldValue::Other)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<FieldValue, E> {
        Ok(FieldValue::Number(number))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<FieldValue, E> {
        Ok(FieldValue::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<FieldValue, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(FieldValue::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FieldValue, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(FieldValue::Other)
    }
}

#[cfg(test)]
mod tests;
