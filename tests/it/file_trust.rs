//! Files of another user of the host. The tests run as root, and give files to a stranger.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::harness::{CommandOutput, HUSH, Home, program, skip};

/// A user without a name on any host.
const STRANGER: u32 = 64002;

const KEYS: &str = "[default]\naws_access_key_id = AKIAVICTIM\naws_secret_access_key = hush\n";

/// Returns a home that other users can enter, and with it a folder of the stranger. `None` without root.
fn stage() -> Option<Home> {
    if !rustix::process::geteuid().is_root() {
        assert!(skip("only root can give files to another user"));
        return None;
    }
    let home = Home::new();
    chmod(home.path(), 0o755);
    fs::create_dir(home.path().join("stranger")).unwrap();
    chown(home.path().join("stranger"), Some(STRANGER), Some(STRANGER)).unwrap();
    Some(home)
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn assert_refused(ended: &CommandOutput, code: i32, says: &str) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(ended.stderr.contains(says), "{says}: {ended:?}");
    assert!(!ended.stdout.contains("AKIAVICTIM") && !ended.stdout.contains(HUSH), "{ended:?}");
}

#[test]
fn a_strangers_symlink_reads_nothing_that_only_we_may_read() {
    let Some(home) = stage() else { return };
    let secret = home.write("victim/secret", KEYS);
    chmod(&secret, 0o600);
    let link = home.path().join("stranger/link");
    symlink(&secret, &link).unwrap();
    lchown(&link, Some(STRANGER), None).unwrap();
    let link = link.to_str().unwrap();
    let says = "leads to a file of user 0, so it is not followed";
    let shared = [("AWS_SHARED_CREDENTIALS_FILE", link)];
    for command in [&["get"][..], &["get", "--format", "env"], &["exec", "--", "env"]] {
        assert_refused(&home.run(command, &shared), 1, says);
    }
    assert_refused(&home.run(&["get", "--url-file", link], &[]), 1, says);
    assert_refused(
        &home.run(&["serve", "--listen", "127.0.0.1:0", "--auth-token-file", link], &[]),
        1,
        "leads to a file of user 0",
    );
    assert_refused(&home.run(&["get", "--config", link], &[]), 78, says);
    // A folder that is a symlink of the stranger, and a link to the arguments of a process of root.
    let folder = home.path().join("stranger/folder");
    symlink(home.path().join("victim"), &folder).unwrap();
    lchown(&folder, Some(STRANGER), None).unwrap();
    let through = folder.join("secret");
    assert_refused(&home.run(&["get"], &[("AWS_SHARED_CREDENTIALS_FILE", through.to_str().unwrap())]), 1, says);
    let arguments = home.path().join("stranger/arguments");
    symlink(format!("/proc/{}/cmdline", std::process::id()), &arguments).unwrap();
    lchown(&arguments, Some(STRANGER), None).unwrap();
    assert_refused(&home.run(&["get"], &[("AWS_CONFIG_FILE", arguments.to_str().unwrap())]), 1, says);
    // Its own keys, by its own symlink, are what the user asked for.
    let own = home.write("stranger/own", KEYS.replace("VICTIM", "STRANGER"));
    chown(&own, Some(STRANGER), None).unwrap();
    fs::remove_file(link).unwrap();
    symlink(&own, link).unwrap();
    lchown(link, Some(STRANGER), None).unwrap();
    let ended = home.run(&["get"], &shared);
    assert!(ended.code == Some(0) && ended.stdout.contains("AKIASTRANGER"), "{ended:?}");
}

