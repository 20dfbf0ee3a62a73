use std::path::Path;

use super::*;
use crate::model::time::timestamp;
use crate::shared_config::FileContent;
use crate::source::profile::dependencies::dependencies;
use crate::source::profile::plan::trust::UntrustedFile;

const KEYS: &str = "aws_access_key_id = AKIA1\naws_secret_access_key = hush\n";
const ROLE: &str = "role_arn = arn:aws:iam::123456789012:role/r\n";

fn parse(config: &str, credentials: &str) -> SharedConfig {
    let content = |path, text: &'static str| FileContent { path: Path::new(path), bytes: text.as_bytes() };
    let leak = |text: &str| &*Box::leak(text.to_owned().into_boxed_str());
    SharedConfig::parse(Some(content("/c", leak(config))), Some(content("/k", leak(credentials)))).unwrap()
}

/// Prints the plan of the profile `dev`, link by link, or its error.
fn planned(config: &str, credentials: &str) -> String {
    let files = parse(config, credentials);
    match plan(&files, files.profile("dev").unwrap(), &|_| Ok(())) {
        Ok(None) => "nothing".into(),
        Ok(Some(link)) => shown(&link),
        Err(error) => {
            assert!(!error.to_string().contains("hush"), "{error}");
            error.to_string()
        }
    }
}

fn shown(link: &ProfileLink) -> String {
    let method = match &link.method {
        Method::Keys(keys) => {
            let token = keys.session_token.as_ref().map_or("", |_| " with token");
            format!("keys {}{token}", keys.access_key_id)
        }
        Method::Role { role, base } => {
            format!("role {} < {}", role.arn.rsplit('/').next().unwrap_or_default(), shown(base))
        }
        Method::CredentialSource(source) => format!("{source:?}"),
        Method::WebIdentity { role, token_file } => format!("web identity {token_file} {:?}", role.session_name),
        Method::Sso { session, account_id, role_name } => {
            format!("sso {:?} {} {account_id} {role_name}", session.name, session.start_url)
        }
        Method::Process { command, account_id } => format!("process {} {account_id:?}", command.expose()),
        Method::SignIn { session } => format!("sign-in {session}"),
    };
    format!("{} {method}", link.location.to_string().rsplit_once(": profile ").unwrap().0)
}

