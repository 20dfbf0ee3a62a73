use std::path::Path;

use crate::login::sso::session::*;
use crate::shared_config::FileContent;

fn files(config: &str) -> SharedConfig {
    SharedConfig::parse(Some(FileContent { path: Path::new("/c"), bytes: config.as_bytes() }), None).unwrap()
}

fn of_profile(config: &str) -> Result<Option<SsoSession>, SourceError> {
    let files = files(config);
    SsoSession::of_profile(&files, files.profile("p").unwrap())
}

#[test]
fn reads_session_or_legacy_keys_of_profile() {
    let work = "[sso-session work]\nsso_start_url = https://d\nsso_region = r\n";
    let session = of_profile(&format!("{work}[profile p]\nsso_session = work\nsso_region = r\n")).unwrap().unwrap();
    assert_eq!((session.name.as_deref(), &*session.start_url, &*session.region), (Some("work"), "https://d", "r"));
    assert_eq!(session.scopes, [Box::from(DEFAULT_SCOPE)]);
    assert_eq!(
        (session.to_string(), session.login_command(Some("p"))),
        ("SSO session work".into(), "credenza login --sso-session work".into())
    );
    let scopes = format!("{work}sso_registration_scopes = a:b, c:d,\n[profile p]\nsso_session = work\n");
    assert_eq!(of_profile(&scopes).unwrap().unwrap().scopes, ["a:b", "c:d"].map(Box::from));
    let legacy = of_profile("[profile p]\nsso_start_url = https://d\nsso_region = r\n").unwrap().unwrap();
    assert_eq!((legacy.name.as_deref(), legacy.scopes.len()), (None, 0));
    assert_eq!(
        (legacy.to_string(), legacy.login_command(Some("p"))),
        ("SSO login at https://d".into(), "credenza login --profile p".into())
    );
    assert_eq!(of_profile("[profile p]\nregion = r\n"), Ok(None));
}

#[test]
fn errors_name_file_and_line() {
    let named = "[profile p]\nsso_session = work\n";
    let both =
        "[sso-session work]\nsso_start_url = u\nsso_region = r\n[profile p]\nsso_session = work\nsso_region = q\n";
    for (config, line, says) in [
        (named, 2, "it names the sso_session work, and no [sso-session work]"),
        (
            "[sso-session FOO BAR]\n[profile p]\nsso_session = FOO BAR\n",
            3,
            "it names the sso_session FOO BAR, and no [sso-session FOO BAR] is in the config file; config file /c, line 1: \
             section [sso-session FOO BAR] is ignored",
        ),
        (&format!("[sso-session work]\n{named}"), 3, "[sso-session work] has neither"),
        (&format!("[sso-session work]\nsso_region = r\n{named}"), 2, "sso_region is set without sso_start_url; add it"),
        (&format!("[sso-session work]\nsso_start_url = u\n{named}"), 2, "sso_start_url is set without sso_region"),
        ("[profile p]\nsso_start_url = u\n", 2, "sso_start_url is set without sso_region"),
        ("[profile p]\nsso_region = r\n", 2, "sso_region is set without sso_start_url"),
        (both, 6, "sso_region differs from the one in [sso-session work] (/c, line 3); remove"),
        (
            "[profile p]\nsso_start_url = u\n v\nsso_region = r\n",
            2,
            "the sso_start_url contains a control character (a line break, perhaps); write it again",
        ),
        (
            "[profile p]\nsso_start_url = u\nsso_region = eu west\n",
            3,
            "sso_region: the region \"eu west\" is not valid; write one such as eu-west-1",
        ),
    ] {
        let error = of_profile(config).unwrap_err();
        let says = format!("/c, line {line}: profile p: {says}");
        assert!(error.to_string().contains(&says), "{says}: {error}");
        assert_eq!(error.kind, crate::model::error::ErrorKind::Misconfigured);
    }
}

#[test]
fn lists_each_session_once() {
    let mut config = String::from(
        "[profile x]\nregion = r\n[sso-session broken]\nsso_region = r\n[profile lame]\nsso_start_url = u\n[profile stray]\nsso_region = r\n",
    );
    for session in ["a", "b"] {
        config += &format!("[sso-session {session}]\nsso_start_url = https://{session}\nsso_region = r\n");
    }
    for n in 0..40 {
        config += &format!("[profile p{n:02}]\n");
        config += match n % 3 {
            0 => "sso_session = a\n",
            1 => "sso_session = b\n",
            _ => "sso_start_url = https://c\nsso_region = r\n",
        };
    }
    let (sessions, failures) = SsoSession::all(&files(&config));
    let keys: Vec<_> = sessions.iter().map(|(session, profile)| (session.key(), profile.as_deref())).collect();
    assert_eq!(keys, [("a", None), ("b", None), ("https://c", Some("p02"))]);
    assert_eq!(failures.len(), 2, "{failures:?}");
}
