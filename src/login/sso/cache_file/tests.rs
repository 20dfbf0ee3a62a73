use std::path::Path;
use std::time::SystemTime;

use proptest::prelude::*;
use serde_json::Value;

use crate::login::sso::cache_file::*;
use crate::model::time::parse_timestamp;

const GOOD: &str = r#"{"startUrl": "https://d.awsapps.com/start", "region": "eu-west-1", "accessToken": "hush-a",
    "expiresAt": "2026-11-25T01:02:03Z", "clientId": "hush-c", "clientSecret": "hush-s",
    "registrationExpiresAt": "2026-12-25T01:02:03Z", "refreshToken": "hush-r", "x": {"y": [1, null]}, "z": "hush-z"}"#;

fn at(text: &str) -> SystemTime {
    parse_timestamp(text).unwrap()
}

fn session(name: Option<&str>) -> SsoSession {
    SsoSession { name: name.map(Into::into), ..SsoSession::new("", "https://d.awsapps.com/start", "eu-west-1") }
}

#[test]
fn names_files_as_botocore() {
    let environment = Environment::new([("HOME", "/h")]);
    // python3 -c 'import hashlib; print(hashlib.sha1(b"work").hexdigest())'
    for (name, file) in [
        (Some("work"), "/h/.aws/sso/cache/e274eeff768c6396088ec6eb091f4bf4d47ab1e0.json"),
        (None, "/h/.aws/sso/cache/55ef7a9cf0faa7e6830be02dd04fb62b1c3c5000.json"),
    ] {
        assert_eq!(path(&environment, &session(name)).unwrap(), Path::new(file));
    }
    assert_eq!(path(&Environment::default(), &session(None)), None);
}

#[test]
fn reads_file_of_the_aws_cli() {
    let entry = CacheEntry::parse(GOOD.as_bytes()).unwrap();
    let token = AccessToken { token: "hush-a".into(), expires: at("2026-11-25T01:02:03Z") };
    assert_eq!(entry.access_token(), Ok(token));
    let (refresh_token, registration) = entry.refresh_token().unwrap();
    assert_eq!(refresh_token.expose(), "hush-r");
    assert_eq!(registration.client_id.expose(), "hush-c");
    assert_eq!(registration.expires, at("2026-12-25T01:02:03Z"));
    assert!(!format!("{entry:?} {registration:?} {:?}", entry.access_token()).contains("hush"));
    for time in [
        "2026-11-25T01:02:03UTC",
        "2026-11-25T02:02:03+01:00",
        "2026-11-25T01:02:03.000000Z",
        " 2026-11-25T01:02:03 UTC ",
    ] {
        let entry = CacheEntry::parse(GOOD.replacen("2026-11-25T01:02:03Z", time, 1).as_bytes()).unwrap();
        assert_eq!(entry.access_token().unwrap().expires, at("2026-11-25T01:02:03Z"), "{time}");
    }
}

