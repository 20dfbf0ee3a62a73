//! Opens a page in the user's browser.

use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::http::url::{Url, UrlHost};
use crate::model::text::Escaped;
use crate::os::environment::Environment;
use crate::os::files::trust::TrustPolicy;
use crate::os::files::walk::{trusted_folder, walk};

/// The variables with keys and tokens.
const KEYS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
];

/// The folders with programs if `PATH` is not set.
const DEFAULT_PATH: &str = "/usr/bin:/bin";

/// The error for a program that is missing or does not start.
const CANNOT_RUN: &str = "the program that opens pages cannot be run";

/// Starts the program of `BROWSER`, else the opener of the desktop, to open a page. Returns the program without waiting
/// for it.
///
/// # Errors
/// The reason why no program was started. The user can open the page elsewhere.
pub(crate) fn open(environment: &Environment, trust: &TrustPolicy, page: &str) -> Result<String, String> {
    // Accept only a URL: the program might open a file or read an option.
    if !Url::parse(page).is_ok_and(|url| url.is_https()) || !page.starts_with("https://") {
        return Err("the page is not an https URL".into());
    }
    start(environment, trust, page)
}

/// Opens a page of this process on loopback.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_on_loopback(environment: &Environment, trust: &TrustPolicy, page: &str) -> Result<String, String> {
    let is_loopback = Url::parse(page).is_ok_and(|url| *url.host() == UrlHost::Address(Ipv4Addr::LOCALHOST.into()));
    if !is_loopback || !page.starts_with("http://127.0.0.1:") {
        return Err("the page is not on loopback".into());
    }
    start(environment, trust, page)
}

/// Starts the program that opens pages. The page is a checked URL.
fn start(environment: &Environment, trust: &TrustPolicy, page: &str) -> Result<String, String> {
    let words = opener(environment, trust.ours, Path::new("/proc/sys/fs/binfmt_misc/WSLInterop").exists(), page)?;
    let (program, arguments) = words.split_first().ok_or("BROWSER names no program")?;
    if let Some(argument) = arguments.iter().find(|argument| !is_plain(argument, page)) {
        return Err(format!("the argument {} of BROWSER may name a program of another user", Escaped(argument)));
    }
    let path = trusted_program(environment, program, trust)?;
    let mut command = Command::new(path);
    // Programs such as xdg-open are scripts, which look other programs up. The working directory may be another user's.
    command.env("PATH", trusted_path(environment, trust)).current_dir("/");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C must not end a browser that the program has started.
    command.process_group(0);
    // Nor does a browser need keys, which a page or an extension of it could then read.
    let is_private = |name: &&str| name.starts_with("CREDENZA_") || KEYS.contains(name);
    for name in environment.names().filter(is_private) {
        command.env_remove(name);
    }
    command.spawn().map(|_| program.clone()).map_err(|_| CANNOT_RUN.into())
}

/// Returns true if an argument names no file and is no command of a shell, as in `sh /home/other/program`.
fn is_plain(argument: &str, page: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=.,:+@".contains(&byte);
    argument.replace(page, "").bytes().all(is_plain)
}

/// Returns the folders of `PATH` in which no other user can put a program.
pub(crate) fn trusted_path(environment: &Environment, trust: &TrustPolicy) -> String {
    let is_open = |real: &Path| real.metadata().is_ok_and(|meta| meta.mode() & 0o1000 != 0 && meta.mode() & 0o022 != 0);
    let is_trusted = |folder: &&str| {
        Path::new(folder).is_absolute() && trusted_folder(Path::new(folder), trust).is_ok_and(|real| !is_open(&real))
    };
    let folders = environment.get("PATH").unwrap_or(DEFAULT_PATH).split(':');
    folders.filter(is_trusted).collect::<Vec<_>>().join(":")
}

/// Returns the path of a program that no other user can change. After `su` or `sudo -E`, `BROWSER` and `PATH` may name a
/// program of another user.
pub(crate) fn trusted_program(
    environment: &Environment,
    program: &str,
    trust: &TrustPolicy,
) -> Result<PathBuf, String> {
    let path = find(environment, program).and_then(|path| std::path::absolute(path).ok()).ok_or(CANNOT_RUN)?;
    let found = walk(&path).map_err(|_| CANNOT_RUN)?;
    found.facts.trusted(trust).map_err(|distrust| {
        let shown = path.to_string_lossy();
        format!("the program {} is not trusted: {}", Escaped(&shown), distrust.about(&path))
    })?;
    Ok(path)
}

/// Finds a program in the folders of `PATH`, or at its path if it has a slash.
fn find(environment: &Environment, program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(program.into());
    }
    let folders = environment.get("PATH").unwrap_or(DEFAULT_PATH);
    let is_program =
        |path: &PathBuf| path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    folders.split(':').map(|folder| Path::new(folder).join(program)).find(is_program)
}