#[test]
fn orders_methods_like_botocore() {
    let sso = "sso_start_url = https://s\nsso_region = r\nsso_account_id = 123456789012\nsso_role_name = n\n";
    let web = "web_identity_token_file = /t\n";
    let both = |config: &str, credentials: &str| {
        let dev = |text: &str, head: &str| if text.is_empty() { String::new() } else { format!("[{head}]\n{text}") };
        planned(&dev(config, "profile dev"), &dev(credentials, "dev"))
    };
    for (config, credentials, expected) in [
        (KEYS, "", "/c, line 2 keys AKIA1"),
        ("region = r\n", "", "nothing"),
        ("sso_session = s\nsource_profile = x\n", "", "nothing"),
        // Keys of one file are one unit.
        ("aws_session_token = old\n", KEYS, "/k, line 2 keys AKIA1"),
        ("", &format!("{KEYS}aws_session_token = t\n"), "/k, line 2 keys AKIA1 with token"),
        (
            "aws_access_key_id = B\naws_secret_access_key = hush\n",
            "aws_access_key_id = A\n",
            "aws_access_key_id and aws_secret_access_key come from different files",
        ),
        ("aws_secret_access_key = hush\n", "aws_access_key_id = A\n", "/k, line 2 keys A"),
        // The order of the methods.
        (&format!("{ROLE}credential_source = environment\n{sso}"), KEYS, "role r < /c, line 3 Environment"),
        (&format!("{web}{ROLE}{sso}"), KEYS, "/c, line 2 web identity /t None"),
        (&format!("{ROLE}{web}credential_source = EcsContainer\n"), "", "web identity /t"),
        (&format!("{sso}credential_process = p\n"), KEYS, "sso None https://s 123456789012 n"),
        ("credential_process = p\n", KEYS, "/k, line 2 keys AKIA1"),
        (&format!("credential_process = p | q\n{KEYS}"), "", "/c, line 2 process p | q None"),
        ("credential_process = p\naws_account_id = 123456789012\n", "", "process p Some(\"123456789012\")"),
        ("login_session = l\ncredential_process = p\n", "", "/c, line 2 sign-in l"),
        ("login_session = l\n", KEYS, "keys AKIA1"),
    ] {
        let plan = both(config, credentials);
        assert!(plan.contains(expected), "{config}---\n{credentials}---\n{plan}\nnot: {expected}");
    }
    for (contradiction, expected) in [
        (
            "aws_access_key_id = A\n",
            "/c, line 2: profile dev: aws_access_key_id is set without aws_secret_access_key; add it, or remove this half",
        ),
        (
            ROLE,
            "line 2: profile dev: role_arn is set without source_profile, credential_source or web_identity_token_file: \
             the role has no base credentials; add",
        ),
        (&format!("{ROLE}source_profile = dev\ncredential_source = Environment\n"), "keep one of the two"),
        (
            &format!("{ROLE}credential_source = Nowhere\n"),
            "line 3: profile dev: credential_source has the unknown value Nowhere; write Environment, \
             Ec2InstanceMetadata or EcsContainer",
        ),
        // The value may be a secret on the wrong line.
        (
            &format!("{ROLE}credential_source = hush/hush\n"),
            "credential_source has an unknown value; write Environment,",
        ),
        (&format!("{ROLE}credential_source = {}\n", "h".repeat(25)), "credential_source has an unknown value; write"),
        (
            &format!("{ROLE}credential_source = Environment\nduration_seconds = 1h\n"),
            "is not a number of seconds; write one such as 3600",
        ),
        (
            "role_arn = arn:aws:iam::1:role/a\n  b\ncredential_source = Environment\n",
            "control character (a line break, perhaps); write it again, in one line",
        ),
        ("role_arn = r s\ncredential_source = Environment\n", "role_arn is not the ARN of a role, or has"),
        (web, "web_identity_token_file is set without role_arn: the role is unknown; add role_arn"),
        ("sso_account_id = 123456789012\n", "line 2: profile dev: there is no sso_role_name"),
        (
            &sso.replace("123456789012", "12345678901"),
            "/c, line 4: profile dev: sso_account_id has 11 digits, and an account id has 12 digits; write all 12, with",
        ),
        (&sso.replace("123456789012", "hush"), "sso_account_id is not an account id, which has 12 digits"),
        (
            "sso_account_id = 123456789012\nsso_role_name = n\nsso_session = s\n",
            "/c, line 4: profile dev: it names the sso_session s, and no [sso-session s]",
        ),
    ] {
        let plan = both(contradiction, "");
        assert!(plan.contains(expected), "{contradiction}---\n{plan}\nnot: {expected}");
    }
}

