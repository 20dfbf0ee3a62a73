//! `credenza setup profile`: the written profile works in a bare environment, and nothing else in the file changes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use testkit::harness::{CommandOutput, HUSH, Home, program};

const CONFIG: &str = "# mine\n[default]\nregion = eu-west-1\n\n[profile base]\naws_access_key_id = AKIABASE\n\
                      aws_secret_access_key = hush-base\n";

fn home() -> Home {
    let home = Home::new();
    home.write(".aws/config", CONFIG);
    home
}

fn setup(home: &Home, arguments: &[&str]) -> CommandOutput {
    let ended = home.run(&[&["setup", "profile"], arguments].concat(), &[]);
    assert!(!format!("{ended:?}").contains(HUSH), "{ended:?}");
    ended
}

fn config(home: &Home) -> String {
    fs::read_to_string(home.path().join(".aws/config")).unwrap()
}

/// Runs the `credential_process` of a profile as cron does: with `HOME` and a bare `PATH`.
fn run_line(home: &Home, profile: &str) -> serde_json::Value {
    let config = config(home);
    let section = config.split_once(&format!("[profile {profile}]\n")).unwrap().1;
    let line = section.lines().find_map(|line| line.strip_prefix("credential_process = ")).unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]).env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin").current_dir("/");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn written_profile_works_in_a_bare_environment() {
    let home = home();
    let path = home.path().join(".aws/config");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let done = setup(&home, &["ide", "--profile", "base", "--region", "eu-north-1", "--yes"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.contains("[profile ide]") && done.stderr.contains("--profile ide"), "{done:?}");
    let text = config(&home);
    assert!(text.starts_with(CONFIG), "{text}");
    assert!(
        text.contains("# Written by credenza.\ncredential_process = /") && text.ends_with("region = eu-north-1\n"),
        "{text}"
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(run_line(&home, "ide")["AccessKeyId"], "AKIABASE");
    // Credenza itself reads the profile, too.
    let got = home.run(&["get", "--profile", "ide"], &[]);
    assert_eq!(got.json()["AccessKeyId"], "AKIABASE", "{got:?}");
}

#[test]
fn profile_of_an_identity_names_its_configuration() {
    let home = home();
    let file = home.write("my config.toml", "[identities.dev]\nsources = [{ profile = \"base\" }]\n");
    let done = setup(&home, &["cron", "--identity", "dev", "--config", file.to_str().unwrap(), "--yes"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(run_line(&home, "cron")["AccessKeyId"], "AKIABASE");
    let unknown = setup(&home, &["x", "--identity", "dve", "--config", file.to_str().unwrap(), "--yes"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("did you mean dev?"), "{unknown:?}");
}

#[test]
fn profile_of_the_daemon_finds_it_without_variables() {
    let home = home();
    home.write("credenza.toml", "[identities.dev]\nsources = [{ profile = \"base\" }]\n");
    let file = home.path().join("credenza.toml");
    let token = home.path().join("token");
    let broker = home.serve(&["--config", file.to_str().unwrap(), "--token-file", token.to_str().unwrap()], &[]);
    home.write(
        "credenza.toml",
        format!(
            "[server]\nlisten = [\"{}\"]\n[identities.dev]\nsources = [{{ profile = \"base\" }}]\n",
            broker.address()
        ),
    );
    let flags = ["--config", file.to_str().unwrap(), "--token-file", token.to_str().unwrap()];
    let done = setup(&home, &[&["ide", "--identity", "dev", "--from-daemon", "--yes"], &flags[..]].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(config(&home).contains(" get --from-daemon --identity dev --config "), "{}", config(&home));
    assert_eq!(run_line(&home, "ide")["AccessKeyId"], "AKIABASE");
}

#[test]
fn never_touches_what_stands_there() {
    let home = home();
    home.write(".aws/credentials", "[old]\naws_access_key_id = AKIAOLD\naws_secret_access_key = hush-old\n");
    for (arguments, part) in [
        (&["base", "--profile", "default", "--yes"][..], "there is a profile base already (line 5)"),
        (&["base", "--profile", "old", "--yes", "--replace"], "there is a profile base already (line 5)"),
        (&["old", "--profile", "base", "--yes"], "in the credentials file"),
        (&["ide", "--profile", "bsae", "--yes"], "did you mean base?"),
        (&["a b", "--profile", "base", "--yes"], "no name of a profile"),
        (&["ide", "--profile", "base"], "there is no terminal to ask at. Add --yes"),
    ] {
        let refused = setup(&home, arguments);
        assert!(refused.code == Some(1) && refused.stderr.contains(part), "{arguments:?}: {refused:?}");
        assert_eq!(config(&home), CONFIG, "{arguments:?}");
    }
    for (arguments, part) in [
        (&["ide"][..], "add --identity or --profile"),
        (&["ide", "--identity", "a", "--profile", "b"], "both given"),
        (&["ide", "--identity", "default", "--url", "http://k:s@h"], "--url"),
    ] {
        let refused = setup(&home, arguments);
        assert!(refused.code == Some(2) && refused.stderr.contains(part), "{arguments:?}: {refused:?}");
    }
    assert_eq!(setup(&home, &["ide", "--profile", "base", "--yes"]).code, Some(0));
    let written = config(&home);
    let again = setup(&home, &["ide", "--profile", "base", "--yes"]);
    assert!(again.stderr.contains("of credenza already (line 9); add --replace"), "{again:?}");
    home.write(".aws/config", written.clone() + "output = json\n");
    assert_eq!(setup(&home, &["ide", "--profile", "base", "--yes", "--replace"]).code, Some(0));
    assert_eq!(config(&home), written + "output = json\n", "lines of the user stay");
}

#[test]
fn refuses_profiles_that_lead_back_to_themselves() {
    let home = home();
    let line = format!("[profile ours]\ncredential_process = {} get --profile ide\n", program());
    home.write(
        ".aws/config",
        format!("{CONFIG}{line}[profile chain]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = ide\n"),
    );
    let before = config(&home);
    for (arguments, way) in [
        (&["default", "--identity", "default"][..], "AWS_PROFILE"),
        (&["ide", "--identity", "default"], "AWS_PROFILE"),
        (&["ide", "--profile", "ours"], "profile ours starts credenza, and there a source is profile ide"),
    ] {
        let refused = setup(&home, &[arguments, &["--yes"]].concat());
        let says = &refused.stderr;
        assert!(
            refused.code == Some(1) && says.contains("lead back to itself") && says.contains(way),
            "{arguments:?}: {says}"
        );
        assert_eq!(config(&home), before);
    }
}

#[test]
fn keeps_symlinks_and_makes_missing_files() {
    let home = Home::new();
    home.write("dotfiles/config", CONFIG);
    fs::create_dir_all(home.path().join(".aws")).unwrap();
    symlink("../dotfiles/config", home.path().join(".aws/config")).unwrap();
    assert_eq!(setup(&home, &["ide", "--profile", "base", "--yes"]).code, Some(0));
    assert!(fs::symlink_metadata(home.path().join(".aws/config")).unwrap().is_symlink());
    assert!(fs::read_to_string(home.path().join("dotfiles/config")).unwrap().contains("[profile ide]"));
    let empty = Home::new();
    empty.write(".aws/credentials", "[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = hush-base\n");
    assert_eq!(setup(&empty, &["ide", "--profile", "base", "--yes"]).code, Some(0));
    assert_eq!(run_line(&empty, "ide")["AccessKeyId"], "AKIABASE");
    assert!(!Path::new(&empty.path().join(".aws/config")).metadata().unwrap().permissions().mode() & 0o77 == 0o77);
}

#[test]
fn names_what_was_meant() {
    let home = home();
    home.write(".aws/config", format!("{CONFIG}[profile role]\nrol_arn = x\nsource_profile = bass\nrole_arn = arn:aws:iam::123456789012:role/r\n[profile sso]\nsso_session = wrk\nsso_account_id = 123456789012\nsso_role_name = r\n[sso-session work]\nsso_start_url = https://d.awsapps.com/start\nsso_region = eu-west-1\n"));
    for (profile, part) in
        [("bse", "did you mean base?"), ("role", "did you mean base?"), ("sso", "did you mean work?")]
    {
        let failed = home.run(&["get", "--profile", profile], &[]);
        assert!(failed.stderr.contains(part), "{profile}: {failed:?}");
    }
    for (text, part) in [
        ("[identity.x]\nsources = []\n", "did you mean `identities`?"),
        ("[profile]\nserve = [\"*\"]\n", "did you mean `profiles`?"),
        ("[client.x]\nusers = [1]\n", "did you mean `clients`?"),
        ("[identities.x]\nsource = [\"environment\"]\n", "did you mean `sources`?"),
        ("[imds]\nlisten = [\"127.0.0.1:0\"]\nidentity = \"defualt\"\n", "did you mean default?"),
    ] {
        let file = home.write("credenza.toml", text);
        let failed = home.run(&["check", "--config", file.to_str().unwrap()], &[]);
        assert!(failed.code == Some(78) && failed.stderr.contains(part), "{text}: {failed:?}");
    }
    let checked = home.run(&["check", "--profile", "base"], &[]);
    assert!(!checked.stdout.contains("did you mean"), "{checked:?}");
    home.write(".aws/config", format!("{CONFIG}regio = x\nmfa_seriall = x\n"));
    let hinted = home.run(&["check", "--profile", "base"], &[]);
    assert!(hinted.stdout.contains("did you mean mfa_serial?"), "{hinted:?}");
}

/// A symlink of another user in `PATH` leads to this program today, and to another one tomorrow.
#[test]
fn names_no_program_that_others_can_exchange() {
    let home = home();
    let (open, own) = (home.path().join("open"), home.path().join("own"));
    for folder in [&open, &own] {
        fs::create_dir(folder).unwrap();
        symlink(program(), folder.join("credenza")).unwrap();
    }
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    for (name, path, expected) in [
        ("a", format!("{}:{}", open.display(), own.display()), format!("{}/credenza get", own.display())),
        (
            "b",
            format!("{}:relative", open.display()),
            format!("{} get", fs::canonicalize(program()).unwrap().display()),
        ),
    ] {
        let done = home.run(&["setup", "profile", name, "--profile", "base", "--yes"], &[("PATH", &path)]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(
            config(&home)
                .contains(&format!("[profile {name}]\n# Written by credenza.\ncredential_process = {expected}")),
            "{}",
            config(&home)
        );
    }
}