#[test]
fn programs_are_named_only_by_files_that_no_stranger_can_exchange() {
    let Some(home) = stage() else { return };
    let ran = home.path().join("ran");
    let config = format!("[default]\ncredential_process = touch {}\n", ran.display());
    let path = home.write("folder/config", &config);
    let folder = path.parent().unwrap();
    let with = [("AWS_CONFIG_FILE", path.to_str().unwrap())];
    let refused = |why: &str| {
        let ended = home.run(&["get"], &with);
        assert_refused(&ended, 1, "credential_process is not used");
        assert!(ended.stderr.contains(why) && !ran.exists(), "{why}: {ended:?}");
    };
    for (file, mode) in [(&*path, 0o666), (folder, 0o777)] {
        chmod(file, mode);
        refused("may be written by all users");
        chmod(file, 0o755);
    }
    chown(&path, None, Some(STRANGER)).unwrap();
    chmod(&path, 0o664);
    refused("may be written by group 64002, which has unknown members");
    chmod(&path, 0o644);
    for file in [&*path, folder] {
        chown(file, Some(STRANGER), None).unwrap();
        refused("belongs to user 64002");
        chown(file, Some(0), None).unwrap();
    }
    // A folder whose content counts, and an owner whose files count.
    chmod(folder, 0o777);
    let trusting = home.write("trusting.toml", format!("[files]\ntrusted_folders = [\"{}\"]\n", folder.display()));
    home.run(&["get", "--config", trusting.to_str().unwrap()], &with);
    assert!(ran.exists());
    let ended = home.run(&["check", "-v", "--config", trusting.to_str().unwrap()], &with);
    assert!(ended.stdout.starts_with("warning: every file in"), "{ended:?}");
}

#[test]
fn configuration_that_a_stranger_can_exchange_is_refused() {
    let Some(home) = stage() else { return };
    let path = home.write("folder/credenza.toml", "");
    let folder = path.parent().unwrap().to_owned();
    let run = || {
        home.run(
            &["get", "--config", path.to_str().unwrap()],
            &[("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "hush")],
        )
    };
    assert_eq!(run().code, Some(0));
    chmod(&folder, 0o777);
    assert_refused(&run(), 78, "which may be written by all users");
    chmod(&folder, 0o755);
    chown(&folder, Some(STRANGER), None).unwrap();
    assert_refused(&run(), 78, "which belongs to user 64002");
}

#[test]
fn nothing_is_opened_before_it_is_judged() {
    let Some(home) = stage() else { return };
    let fifo = home.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    chown(&fifo, Some(STRANGER), None).unwrap();
    let woken = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (fifo, woken) = (fifo.clone(), Arc::clone(&woken));
        move || {
            let opened = fs::OpenOptions::new().write(true).open(fifo);
            woken.store(true, Ordering::SeqCst);
            drop(opened);
        }
    });
    std::thread::sleep(Duration::from_millis(50));
    let ended = home.run(&["check", "-v"], &[("AWS_SHARED_CREDENTIALS_FILE", fifo.to_str().unwrap())]);
    assert!(ended.stdout.contains("it is a FIFO, not a regular file"), "{ended:?}");
    assert!(!woken.load(Ordering::SeqCst), "the writer of the FIFO was woken");
    drop(fs::File::open(&fifo).unwrap());
    writer.join().unwrap();
}