#[test]
fn lines_of_a_process_are_one_command() {
    let files = parse("[profile dev]\ncredential_process = tool\n  --one\n  --two\n", "");
    match plan(&files, files.profile("dev").unwrap(), &|_| Ok(())).unwrap().unwrap().method {
        Method::Process { command, .. } => assert_eq!(command.expose(), "tool --one --two"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_the_end_of_a_session_beside_its_keys() {
    let keys = |config: &str, credentials: &str| {
        let files = parse(&format!("[profile dev]\n{config}"), &format!("[dev]\n{KEYS}{credentials}"));
        match plan(&files, files.profile("dev").unwrap(), &|_| Ok(())).unwrap().unwrap().method {
            Method::Keys(keys) => (keys.expiration.map(timestamp), keys.location.map(|at| at.to_string())),
            other => panic!("{other:?}"),
        }
    };
    let at = |text: &str, line: u8| (Some(text.to_owned()), Some(format!("/k, line {line}: profile dev")));
    let end = "2026-11-23T16:00:00Z";
    for name in SESSION_ENDS {
        assert_eq!(keys("", &format!("{name} = 2026-11-23 18:00:00+02:00\n")), at(end, 4), "{name}");
    }
    assert_eq!(keys("", "expiration = 2026-11-23 16:00:00\n"), at(end, 4), "aws-mfa writes UTC");
    for mark in ["manager = awsume", "autoawsume = true"] {
        let text = format!("{mark}\nexpiration = 2026-11-23 16:00:00\n");
        assert_eq!(keys("", &text), (None, None), "awsume writes local time of an unknown zone");
        assert_eq!(keys("", &format!("{mark}\nexpiration = {end}\n")), at(end, 5));
    }
    let two = "expiration = 2026-11-23T17:00:00Z\naws_expiration = 2026-11-23T16:00:00Z\n";
    assert_eq!(keys("", two), at(end, 5), "the earliest end counts");
    for without in ["expiration =\n", ""] {
        assert_eq!(keys("aws_expiration = 2026-11-23T16:00:00Z\n", without), (None, None), "of other keys");
    }
    for bad in ["expiration = never\n", "aws_expiration = 2026-11-23 16:00:00\n"] {
        let told = planned("", &format!("[dev]\n{KEYS}{bad}"));
        assert!(
            told.starts_with("/k, line 4: profile dev: ") && told.contains("so that the end of the session"),
            "{told}"
        );
        assert!(told.ends_with("write it like 2026-11-23T16:00:00Z, or remove the line"), "{told}");
    }
}

#[test]
fn plans_sso_sessions() {
    let session = "[sso-session s]\nsso_start_url = https://s\nsso_region = r\nsso_registration_scopes = a, b\n";
    let profile = "[profile dev]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = n\n";
    assert_eq!(planned(&format!("{session}{profile}"), ""), "/c, line 7 sso Some(\"s\") https://s 123456789012 n");
    let differing = planned(&format!("{session}{profile}sso_region = other\n"), "");
    assert!(differing.starts_with("/c, line 9: profile dev: sso_region differs from the one"), "{differing}");
    let half = planned(&format!("[sso-session s]\nsso_region = r\n{profile}"), "");
    assert!(half.contains("/c, line 2") && half.contains("sso_start_url"), "{half}");
}

#[test]
fn plans_chains_of_profiles() {
    let chain = |source: &str| format!("[profile dev]\n{ROLE}source_profile = {source}\n");
    let rest = "[profile a]\nrole_arn = arn:aws:iam::1:role/a\nsource_profile = b\n";
    let (a, dev, b) = (chain("a"), chain("dev"), format!("[b]\n{KEYS}"));
    let absent = "source_profile names a profile that is in neither file";
    for (config, credentials, expected) in [
        (format!("{a}{rest}"), &*b, "/c, line 2 role r < /c, line 5 role a < /k, line 2 keys"),
        (format!("{dev}{KEYS}"), "", "role r < /c, line 4 keys AKIA1"),
        // The keys of a source profile go before its role.
        (format!("{a}{rest}{KEYS}"), "", "role r < /c, line 7 keys AKIA1"),
        (dev, "", "which has no keys: dev → dev; add them"),
        (chain("gone"), "", &format!("/c, line 3: profile dev: {absent}: dev → gone")),
        (format!("{a}{rest}"), "", &format!("profile a: {absent}: dev → a → b")),
        (format!("{a}{rest}[profile b]\n{ROLE}source_profile=dev\n"), "", "makes a cycle: dev → a → b → dev"),
        (
            format!("{a}[profile a]\nregion = r\n"),
            "",
            "has no properties for credentials: dev → a; give it keys, role_arn",
        ),
    ] {
        let plan = planned(&config, credentials);
        assert!(plan.contains(expected), "{config}---\n{credentials}---\n{plan}\nnot: {expected}");
    }
}

#[test]
fn follows_long_chains_and_refuses_endless_ones() {
    let chain = |length: usize| {
        let links = (0..length).map(|n| {
            let name = if n == 0 { "dev".to_owned() } else { format!("p{n}") };
            format!("[profile {name}]\n{ROLE}source_profile = p{}\n", n + 1)
        });
        format!("{}[profile p{length}]\n{KEYS}", links.collect::<String>())
    };
    assert!(planned(&chain(255), "").ends_with("keys AKIA1"));
    assert!(planned(&chain(256), "").contains("more than 256 profiles"));
    assert!(planned(&chain(9_000), "").starts_with(
        "/c, line 3: profile dev: the chain of source_profile has more than 256 profiles; name a profile with keys"
    ));
}

#[test]
fn untrusted_file_decides_nothing_about_ours() {
    const SSO: &str = "sso_account_id = 1\nsso_role_name = r\n";
    const SESSION: &str = "[sso-session s]\nsso_start_url = https://s\nsso_region = eu-west-1\n";
    let base = format!("[base]\n{KEYS}");
    let over_base = format!("[profile dev]\n{ROLE}source_profile = base\n");
    let chain = format!("{over_base}[profile base]\n{ROLE}source_profile = end\n");
    // The config file /c is untrusted, of user 7. The credentials file /k is ours, or untrusted, of user 7 or 8.
    for (config, credentials, owner, is_used) in [
        ("[profile dev]\ncredential_process = p\n".into(), String::new(), None, false),
        (format!("[profile dev]\n{ROLE}web_identity_token_file = /t\n"), String::new(), None, false),
        (format!("[profile dev]\n{ROLE}credential_source = Environment\n"), String::new(), None, false),
        (format!("[profile dev]\n{SSO}sso_session = s\n{SESSION}"), String::new(), None, false),
        (SESSION.into(), format!("[dev]\n{SSO}sso_session = s\n"), None, false),
        ("[profile dev]\nlogin_session = arn:aws:iam::1:user/x\n".into(), String::new(), None, false),
        (over_base.clone(), base.clone(), None, false),
        (over_base.clone(), base.clone(), Some(8), false),
        (over_base.clone(), base, Some(7), true),
        (format!("{over_base}[profile base]\n{KEYS}"), String::new(), None, true),
        (chain.clone(), format!("[end]\n{KEYS}"), None, false),
        (format!("{chain}[profile end]\n{KEYS}"), String::new(), None, true),
        ("[profile dev]\nexternal_id = x\n".into(), format!("[dev]\n{ROLE}source_profile = dev\n{KEYS}"), None, false),
        ("[profile dev]\nregion = x\n".into(), format!("[dev]\n{KEYS}"), None, true),
        (format!("[profile dev]\n{KEYS}"), String::new(), None, true),
        // Half a pair of ours.
        ("[profile dev]\naws_access_key_id = A\n".into(), "[dev]\naws_secret_access_key = hush\n".into(), None, false),
        (
            "[profile dev]\naws_access_key_id = A\n".into(),
            "[dev]\naws_secret_access_key = hush\n".into(),
            Some(7),
            true,
        ),
        (
            "[profile dev]\naws_access_key_id = A\n".into(),
            "[dev]\naws_secret_access_key = hush\n".into(),
            Some(8),
            false,
        ),
    ] {
        let files = parse(&config, &credentials);
        let untrusted = |owner| Err(UntrustedFile { owner: Some(owner), reason: format!("belongs to user {owner}") });
        let trusted = |property: &Property| match property.file() {
            SharedFile::Config => untrusted(7),
            SharedFile::Credentials => owner.map_or(Ok(()), untrusted),
        };
        match plan(&files, files.profile("dev").unwrap(), &trusted) {
            Ok(link) => assert!(is_used && link.is_some(), "{config}{credentials}"),
            Err(error) => {
                let says = error.to_string();
                assert!(
                    !is_used && says.contains("is not used: /c belongs to user 7"),
                    "{config}{credentials}: {says}"
                );
            }
        }
    }
}

#[test]
fn untrusted_file_decides_no_account_and_no_role_that_others_may_write() {
    // Several users may write the config file /c, so that it has no sole owner.
    let open = |property: &Property| match property.file() {
        SharedFile::Config => Err(UntrustedFile { owner: None, reason: "may be written by all users".into() }),
        SharedFile::Credentials => Ok(()),
    };
    let files = parse("[profile dev]\naws_account_id = 666666666666\n", &format!("[dev]\n{KEYS}"));
    let link = plan(&files, files.profile("dev").unwrap(), &open).unwrap().unwrap();
    assert!(matches!(&link.method, Method::Keys(keys) if keys.account_id.is_none()), "{link:?}");
    let files = parse("[profile dev]\naws_account_id = 666666666666\n", "[dev]\ncredential_process = p\n");
    let link = plan(&files, files.profile("dev").unwrap(), &open).unwrap().unwrap();
    assert!(matches!(&link.method, Method::Process { account_id: None, .. }), "{link:?}");
    let files = parse(&format!("[profile dev]\n{ROLE}source_profile = base\n[profile base]\n{KEYS}"), "");
    let error = plan(&files, files.profile("dev").unwrap(), &open).unwrap_err().to_string();
    assert!(error.contains("role_arn is not used: /c may be written by all users"), "{error}");
}

#[test]
fn dependencies_have_every_section_of_a_plan() {
    let config = "[profile dev]\nsource_profile = a\nservices = v\n[profile a]\nsso_session = s\nsource_profile = dev\n\
                  [sso-session s]\n[services v]\n[profile other]\n";
    let files = parse(config, "");
    let names: Vec<_> = dependencies(&files, "dev").iter().map(|section| section.name()).collect();
    assert_eq!(names, ["dev", "a", "s", "v"]);
    assert!(dependencies(&files, "gone").is_empty());
}
