use crate::cli::output::*;

fn temporary() -> Credentials {
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600);
    let keys = Credentials::new("AKIA1", "se'cr\"et").unwrap().with_session_token(Some("tok")).unwrap();
    keys.with_expiration(Some(end)).with_account_id(Some("123456789012"))
}

#[test]
fn formats_durations_and_relative_times() {
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
        assert_eq!(duration_text(Duration::from_secs(seconds)), text);
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
    assert_eq!(
        (relative_time(now - Duration::from_secs(60), now), relative_time(now, now)),
        ("1 min ago".into(), "now".into())
    );
}

#[test]
fn process_json_is_version_1_without_null_fields() {
    let json = |credentials: &Credentials| -> serde_json::Value {
        serde_json::from_str(&CredentialsOutput { credentials, region_endpoint: RegionEndpoint::default() }.process())
            .unwrap()
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
fn unsets_missing_variables_first() {
    let keys = Credentials::new("A", "s").unwrap();
    let region_endpoint =
        RegionEndpoint { region: Some("eu-west-1"), endpoint: Some("http://h:9000"), ..RegionEndpoint::default() };
    let (printed, before) = (CredentialsOutput { credentials: &keys, region_endpoint }, Environment::default());
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
        let text = CredentialsOutput { credentials: &temporary(), region_endpoint }.lines(dialect, &before).unwrap();
        assert!(!text.contains(unset) && text.contains("AWS_SESSION_TOKEN"), "{dialect:?}: {}", *text);
    }
}

/// Returns the value in the line that sets one variable.
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

/// tests/it/shells.rs runs such lines in the shells.
#[test]
fn quotes_values_for_each_shell() {
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
fn refuses_ambiguous_dotenv_values_without_showing_them() {
    for value in ["${hunter2}", r"$hunter2\\", r"hunter2's\", r"hunter2 \'", "hunter2\n"] {
        let error = written(ShellDialect::Dotenv, value).unwrap_err().to_string();
        assert!(error.contains("NAME") && error.contains("--format") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn dotenv_file_unsets_nothing_and_lists_no_own_variables() {
    let before = Environment::new([(region_endpoint::OWN_VARIABLES, "AWS_REGION")]);
    let values = RegionEndpoint { endpoint: Some("http://h"), ..RegionEndpoint::default() };
    let names = |dialect| region_endpoint_variables(values, &before, dialect).map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(ShellDialect::Dotenv), ["AWS_ENDPOINT_URL_S3"]);
    assert_eq!(names(ShellDialect::Fish), ["AWS_REGION", "AWS_ENDPOINT_URL_S3", region_endpoint::OWN_VARIABLES]);
}
