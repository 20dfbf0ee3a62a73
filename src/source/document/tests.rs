use std::time::Duration;

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
fn reads_a_whole_document() {
    let body = document("ASIA1", "2026-11-23T16:00:00Z");
    let found = credentials(body.as_bytes(), SuccessCode::Required, "", None).unwrap();
    assert_eq!((&*found.access_key_id, found.secret_access_key.expose()), ("ASIA1", "hush-secret"));
    assert_eq!(found.session_token.unwrap().expose(), "hush-session");
    assert_eq!(found.expiration, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600)));
}

#[test]
fn reads_output_of_programs() {
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
        (
            format!(r#"{{"Version":"1",{KEYS}}}"#),
            "a Version that is not the number 1; print \"Version\": 1 without quotes",
        ),
        (format!(r#"{{"Version":1.0,{KEYS}}}"#), "a Version that is not the number 1"),
        (format!(r#"{{"Version":true,{KEYS}}}"#), "a Version that is not the number 1"),
        (format!(r#"{{"Version":null,{KEYS}}}"#), "a Version that is not the number 1"),
        (r#"{"Version":1,"AccessKeyId":"A"}"#.into(), "the secret access key is empty"),
        (format!(r#"{{"Version":1,{KEYS},"Token":"t","SessionToken":7}}"#), "SessionToken is not a string"),
        (format!(r#"{{"Version":1,{KEYS},"Expiration":"soon"}}"#), "Expiration is not a timestamp"),
        ("please log in".into(), "its output is not a JSON document"),
        (String::new(), "its output is empty"),
        (format!(r#"{{"Version":1,{KEYS}"#), "ends in the middle"),
    ] {
        let error = printed(output.as_bytes()).unwrap_err();
        assert!(error.contains(why) && !error.contains("hush"), "{output}: {error}");
    }
}

#[test]
fn reads_absent_null_and_empty_as_none() {
    for more in ["\"x\":1", r#""Token":null,"Expiration":null"#, r#""Token":"","Expiration":" ""#] {
        let found = with(more).unwrap();
        assert_eq!((found.session_token, found.expiration, found.account_id), (None, None, None), "{more}");
    }
}

#[test]
fn ignores_unknown_fields_and_far_expirations() {
    for (more, seconds) in [
        (r#""Other":{"a":[1,{"b":null}]},"Expiration":"2026-11-23T16:00:00.123Z""#, Some(1_795_449_600)),
        (r#""Expiration":"2001-09-09T01:46:40Z""#, Some(1_000_000_000)),
        (r#""Expiration":"2001-09-09T02:46:40+0100""#, Some(1_000_000_000)),
        (r#""Expiration":"2099-12-31T23:59:59Z""#, Some(4_102_444_799)),
        (r#""Expiration":"2100-01-01T00:00:00Z""#, Some(4_102_444_800)),
        (r#""Expiration":"9999-12-31T23:59:59Z""#, Some(253_402_300_799)),
    ] {
        let end = with(more).unwrap().expiration;
        let end = end.map(|end| end.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(end, seconds, "{more}");
    }
}

#[test]
fn passes_the_account_on_as_said() {
    const ACCOUNT: Option<&str> = Some("123456789012");
    for (more, account) in [
        (r#""AccountId":"123456789012""#, ACCOUNT),
        (r#""RoleArn":"arn:aws:iam::123456789012:role/path/r""#, ACCOUNT),
        (r#""RoleArn":"arn:aws-cn:sts::123456789012:assumed-role/r/s""#, ACCOUNT),
        (r#""AccountId":"123456789012","RoleArn":"arn:aws:iam::123456789012:role/r""#, ACCOUNT),
        (r#""AccountId":"123456789012","RoleArn":"TASK_EXECUTION_ROLE_ARN""#, ACCOUNT),
        (r#""AccountId":"123456789012","RoleArn":"arn:aws:iam::210987654321:role/r""#, ACCOUNT),
        (r#""AccountId":"12","RoleArn":"arn:aws:iam::123456789012:role/r""#, Some("12")),
        (r#""RoleArn":"arn:aws:iam::123456789012:user/u""#, None),
        (r#""RoleArn":"arn:aws:s3::123456789012:role/u""#, None),
        (r#""RoleArn":"arn:aws:iam::x:role/r""#, None),
        (r#""RoleArn":"""#, None),
    ] {
        assert_eq!(with(more).unwrap().account_id.as_deref(), account, "{more}");
    }
}

#[test]
fn reports_malformed_documents_without_showing_them() {
    let brackets = "[".repeat(10_000);
    let nested = format!(r#"{{"x":{brackets}"#);
    let deep = format!(r#"{{"Token":{brackets}{}}}"#, "]".repeat(10_000));
    let pair = r#""AccessKeyId":"A","SecretAccessKey":"hush""#;
    for (body, kind, expected) in [
        ("", ErrorKind::Unavailable, "the answer is empty"),
        (" <html>hush</html>", ErrorKind::Unavailable, "HTML"),
        (r#"{"AccessKeyId":"A","SecretAccessKey":"hus"#, ErrorKind::Unavailable, "ends in the middle"),
        ("hush", ErrorKind::Unavailable, "not a JSON document (line 1, column 1)"),
        ("\"hush\"", ErrorKind::Unavailable, "not an object"),
        ("[\"hush\"]", ErrorKind::Unavailable, "not an object"),
        ("{} hush", ErrorKind::Unavailable, "not a JSON document (line 1, column 4)"),
        ("{\"a\":\"hu\nsh\"}", ErrorKind::Unavailable, "not a JSON document"),
        (&brackets, ErrorKind::Unavailable, "not an object"),
        (&nested, ErrorKind::Unavailable, "ends in the middle"),
        (&deep, ErrorKind::Misconfigured, "Token is not a string"),
        ("{}", ErrorKind::Misconfigured, "the access key id is empty"),
        (r#"{"AccessKeyId":"A"}"#, ErrorKind::Misconfigured, "the secret access key is empty"),
        (r#"{"SecretAccessKey":"hush"}"#, ErrorKind::Misconfigured, "the access key id is empty"),
        (r#"{"AccessKeyId":1,"SecretAccessKey":"hush"}"#, ErrorKind::Misconfigured, "AccessKeyId is not a string"),
        (
            r#"{"AccessKeyId":"A","SecretAccessKey":["hush"]}"#,
            ErrorKind::Misconfigured,
            "SecretAccessKey is not a string",
        ),
        (r#"{"AccessKeyId":"A","SecretAccessKey":"hu\nsh"}"#, ErrorKind::Misconfigured, "contains a control character"),
        (&format!(r#"{{{pair},"Token":{{"hush":1}}}}"#), ErrorKind::Misconfigured, "Token is not a string"),
        (&format!(r#"{{{pair},"Token":"hu\u0000sh"}}"#), ErrorKind::Misconfigured, "the session token contains"),
        (&format!("{{{pair},{pair}}}"), ErrorKind::Misconfigured, "occurs twice"),
        (&format!(r#"{{{pair},"Expiration":1795449600}}"#), ErrorKind::Misconfigured, "Expiration is not a string"),
        (&format!(r#"{{{pair},"Expiration":"2026-11-23T16:00:00"}}"#), ErrorKind::Misconfigured, "has no time zone"),
        (&format!(r#"{{{pair},"Expiration":"hush"}}"#), ErrorKind::Misconfigured, "is not a timestamp"),
        (&format!(r#"{{{pair},"AccountId":true}}"#), ErrorKind::Misconfigured, "AccountId is not a string"),
    ] {
        let error = read(body).unwrap_err();
        assert!(error.to_string().contains(expected) && error.kind == kind, "{body:.50}: {error:?}");
        assert!(error.to_string().starts_with("GET http://h/: ") && !error.to_string().contains("hush"), "{error}");
    }
}

#[test]
fn reports_codes_other_than_success() {
    let error = with(r#""Code":"Failed","Message":"not\nnow""#).unwrap_err();
    assert_eq!((error.kind, &*error.to_string()), (ErrorKind::Unavailable, r"GET http://h/: Code Failed: not\nnow"));
    let error = read(r#"{"Code":"AssumeRoleUnauthorizedAccess"}"#).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    let body = br#"{"AccessKeyId":"A","SecretAccessKey":"s"}"#;
    assert!(credentials(body, SuccessCode::Required, "", None).unwrap_err().message.contains("must be Success"));
}

proptest! {
    #[test]
    fn parses_any_bytes_without_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(credentials(&body, SuccessCode::IfPresent, "", None));
    }

    #[test]
    fn parses_damaged_documents_without_panic(at in 0..300_usize, byte in any::<u8>()) {
        let mut body = document("ASIA1", "2026-11-23T16:00:00Z").into_bytes();
        drop(credentials(&body[..at.min(body.len())], SuccessCode::Required, "", None));
        let at = at % body.len();
        body[at] = byte;
        drop(credentials(&body, SuccessCode::Required, "", None));
    }
}
