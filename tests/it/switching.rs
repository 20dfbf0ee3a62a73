//! Switching by name: `exec NAME`, shells of `exec`, `env --shadow` and `--unset`, and the function of `shell-init`.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use testkit::harness::{Broker, Home, profile, program, skip};

const IDENTITIES: &str = "[identities.one]\nsources = [{ access_key_id = \"AKIAONE\", secret_access_key = \"hush\" }]\n\
                          [identities.two]\nsources = [{ access_key_id = \"AKIATWO\", secret_access_key = \"hush\" }]\n";

/// Returns a home with a default profile with keys, and a profile of the name `dev`.
fn home() -> Home {
    let home = Home::new();
    home.write(".aws/credentials", [profile("default", "AKIADEFAULT"), profile("dev", "AKIADEV")].concat());
    home
}

#[test]
fn exec_takes_an_identity_or_a_profile_by_its_name() {
    let home = home();
    home.write("credenza.toml", IDENTITIES);
    let exec = |words: &[&str]| {
        let get = ["--", program(), "get"];
        home.run(&[&["exec", "--config", "credenza.toml"], words, &get].concat(), &[])
    };
    assert_eq!(exec(&["one"]).key(), "AKIAONE");
    assert_eq!(exec(&["dev"]).key(), "AKIADEV");
    assert_eq!(home.run(&["get", "two", "--config", "credenza.toml"], &[]).key(), "AKIATWO");
    for (words, expected) in [
        (
            &["--identity", "dev"][..],
            "there is no identity dev in credenza.toml; a profile of that name exists (--profile dev)",
        ),
        (
            &["onee"],
            "there is no identity onee in credenza.toml, and no profile of that name in the shared files; did you mean one?",
        ),
        (&["dve"], "did you mean dev?"),
        (&["nothing-like-it"], "configured identities: default, one, two"),
    ] {
        let refused = exec(words);
        assert!(refused.code == Some(1) && refused.stderr.contains(expected), "{words:?}: {refused:?}");
    }
    let broker = home.serve_config("[identities.remote]\nsources = [\"profile\"]\n", &[]);
    let address = broker.address().to_string();
    home.write("other.toml", "");
    let variables = [("CREDENZA_LISTEN", &*address)];
    let refused = home.run(&["exec", "remote", "--config", "other.toml", "--", "true"], &variables);
    let expected = format!("the daemon at {address} serves it (--from-daemon)");
    assert!(refused.code == Some(1) && refused.stderr.contains(&expected), "{refused:?}");
}

#[test]
fn exec_gives_a_named_identity_the_region_and_its_name() {
    let home = home();
    home.write("credenza.toml", IDENTITIES);
    let print = ["--", "/bin/sh", "-c", "echo $AWS_REGION ${CREDENZA_ACTIVE%% *}"];
    for (words, expected) in [
        (&["one", "--region", "eu-west-3"][..], "eu-west-3 one\n"),
        (&["dev", "--region", "eu-west-3"], "eu-west-3 dev\n"),
        (&["--profile", "dev", "--region", "eu-west-3"], "eu-west-3 dev\n"),
    ] {
        let shown = home.run(&[&["exec", "--config", "credenza.toml"], words, &print].concat(), &[]);
        assert_eq!(shown.stdout, expected, "{words:?}: {shown:?}");
    }
}

#[test]
fn whoami_answers_for_nobody_else_if_the_configuration_is_refused() {
    let home = home();
    home.write("credenza.toml", "x = 1\n");
    for name in [&[][..], &["one"]] {
        let refused = home.run(&[&["whoami", "--config", "credenza.toml"], name].concat(), &[]);
        assert!(refused.code == Some(78) && refused.stdout.is_empty(), "{name:?}: {refused:?}");
    }
}

