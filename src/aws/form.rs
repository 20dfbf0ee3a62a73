//! Form bodies, `name=value&name=value`, in memory that is overwritten on drop.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

/// The characters that are percent-encoded: all except the unreserved characters of RFC 3986, section 2.3.
pub(crate) const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The parameters of one action, in the order of their addition.
pub(crate) struct Form {
    pairs: Vec<(Box<str>, Zeroizing<String>)>,
}

impl Form {
    /// A form with the action and the version of the protocol.
    pub(crate) fn new(action: &str, version: &str) -> Self {
        Self::of(action).with("Version", version)
    }

    /// A form with the action alone, for a service without versions.
    pub(crate) fn of(action: &str) -> Self {
        Self { pairs: Vec::new() }.with("Action", action)
    }

    pub(crate) fn with(mut self, name: impl Into<Box<str>>, value: &str) -> Self {
        self.pairs.push((name.into(), Zeroizing::new(value.into())));
        self
    }

    pub(crate) fn with_optional(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Reserve the maximum: escaping turns one byte into at most three. A buffer that grows would leave copies of
        // secrets in memory.
        let capacity: usize = self.pairs.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
        let mut body = Zeroizing::new(Vec::with_capacity(capacity));
        for (name, value) in &self.pairs {
            if !body.is_empty() {
                body.push(b'&');
            }
            percent_encode(name.as_bytes(), ESCAPED).for_each(|part| body.extend_from_slice(part.as_bytes()));
            body.push(b'=');
            percent_encode(value.as_bytes(), ESCAPED).for_each(|part| body.extend_from_slice(part.as_bytes()));
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    fn encoded(form: &Form) -> String {
        String::from_utf8(form.encode().to_vec()).unwrap()
    }

    #[test]
    fn encodes_forms() {
        let form = Form::new("A", "1").with("Tags.member.1.Key", "a b+c&d=é/~-_.\n").with_optional("N", None);
        assert_eq!(encoded(&form), "Action=A&Version=1&Tags.member.1.Key=a%20b%2Bc%26d%3D%C3%A9%2F~-_.%0A");
    }

    proptest! {
        #[test]
        fn decoding_restores_every_value(value in any::<String>(), other in any::<String>()) {
            let body = encoded(&Form::new("A", "1").with("x", &value).with("y", &other));
            prop_assert!(body.bytes().all(|byte| byte.is_ascii_graphic()));
            let values: Vec<String> = body
                .split('&')
                .map(|pair| percent_decode_str(pair.split_once('=').unwrap().1).decode_utf8().unwrap().into())
                .collect();
            prop_assert_eq!(values, ["A", "1", &value, &other]);
        }
    }
}
