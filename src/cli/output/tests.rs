use crate::cli::output::*;

fn temporary() -> Credentials {
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600);
    let keys = Credentials::new("AKIA1", "se'cr\"et").unwrap().with_session_token(Some("tok")).unwrap();
    keys.with_expiration(Some(end)).with_account_id(Some("123456789012"))
}

#[test]
fn durations_for_people() {
    let table = [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (90_061, "1 d 1 h"),
    ];
    for (seconds, text) in table {
        assert_eq!(human(Duration::from_secs(seconds)), text);
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
    assert_eq!((instant(now - Duration::from_secs(60), now), instant(now, now)), ("1 min ago".into(), "now".into()));
}

#[test]
fn process_prints_version_1_and_only_what_there_is() {
    let json = |credentials: &Credentials| -> serde_json::Value {
        serde_json::from_str(&ProcessOutput { credentials, place: StoreVariables::default() }.process()).unwrap()
    };
    let expected = serde_json::json!({
        "Version": 1, "AccessKeyId": "AKIA1", "SecretAccessKey": "se'cr\"et", "SessionToken": "tok",
        "Expiration": "2026-11-23T16:00:00Z", "AccountId": "123456789012",
    });
    assert_eq!(json(&temporary()), expected);
    let expected = serde_json::json!({ "Version": 1, "AccessKeyId": "A", "SecretAccessKey": "s" });
    assert_eq!(json(&Credentials::new("A", "s").unwrap()), expected);
}

#[test]
fn what_is_not_there_is_unset_first() {
    let keys = Credentials::new("A", "s").unwrap();
    let place = StoreVariables { region: Some("eu-west-1"), endpoint: Some("http://h:9000") };
    let (printed, before) = (ProcessOutput { credentials: &keys, place }, Environment::default());
    let expected = "unset AWS_SESSION_TOKEN\nunset AWS_CREDENTIAL_EXPIRATION\nunset AWS_ACCOUNT_ID\n\
                    export AWS_ACCESS_KEY_ID='A'\nexport AWS_SECRET_ACCESS_KEY='s'\nexport AWS_REGION='eu-west-1'\n\
                    export AWS_DEFAULT_REGION='eu-west-1'\nexport AWS_ENDPOINT_URL_S3='http://h:9000'\n\
                    export CREDENZA_SET='AWS_REGION AWS_DEFAULT_REGION AWS_ENDPOINT_URL_S3'\n";
    assert_eq!(*printed.lines(ShellDialect::Env, &before).unwrap(), expected);
    for (dialect, unset, set) in [
        (
            ShellDialect::Fish,
            "while set -el AWS_SESSION_TOKEN; end\nset -eg AWS_SESSION_TOKEN\n",
            "set -gx AWS_ACCESS_KEY_ID 'A'\n",
        ),
        (ShellDialect::Powershell, "$env:AWS_SESSION_TOKEN = $null\n", "$env:AWS_ACCESS_KEY_ID = 'A'\n"),
        (ShellDialect::Dotenv, "AWS_SESSION_TOKEN=\n", "AWS_ACCESS_KEY_ID=A\n"),
    ] {
        let text = printed.lines(dialect, &before).unwrap();
        assert!(text.starts_with(unset) && text.contains(set), "{dialect:?}: {}", *text);
        let text = ProcessOutput { credentials: &temporary(), place }.lines(dialect, &before).unwrap();
        assert!(!text.contains(unset) && text.contains("AWS_SESSION_TOKEN"), "{dialect:?}: {}", *text);
    }
}

/// The line that sets one variable, without its beginning and end.
fn written(dialect: ShellDialect, value: &str) -> Result<String, UnwritableValue> {
    let text = lines(dialect, &[("NAME", Some(Zeroizing::new(value.to_owned())))])?;
    let starts = match dialect {
        ShellDialect::Env => "export NAME=",
        ShellDialect::Dotenv => "NAME=",
        ShellDialect::Fish => "while set -el NAME; end\nset -gx NAME ",
        ShellDialect::Powershell => "$env:NAME = ",
    };
    let ends = if dialect == ShellDialect::Fish { "\ntrue\n" } else { "\n" };
    Ok(text.strip_prefix(starts).unwrap().strip_suffix(ends).unwrap().to_owned())
}

/// What the shells do with this is shown by them, in tests/shells.rs.
#[test]
fn each_shell_has_its_own_quotes() {
    let table = [
        (ShellDialect::Env, r"it's \n $x", r"'it'\''s \n $x'"),
        (ShellDialect::Fish, r"it's \n $x", r"'it\'s \\n $x'"),
        (ShellDialect::Powershell, r"it's \n $x `n", r"'it''s \n $x `n'"),
        (
            ShellDialect::Powershell,
            "\u{2018}\u{2019}\u{201a}\u{201b}",
            "'\u{2018}\u{2018}\u{2019}\u{2019}\u{201a}\u{201a}\u{201b}\u{201b}'",
        ),
        (ShellDialect::Powershell, "\u{201c}\"", "'\u{201c}\"'"),
        (ShellDialect::Powershell, "", "''"),
        (ShellDialect::Dotenv, "wJalrXUtnFEMI/K7MDENG+bPx=", "wJalrXUtnFEMI/K7MDENG+bPx="),
        (ShellDialect::Dotenv, r"a\\b\", r"a\\b\"),
        (ShellDialect::Dotenv, "it's", r"'it\'s'"),
        (ShellDialect::Dotenv, "a b", "'a b'"),
        (ShellDialect::Dotenv, "#a", "'#a'"),
        (ShellDialect::Dotenv, r"$a\n", r"'$a\n'"),
        (ShellDialect::Dotenv, "\"a\"", "'\"a\"'"),
    ];
    for (dialect, value, expected) in table {
        assert_eq!(written(dialect, value).unwrap(), expected, "{dialect:?}");
    }
}

#[test]
fn what_readers_of_dotenv_read_differently_is_refused_without_being_shown() {
    for value in ["${hush}", r"$hush\\", r"hush's\", r"hush \'", "hush\n"] {
        let error = written(ShellDialect::Dotenv, value).unwrap_err().to_string();
        assert!(error.contains("NAME") && error.contains("--format") && !error.contains("hush"), "{error}");
    }
}

#[test]
fn a_file_takes_nothing_away_and_remembers_nothing() {
    let before = Environment::new([(store_variables::SET, "AWS_REGION")]);
    let there = StoreVariables { region: None, endpoint: Some("http://h") };
    let names = |dialect| placed(there, &before, dialect).map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(ShellDialect::Dotenv), ["AWS_ENDPOINT_URL_S3"]);
    assert_eq!(names(ShellDialect::Fish), ["AWS_REGION", "AWS_ENDPOINT_URL_S3", store_variables::SET]);
}