#[test]
fn exec_without_a_command_is_a_shell() {
    let home = home();
    for (shell, expected) in [("/bin/sh", "shell dev\n"), ("relative", "shell dev\n")] {
        let mut command = home.command(&["exec", "dev"]);
        command.env("SHELL", shell).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"echo shell $CREDENZA_ACTIVE; exit 3\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stdout)), (Some(3), expected), "{shell}");
    }
}

#[test]
fn exec_uses_a_running_daemon() {
    let home = home();
    let broker = home.serve_config(IDENTITIES, &[]);
    let address = broker.address().to_string();
    let own = program();
    let exec =
        |words: &[&str]| home.run(&[&["exec", "--from-daemon"], words].concat(), &[("CREDENZA_LISTEN", &address)]);
    assert_eq!(exec(&["one", "--", own, "get"]).key(), "AKIAONE");
    assert_eq!(exec(&["--identity", "two", "--", own, "get"]).key(), "AKIATWO");
    let uri = exec(&["one", "--", "printenv", "AWS_CONTAINER_CREDENTIALS_FULL_URI"]).stdout;
    assert_eq!(uri.trim(), format!("http://{address}/credentials/one"));
    let unknown = exec(&["three", "--", "touch", "started"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("three"), "{unknown:?}");
    assert!(!home.path().join("started").exists());
    drop(broker);
    let alone = exec(&["one", "--", "touch", "started"]);
    assert!(alone.code == Some(1) && !home.path().join("started").exists(), "{alone:?}");
}

/// Runs a script with `cz` in a shell. `credenza` is in its `PATH`.
fn in_shell(home: &Home, broker: &Broker, shell: &str, script: &str) -> Option<(String, String)> {
    let options: &[&str] = match shell {
        "bash" => &["--norc", "-c"],
        "zsh" => &["--no-rcs", "-c"],
        _ => &["--no-config", "-c"],
    };
    if Command::new(shell).args(["-c", "exit 0"]).output().is_err() {
        assert!(skip(&format!("{shell} is not installed")));
        return None;
    }
    let programs = home.path().join("bin");
    fs::create_dir_all(&programs).unwrap();
    let _ = symlink(program(), programs.join("credenza"));
    let init =
        if shell == "fish" { "credenza shell-init fish | source" } else { "eval \"$(credenza shell-init SHELL)\"" };
    let script = format!("{}\n{script}", init.replace("SHELL", shell));
    let environment = home.command(&[]);
    let mut command = Command::new(shell);
    command.args(options).arg(script).env_clear().current_dir(home.path());
    command.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = command
        .env("PATH", path)
        .env_remove("AWS_EC2_METADATA_DISABLED")
        .env("XDG_CONFIG_HOME", home.path().join("config"))
        .env("CREDENZA_LISTEN", broker.address().to_string())
        .env("RUST_LOG", "warn")
        .env("AWS_PROFILE", "mine")
        .env("AWS_REGION", "eu-north-1")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Some((text(&output.stdout), text(&output.stderr)))
}

#[test]
fn shells_switch_and_take_everything_back() {
    let home = home();
    home.write(".aws/config", "[profile dev]\nregion = eu-west-3\n");
    let broker = home.serve_config(IDENTITIES, &[]);
    let shown = "printenv AWS_CONTAINER_CREDENTIALS_FULL_URI; printenv AWS_PROFILE; printenv CREDENZA_ACTIVE; \
                 credenza get | grep -o 'AKIA[A-Z]*'; ";
    let address = broker.address();
    for shell in ["bash", "zsh", "fish"] {
        // The default profile of the user has keys, and does not win.
        let script = format!(
            "cz one; {shown} cz two; {shown} cz -; {shown} printenv AWS_REGION; printenv | grep -c CREDENZA_BEFORE"
        );
        let Some((printed, said)) = in_shell(&home, &broker, shell, &script) else { continue };
        let expected = format!(
            "http://{address}/credentials/one\none\nAKIAONE\nhttp://{address}/credentials/two\ntwo\nAKIATWO\nmine\neu-north-1\n0"
        );
        assert_eq!(printed, expected, "{shell}: {said}");
        // A profile that no daemon serves is exported as keys.
        let Some((printed, said)) = in_shell(
            &home,
            &broker,
            shell,
            "cz dev; printenv AWS_ACCESS_KEY_ID AWS_REGION CREDENZA_ACTIVE; cz -; printenv | grep -c -e AKIA -e hush; printenv AWS_PROFILE",
        ) else {
            continue;
        };
        assert_eq!(printed, "AKIADEV\neu-west-3\ndev\n0\nmine", "{shell}: {said}");
        assert!(said.contains("no daemon serves dev, so that this shell has its keys"), "{shell}: {said}");
        let Some((printed, said)) = in_shell(&home, &broker, shell, "cz nothing; echo $AWS_PROFILE") else { continue };
        assert!(printed == "mine" && said.contains("nothing"), "{shell}: {printed}: {said}");
    }
}

#[test]
fn shadowed_files_keep_other_profiles() {
    let home = home();
    let broker = home.serve_config(IDENTITIES, &[]);
    let address = broker.address().to_string();
    let variables = [("CREDENZA_LISTEN", &*address)];
    let plain = home.run(&["env", "one"], &variables);
    assert!(
        plain.stderr.contains("SDKs use the credentials of the default profile") && plain.stderr.contains("--shadow")
    );
    let shadowed = home.run(&["env", "one", "--shadow"], &variables);
    assert!(!shadowed.stderr.contains("default profile"), "{shadowed:?}");
    let script = format!("{}\nexec \"$0\" \"$@\"", shadowed.stdout);
    let in_it = |arguments: &[&str]| {
        let mut command = home.command(&[]);
        command = testkit::harness::wrapped(&["sh", "-c", &script], &command);
        String::from_utf8_lossy(&command.args(arguments).output().unwrap().stdout).into_owned()
    };
    assert!(in_it(&["get"]).contains("AKIAONE"));
    assert!(in_it(&["get", "--profile", "dev"]).contains("AKIADEV"));
    // Equal files are written once.
    let files = || fs::read_dir(home.path().join(".local/state/credenza/shadow")).map_or(0, Iterator::count);
    let before = files();
    home.run(&["env", "one", "--shadow"], &variables);
    assert_eq!(files(), before);
}

/// After `sudo -E` or `su` HOME may be that of another user, who could exchange the files of the shell there.
#[test]
fn shadow_writes_nothing_below_the_home_of_another_user() {
    let home = home();
    let broker = home.serve_config(IDENTITIES, &[]);
    let theirs = home.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    if std::os::unix::fs::chown(&theirs, Some(65_533), None).is_err()
        && skip("this user cannot give a folder to another one")
    {
        return;
    }
    let mut command = home.command(&["env", "one", "--shadow"]);
    let output = command.env("HOME", &theirs).env("CREDENZA_LISTEN", broker.address().to_string()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    assert!(told.contains("env --shadow: there is no folder for its files"), "{told}");
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
}

#[test]
fn unset_says_if_there_is_nothing() {
    let home = home();
    let nothing = home.run(&["env", "--unset"], &[]);
    assert!(nothing.code == Some(0) && nothing.stdout.is_empty(), "{nothing:?}");
    assert!(nothing.stderr.contains("no variables of `credenza env`"), "{nothing:?}");
}

#[test]
fn shell_of_another_user_is_not_run() {
    let home = home();
    let shell = home.write("shell", "#!/bin/sh\necho theirs\n");
    fs::set_permissions(&shell, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    if std::os::unix::fs::chown(&shell, Some(65_533), None).is_err()
        && skip("this user cannot give a file to another one")
    {
        return;
    }
    let mut command = home.command(&["exec", "dev"]);
    command.env("SHELL", &shell).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"echo ours\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ours\n");
}
