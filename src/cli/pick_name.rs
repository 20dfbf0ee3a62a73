//! `credenza pick-name`: a person picks an identity or a profile at the terminal, by typing a part of its name.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};

use crate::cli::error::CommandError;
use crate::model::text::Escaped;

/// The maximum number of names on the screen. More are found by typing.
const SHOWN: usize = 30;

/// Asks until one name is left.
///
/// # Errors
/// If there is no name or no terminal, or the user gives up with an empty line or the end of input.
pub(crate) fn pick_name(names: &[String]) -> Result<String, CommandError> {
    if names.is_empty() {
        return Err(CommandError::new(
            "there is no name to pick: no daemon answers, and there are no identities and no profiles. `credenza check` \
             explains where credentials are looked for",
        ));
    }
    let terminal = || OpenOptions::new().read(true).write(true).open("/dev/tty");
    let opened = terminal().and_then(|screen| Ok((screen, BufReader::new(terminal()?))));
    let (mut screen, mut input) =
        opened.map_err(|_| CommandError::new("no name was picked: there is no terminal. Run `cz NAME`"))?;
    ask(names, &mut screen, &mut input)
        .map_err(|error| CommandError::new(format!("no name was picked: {error}. Run it again")))
}

fn ask(names: &[String], screen: &mut File, input: &mut impl BufRead) -> io::Result<String> {
    let mut left: Vec<&String> = names.iter().collect();
    loop {
        if let [only] = left[..] {
            return Ok(only.clone());
        }
        screen.write_all(list(&left).as_bytes())?;
        screen.write_all(b"name or a part of it: ")?;
        screen.flush()?;
        let mut line = String::new();
        input.read_line(&mut line)?;
        let typed = line.trim();
        if typed.is_empty() {
            return Err(io::Error::other("nothing was typed"));
        }
        let found = matching(&left, typed);
        match found[..] {
            [] => writeln!(screen, "no name contains {}", Escaped(typed))?,
            _ => left = found,
        }
    }
}

fn list(names: &[&String]) -> String {
    let mut text: String = names.iter().take(SHOWN).map(|name| format!("  {}\n", Escaped(name))).collect();
    if let more @ 1.. = names.len().saturating_sub(SHOWN) {
        text += &format!("  … and {more} more\n");
    }
    text
}

/// Returns the name itself, else the names that begin with the text, else those that contain it.
fn matching<'n>(names: &[&'n String], typed: &str) -> Vec<&'n String> {
    let typed = typed.to_lowercase();
    let filtered = |is_match: &dyn Fn(&str) -> bool| -> Vec<&'n String> {
        names.iter().copied().filter(|name| is_match(&name.to_lowercase())).collect()
    };
    let tries: [&dyn Fn(&str) -> bool; 3] =
        [&|name| name == typed, &|name| name.starts_with(&typed), &|name| name.contains(&typed)];
    tries.iter().map(|is_match| filtered(is_match)).find(|found| !found.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names_by_a_part() {
        let names = ["prod", "prod-eu", "dev", "Team Dev"].map(str::to_owned);
        let names: Vec<&String> = names.iter().collect();
        for (typed, expected) in [
            ("prod", &["prod"][..]),
            ("PRO", &["prod", "prod-eu"]),
            ("dev", &["dev"]),
            ("eu", &["prod-eu"]),
            ("e", &["prod-eu", "dev", "Team Dev"]),
            ("team", &["Team Dev"]),
            ("x", &[]),
        ] {
            assert_eq!(matching(&names, typed), expected.to_vec(), "{typed}");
        }
    }
}