#[test]
fn keeps_fields_of_other_programs() {
    let mut entry = CacheEntry::parse(GOOD.replace("hush-z", r##"hush-\"z\u0000é"##).as_bytes()).unwrap();
    let token = AccessToken { token: "hush-b".into(), expires: at("2026-11-26T00:00:00Z") };
    entry.set_token(&session(Some("work")), token, None);
    let written: Value = serde_json::from_slice(&entry.render()).unwrap();
    assert_eq!((&written["accessToken"], &written["expiresAt"]), (&"hush-b".into(), &"2026-11-26T00:00:00Z".into()));
    assert_eq!((&written["x"], &written["z"]), (&serde_json::json!({"y": [1, null]}), &"hush-\"z\0é".into()));
    assert_eq!((&written["clientId"], &written["refreshToken"]), (&"hush-c".into(), &Value::Null));
    assert!(entry.refresh_token().is_none() && entry.registration(REGISTRATION_EXPIRES_AT).is_some());
}

#[test]
fn keeps_registration_in_another_file() {
    let expires = at("2026-12-25T01:02:03Z");
    let registration = Registration { client_id: "c".into(), client_secret: "hush".into(), expires };
    let entry = CacheEntry::parse(&CacheEntry::of_registration(&registration).render()).unwrap();
    assert_eq!(entry.registration_alone(), Some(registration));
    assert!(entry.access_token().is_err());
    let environment = Environment::new([("HOME", "/h")]);
    let (work, legacy) = (session(Some("work")), session(None));
    let other = SsoSession { scopes: vec!["a:b".into()], ..work.clone() };
    let paths = [&work, &legacy, &other].map(|session| registration_path(&environment, session).unwrap());
    assert!(paths[0] != paths[1] && paths[0] != paths[2] && paths[0] != path(&environment, &work).unwrap());
}

#[test]
fn last_of_repeated_fields_counts_and_is_replaced() {
    let text = GOOD.replacen('{', r#"{"accessToken": 7, "#, 1);
    let mut entry = CacheEntry::parse(text.as_bytes()).unwrap();
    assert_eq!(entry.access_token().unwrap().token.expose(), "hush-a");
    let token = AccessToken { token: "hush-b".into(), expires: at("2026-11-26T00:00:00Z") };
    entry.set_token(&session(None), token.clone(), None);
    assert_eq!(CacheEntry::parse(&entry.render()).unwrap().access_token(), Ok(token));
}

#[test]
fn errors_do_not_show_content_of_file() {
    let without = |field: &str| GOOD.replacen(field, "other", 1);
    let with = |from: &str, to: &str| GOOD.replacen(from, to, 1);
    for (text, says) in [
        (String::new(), "it is empty"),
        (" \n\u{feff}".into(), "not a JSON object"),
        ("\u{feff}\n".into(), "it is empty"),
        (GOOD[..100].into(), "it ends in the middle"),
        ("[]".into(), "not a JSON object"),
        (r#""hush""#.into(), "not a JSON object (line 1, column 6)"),
        ("hush".into(), "not a JSON object"),
        (format!("{GOOD} hush"), "not a JSON object"),
        (format!("{{\"x\":\"{}\"}}", "y".repeat(256 * 1024)), "larger than 256 kB"),
        ("{}".into(), "it has no accessToken"),
        (without("accessToken"), "it has no accessToken"),
        (with("hush-a", "  "), "it has no accessToken"),
        (with("\"hush-a\"", "null"), "it has no accessToken"),
        (with("\"hush-a\"", "7"), "its accessToken is not a text"),
        (with("hush-a", r"hush\na"), "its accessToken contains a control character"),
        (without("expiresAt"), "it has no expiresAt"),
        (with("\"2026-11-25T01:02:03Z\"", "1795449600"), "its expiresAt is not a text"),
        (with("2026-11-25T01:02:03Z", "hush"), "its expiresAt is not a timestamp"),
        (with("2026-11-25T01:02:03Z", "2026-11-25T01:02:03"), "its expiresAt has no time zone"),
    ] {
        let error = CacheEntry::parse(text.as_bytes()).and_then(|entry| entry.access_token()).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("hush"), "{says}: {error}");
    }
}

#[test]
fn has_no_refresh_token_without_registration() {
    for field in ["refreshToken", "clientId", "clientSecret", "registrationExpiresAt"] {
        for text in [
            GOOD.replacen(field, "other", 1),
            GOOD.replacen(&format!("\"{field}\":"), &format!("\"{field}\": 7, \"w\":"), 1),
        ] {
            let entry = CacheEntry::parse(text.as_bytes()).unwrap();
            assert!(entry.access_token().is_ok() && entry.refresh_token().is_none(), "{field}");
        }
    }
}

proptest! {
    #[test]
    fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(entry) = CacheEntry::parse(&bytes) {
            let _ = (entry.access_token(), entry.refresh_token().is_some(), entry.render());
        }
    }

    #[test]
    fn never_panics_or_shows_secrets_of_damaged_file(at in 0..GOOD.len(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = GOOD.as_bytes().to_vec();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Err(error) = CacheEntry::parse(&bytes).and_then(|entry| entry.access_token()) {
            prop_assert!(!error.to_string().contains("hush"));
        }
    }

    #[test]
    fn parsing_restores_rendered_entry(texts in proptest::collection::vec(("[a-zA-Z]{1,8}", ".{0,20}", any::<u32>()), 0..8)) {
        let mut object = serde_json::Map::new();
        for (name, text, number) in texts {
            object.insert(format!("n{name}"), number.into());
            object.insert(name, text.into());
        }
        let text = Value::Object(object.clone()).to_string();
        let entry = CacheEntry::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&entry.render()).unwrap(), Value::Object(object));
    }
}