#[test]
fn get_and_exec_read_a_pipe_once() {
    let home = Home::new();
    for command in ["get", "exec -- env"] {
        let script =
            format!("AWS_SHARED_CREDENTIALS_FILE=<(printf '{}') exec \"$0\" {command}", KEYS.replace('\n', "\\n"));
        let mut bash = Command::new("bash");
        bash.args(["-c", &script, program()]).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home.path());
        let output = bash.env("AWS_EC2_METADATA_DISABLED", "true").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn nobody_is_no_trusted_owner_in_a_user_namespace() {
    let home = Home::new();
    chmod(home.path(), 0o755);
    let ran = home.path().join("ran");
    let config = home.write("config", format!("[default]\ncredential_process = touch {}\n", ran.display()));
    let keys = home.write("keys", KEYS);
    let run = |variable: &str, path: &Path| {
        let mut unshare = Command::new("unshare");
        unshare.args(["-U", program(), "get"]).env_clear().env("HOME", "/nonexistent").env(variable, path);
        unshare.env("AWS_EC2_METADATA_DISABLED", "true").output()
    };
    let Ok(output) = run("AWS_CONFIG_FILE", &config) else {
        assert!(skip("there is no unshare"));
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if !said.contains("credenza: ") {
        assert!(skip("this host has no user namespaces"));
        return;
    }
    assert!(said.contains("credential_process is not used") && !ran.exists(), "{said}");
    let output = run("AWS_SHARED_CREDENTIALS_FILE", &keys).unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("AKIAVICTIM"), "its own keys are served: {output:?}");
}

#[test]
fn another_users_runtime_folder_gives_no_token() {
    let Some(home) = stage() else { return };
    let runtime = home.path().join("stranger");
    home.write("stranger/credenza/token", "0123456789012345678901234567890123456789");
    for path in ["stranger/credenza", "stranger/credenza/token"] {
        chown(home.path().join(path), Some(STRANGER), None).unwrap();
    }
    let state = home.path().join("state");
    for command in [&["status"][..], &["env"], &["get", "--from-daemon"]] {
        let mut command = home.command(command);
        command.args(["--listen", "127.0.0.1:1"]).env_remove("CREDENZA_TOKEN_FILE");
        let output = command.env("XDG_RUNTIME_DIR", &runtime).env("XDG_STATE_HOME", &state).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // With a token, the command would report that no daemon answers.
        let has_token = Path::new("/run/credenza/token").exists();
        assert!(said.contains("there is no token file at") || has_token, "{said}");
        assert!(!output.status.success() && !said.contains("stranger/credenza"), "{said}");
    }
}

#[test]
fn huge_file_is_refused_unread() {
    let home = Home::new();
    let path = home.write("huge", "[a]\n".repeat(524_289));
    let ended = home.run(&["get"], &[("AWS_SHARED_CREDENTIALS_FILE", path.to_str().unwrap())]);
    assert_refused(&ended, 1, "it is larger than 2 MB");
}

#[test]
fn another_users_configuration_folder_hides_no_configuration() {
    let Some(home) = stage() else { return };
    home.write(
        ".config/credenza/credenza.toml",
        "[identities.default]\nsources = [{ access_key_id = \"AKIAOWN\", secret_access_key = \"hush\" }]\n",
    );
    let folder = home.path().join("stranger");
    let keys = [("AWS_ACCESS_KEY_ID", "AKIAOTHER"), ("AWS_SECRET_ACCESS_KEY", "hush")];
    let ended = home.run(&["get"], &[&keys[..], &[("XDG_CONFIG_HOME", folder.to_str().unwrap())]].concat());
    assert!(ended.stdout.contains("AKIAOWN"), "{ended:?}");
    assert!(ended.stderr.contains("XDG_CONFIG_HOME is not used: it belongs to user 64002"), "{ended:?}");
}

#[test]
fn a_stranger_decides_no_login_and_no_authority() {
    let Some(home) = stage() else { return };
    let session = "[sso-session s]\nsso_start_url = https://evil.example/start\nsso_region = eu-west-1\n";
    let config = home.write("stranger/config", session);
    let bundle = home.write("stranger/ca.pem", "-----BEGIN CERTIFICATE-----\n");
    for path in [&config, &bundle] {
        chown(path, Some(STRANGER), None).unwrap();
    }
    let config = config.to_str().unwrap();
    for target in [&["--sso-session", "s"][..], &["--all"]] {
        let ended = home.run(&[&["login", "--no-browser"], target].concat(), &[("AWS_CONFIG_FILE", config)]);
        assert_refused(&ended, 1, "sso_start_url is not used: the file is in the folder");
    }
    home.write(".aws/credentials", "[base]\naws_access_key_id = AKIAVICTIM\naws_secret_access_key = hush\n");
    home.write(".aws/config", "[default]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = base\n");
    let variables = [
        ("AWS_CA_BUNDLE", bundle.to_str().unwrap()),
        ("AWS_ENDPOINT_URL_STS", "https://127.0.0.1:1"),
        ("AWS_REGION", "eu-west-1"),
    ];
    assert_refused(&home.run(&["get"], &variables), 1, "the CA bundle of AWS_CA_BUNDLE cannot be used");
    assert!(home.run(&["get"], &variables).stderr.contains("belongs to user 64002"));
}