/// Returns the command line that opens a page.
fn opener(environment: &Environment, uid: u32, is_wsl: bool, page: &str) -> Result<Vec<String>, &'static str> {
    // Colons separate several programs, and `%s` is the page, as in Python and the AWS CLI.
    if let Some(first) = environment.get("BROWSER").and_then(|browser| browser.split(':').next()) {
        let mut words: Vec<String> = first.split_whitespace().map(|word| word.replace("%s", page)).collect();
        if !first.contains("%s") {
            words.push(page.to_owned());
        }
        return Ok(words);
    }
    // The desktop belongs to another user, and a browser should not run as root.
    if uid == 0 {
        return Err("this runs as root");
    }
    let opener = match () {
        () if cfg!(target_os = "macos") => "open",
        () if is_wsl => "wslview",
        () if environment.get("DISPLAY").or(environment.get("WAYLAND_DISPLAY")).is_some() => "xdg-open",
        // xdg-open would start a text browser in this terminal.
        () => return Err("there is no display"),
    };
    Ok(vec![opener.into(), page.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "https://d.example/?user_code=A-B";

    #[test]
    fn chooses_the_program_that_opens_a_page() {
        let display = [("DISPLAY", ":0")];
        for (variables, uid, is_wsl, expected) in [
            (&display[..], 7, false, Ok(vec!["xdg-open", PAGE])),
            (&[("WAYLAND_DISPLAY", "w")], 7, false, Ok(vec!["xdg-open", PAGE])),
            (&[], 7, true, Ok(vec!["wslview", PAGE])),
            (&[], 7, false, Err("there is no display")),
            (&display, 0, false, Err("this runs as root")),
            (&[("BROWSER", "x --new:y")], 0, false, Ok(vec!["x", "--new", PAGE])),
            (&[("BROWSER", "x u=%s -")], 7, false, Ok(vec!["x", &format!("u={PAGE}"), "-"])),
        ] {
            let environment = Environment::new(variables.iter().copied());
            let words = opener(&environment, uid, is_wsl, PAGE);
            let expected = expected.map(|words| words.into_iter().map(String::from).collect::<Vec<_>>());
            assert_eq!(words, expected, "{variables:?}");
        }
    }

    #[tokio::test]
    async fn opens_only_https_pages() {
        let environment = Environment::new([("BROWSER", "/nowhere/browser")]);
        for page in ["http://d.example/", "file:///etc/passwd", "--help", "javascript:x", "https://a b/", " https://a/"]
        {
            let opened = open(&environment, &TrustPolicy::default(), page);
            assert_eq!(opened, Err("the page is not an https URL".into()), "{page}");
        }
        assert_eq!(open(&environment, &TrustPolicy::default(), PAGE), Err(CANNOT_RUN.into()));
    }

    #[tokio::test]
    async fn starts_no_program_of_another_user() {
        let folder = tempfile::tempdir().unwrap();
        let (program, ran) = (folder.path().join("browser"), folder.path().join("ran"));
        std::fs::write(&program, format!("#!/bin/sh\necho > {}\n", ran.display())).unwrap();
        let mode = |mode| std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
        let path = format!("/nowhere:{}:/usr/bin:/bin", folder.path().display());
        let trust = TrustPolicy::default();
        for browser in ["browser", program.to_str().unwrap()] {
            let environment = Environment::new([("BROWSER", browser), ("PATH", &path)]);
            mode(0o777);
            let error = open(&environment, &trust, PAGE).unwrap_err();
            let start = format!("the program {} is not trusted: it may be written by all users", program.display());
            assert!(error.starts_with(&start), "{browser}: {error}");
            // An untrusted program in PATH is not skipped for another one.
            mode(0o755);
            assert_eq!(trusted_program(&environment, browser, &trust), Ok(program.clone()));
            let foreign = TrustPolicy { ours: trust.ours.wrapping_add(64001), ..trust.clone() };
            if trust.ours != 0 {
                assert!(trusted_program(&environment, browser, &foreign).is_err(), "{browser}");
            }
        }
        assert!(!ran.exists());
    }

    #[tokio::test]
    async fn passes_nothing_of_another_user_to_a_trusted_program() {
        for browser in [
            "/bin/sh /home/other/program",
            "/bin/sh -c program;%s",
            "/bin/sh -c $PROGRAM",
            "/usr/bin/env -S./program",
            "/usr/bin/python3 -c__import__('os')",
        ] {
            let environment = Environment::new([("BROWSER", browser)]);
            let error = open(&environment, &TrustPolicy::default(), PAGE).unwrap_err();
            assert!(error.ends_with("of BROWSER may name a program of another user"), "{browser}: {error}");
        }
        for argument in [PAGE, "run", "org.mozilla.firefox", "--new-window", "-a", &format!("url={PAGE}")] {
            assert!(is_plain(argument, PAGE), "{argument}");
        }
        let folder = tempfile::tempdir().unwrap();
        let [open, sticky, own] = ["open", "sticky", "own"].map(|name| folder.path().join(name));
        for (path, mode) in [(&open, 0o777), (&sticky, 0o1777), (&own, 0o755)] {
            std::fs::create_dir(path).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let path = format!("{}:.:{}:/nowhere:{}:", open.display(), sticky.display(), own.display());
        let environment = Environment::new([("PATH", &*path)]);
        assert_eq!(trusted_path(&environment, &TrustPolicy::default()), own.display().to_string());
    }
}
