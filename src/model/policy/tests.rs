use proptest::prelude::*;

use super::*;

const READ_ONLY: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "Read",
      "Effect": "Allow",
      "Action": ["s3:GetObject", "s3:List*"],
      "Resource": "arn:aws:s3:::bucket/*",
      "Condition": { "NumericLessThan": { "s3:max-keys": 1.50e1 }, "Bool": { "aws:SecureTransport": [true] } }
    }
  ]
}
"#;

fn error(text: &str) -> PolicyError {
    SessionPolicy::parse(text).unwrap_err()
}

/// A policy with this statement.
fn with(statement: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#)
}

#[test]
fn minifies_and_keeps_order_numbers_and_escapes() {
    let policy = SessionPolicy::parse(READ_ONLY).unwrap();
    let expected = concat!(
        r#"{"Version":"2012-10-17","Statement":[{"Sid":"Read","Effect":"Allow","Action":["s3:GetObject","s3:List*"],"#,
        r#""Resource":"arn:aws:s3:::bucket/*","Condition":{"NumericLessThan":{"s3:max-keys":1.50e1},"#,
        r#""Bool":{"aws:SecureTransport":[true]}}}]}"#
    );
    assert_eq!(policy.as_str(), expected);
    assert_eq!(policy.characters(), expected.len());
    assert_eq!(SessionPolicy::parse(expected).unwrap(), policy);
    let escaped = with(r#"{"Effect":"Deny","NotAction":"*","NotResource":"*","Sid":"\u20ac \" \\"}"#);
    assert_eq!(SessionPolicy::parse(&escaped).unwrap().as_str(), escaped);
}

#[test]
fn hashes_what_is_sent() {
    // printf '%s' '{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}' | sha256sum
    let policy = SessionPolicy::parse(r#"{ "Statement": {"Effect":"Deny","Action":"*","Resource":"*"} }"#).unwrap();
    assert_eq!(&*policy.sha256(), "8f3a31251f284aea15b637dec117911afe435bd06b9d4c6b766a74f89cf5c731");
    assert_eq!(format!("{policy:?}"), format!("SessionPolicy({})", policy.sha256()));
}

#[test]
fn names_line_and_column_of_syntax_errors() {
    for (text, line, column, expected) in [
        ("", 1, 1, "the text ends here"),
        ("{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [", 3, 17, "the text ends here; a value is expected"),
        ("{\n \"Version\" 1}", 2, 12, "this is no JSON; : is expected"),
        ("{\"é\": 01}", 1, 7, "this is no number of JSON"),
        ("{\"a\": 1, \"a\": 2}", 1, 10, "this key is there twice"),
        ("{\"a\": 1, \"\\u0061\": 2}", 1, 10, "this key is there twice"),
        ("{\"a\": 1} x", 1, 10, "there is more text after the end"),
        ("{\"a\": 1}{", 1, 9, "there is more text after the end"),
        ("{\"a\": \"x", 1, 7, "no closing quote"),
        ("{\"a\": \"x\ny\"}", 1, 9, "a wrong escape, or a line break"),
        ("{\"a\": \"\\x\"}", 1, 9, "a wrong escape"),
        ("{\"a\": \"\\ud800\"}", 1, 14, "a wrong escape"),
        ("{\"a\": truth}", 1, 7, "this is no JSON"),
        ("{'a': 1}", 1, 2, "a key in double quotes is expected"),
        ("{\"a\": 1,}", 1, 9, "a key in double quotes is expected"),
        ("[1,]", 1, 4, "this is no JSON"),
        ("\u{feff}{}", 1, 1, "this is no JSON"),
        ("{\"a\": 1. }", 1, 7, "no number"),
        ("{\"a\": -}", 1, 7, "no number"),
        ("{\"a\": 1e}", 1, 7, "no number"),
    ] {
        let error = error(text);
        assert!(error.is_syntax && error.message.contains(expected), "{text:?}: {error}");
        assert_eq!((error.line, error.column), (line, column), "{text:?}: {error}");
    }
}

#[test]
fn refuses_what_sts_would_refuse() {
    for (statement, expected) in [
        ("[]", "Statement is empty"),
        ("\"Allow\"", "a statement is no object"),
        (r#"[{"Effect":"Allow","Action":"*","Resource":"*"}, 1]"#, "a statement is no object"),
        (r#"{"Action":"*","Resource":"*"}"#, "no Effect"),
        (r#"{"Effect":"allow","Action":"*","Resource":"*"}"#, "neither \"Allow\" nor \"Deny\""),
        (r#"{"Effect":"Allow","Resource":"*"}"#, "neither Action nor NotAction"),
        (r#"{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}"#, "has Action and NotAction"),
        (r#"{"Effect":"Allow","Action":"*"}"#, "neither Resource nor NotResource"),
        (r#"{"Effect":"Allow","Action":[],"Resource":"*"}"#, "Action is empty"),
        (r#"{"Effect":"Allow","Action":"GetObject","Resource":"*"}"#, "this is no action"),
        (r#"{"Effect":"Allow","Action":["s3:*", 1],"Resource":"*"}"#, "Action is no text"),
        (r#"{"Effect":"Allow","Action":"s3:*","Resource":"bucket/*"}"#, "this is no resource"),
        (
            r#"{"Effect":"Allow","Action":"s3:*","Resource":"*","Principal":"*"}"#,
            "Principal belongs to policies of resources",
        ),
        (r#"{"Effect":"Allow","Action":"s3:*","Resource":"*","Conditions":{}}"#, "a statement does not have this key"),
        (r#"{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":[]}"#, "Condition is no object"),
        (
            r#"{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"Bool":true}}"#,
            "the operator of a condition is no object",
        ),
        (
            r#"{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"Bool":{"a":null}}}"#,
            "the value of a condition",
        ),
        (r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::€"}"#, "write it as \\u20ac"),
    ] {
        let error = error(&with(statement));
        assert!(!error.is_syntax && error.message.contains(expected), "{statement}: {error}");
    }
    for (text, expected) in [
        ("[]", "the policy is no object"),
        ("{}", "the policy has no Statement"),
        (r#"{"Version":"2012-10-17","Statements":[]}"#, "a policy does not have this key"),
        (r#"{"Version":"2024-01-01","Statement":[]}"#, "Version is neither"),
        (r#"{"Version":2012,"Statement":[]}"#, "Version is neither"),
    ] {
        assert!(error(text).message.contains(expected), "{text}: {}", error(text));
    }
}

#[test]
fn limits_length_and_depth() {
    let of =
        |length: usize| with(&format!(r#"{{"Effect":"Allow","Action":"s3:{}","Resource":"*"}}"#, "é".repeat(length)));
    let most = MAX_POLICY_CHARACTERS - of(0).chars().count();
    assert_eq!(SessionPolicy::parse(&of(most)).unwrap().characters(), MAX_POLICY_CHARACTERS);
    assert!(error(&of(most + 1)).message.contains("has 2049 characters without white space"));
    // White space is not counted.
    let wide = of(most).replace(':', &format!(":{}", " \t\r\n".repeat(50)));
    let _ = SessionPolicy::parse(&wide.replace(&format!("s3:{}", " \t\r\n".repeat(50)), "s3:"))
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(error(&" ".repeat(MAX_WRITTEN + 1)).message.contains("bytes"));
    for open in ["[", "{\"a\":"] {
        let error = error(&open.repeat(20_000));
        assert!(error.message.contains("nested deeper"), "{error}");
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (-1.0e9..1.0e9f64).prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
        "[\\\\\"/\u{8}\n\t]{0,4}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("\\PC{0,4}", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn minified_text_has_the_same_value(value in any_json(), is_pretty in any::<bool>()) {
        let written = if is_pretty { format!(" \r\n{value:#}\t") } else { value.to_string() };
        let (_, minified) = json::parse(&written).unwrap();
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        prop_assert_eq!(read(&minified), read(&written));
        prop_assert_eq!(&minified, &value.to_string());
    }

    #[test]
    fn accepts_no_more_than_serde_json(text in "[\\[\\]{}:,\"a1. \\\\ue0+-]{0,24}") {
        if let Ok((_, minified)) = json::parse(&text) {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(value, serde_json::from_str::<serde_json::Value>(&minified).unwrap());
        }
    }
}
