//! Opens a page in the user's browser.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::http::url::Url;
use crate::os::environment::Environment;

/// Starts the program of `BROWSER`, else the opener of the desktop, to open a page. Returns the program without waiting
/// for it.
///
/// # Errors
/// The reason why no program was started. The user can open the page elsewhere.
pub(crate) fn open(environment: &Environment, uid: u32, page: &str) -> Result<String, &'static str> {
    // Accept only a URL: the program might open a file or read an option.
    if !Url::parse(page).is_ok_and(|url| url.is_https()) || !page.starts_with("https://") {
        return Err("the page is not an https URL");
    }
    let words = opener(environment, uid, Path::new("/proc/sys/fs/binfmt_misc/WSLInterop").exists(), page)?;
    let (program, arguments) = words.split_first().ok_or("BROWSER names no program")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C must not end a browser that the program has started.
    command.process_group(0);
    for name in environment.names().filter(|name| name.starts_with("CREDENZA_")) {
        command.env_remove(name);
    }
    command.spawn().map(|_| program.clone()).map_err(|_| "the program that opens pages cannot be run")
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
            assert_eq!(open(&environment, 7, page), Err("the page is not an https URL"), "{page}");
        }
        assert_eq!(open(&environment, 7, PAGE), Err("the program that opens pages cannot be run"));
    }
}
