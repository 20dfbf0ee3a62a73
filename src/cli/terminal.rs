//! The terminal of a command: its width, its colours, and the flags about output.

pub(crate) mod report;
pub(crate) mod text;

use std::io::IsTerminal;
use std::os::fd::AsFd;

use clap::ValueEnum;
use rustix::termios::tcgetwinsize;

use crate::os::environment::Environment;

/// The width of a terminal that does not tell its own, in columns.
const USUAL_WIDTH: usize = 80;

/// The minimum width for a layout, in columns. A narrower terminal wraps the lines itself.
const MIN_WIDTH: usize = 20;

/// The outputs that get colours (`--color`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// To a terminal, unless `NO_COLOR`, `TERM` or `CLICOLOR` say otherwise.
    #[default]
    Auto,
    Always,
    Never,
}

/// The amount of output (`-q`, `-v`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Only errors.
    Quiet,
    #[default]
    Normal,
    /// Details as well.
    Verbose,
}

/// The flags that change the output of a command.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct View {
    pub(crate) verbosity: Verbosity,
    pub(crate) color: ColorChoice,
}

impl View {
    pub(crate) fn is_verbose(self) -> bool {
        self.verbosity == Verbosity::Verbose
    }

    pub(crate) fn is_quiet(self) -> bool {
        self.verbosity == Verbosity::Quiet
    }

    /// Returns the screen behind a stream, as it is now.
    pub(crate) fn screen(self, stream: &(impl AsFd + IsTerminal), environment: &Environment) -> Screen {
        Screen::of(stream, environment, self.color)
    }
}

/// The meaning of a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    /// Labels, and what matters less.
    Faint,
}

impl Tone {
    /// Returns the control sequence that starts the colour.
    fn sequence(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Warning => "\x1b[33m",
            Self::Bad => "\x1b[1;31m",
            Self::Faint => "\x1b[2m",
        }
    }
}

/// An output stream: its width and whether it shows colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Screen {
    /// The number of columns. `None` if the stream is no terminal: its lines may have any length.
    pub(crate) width: Option<usize>,
    pub(crate) has_colours: bool,
}

impl Screen {
    /// Returns the screen behind a stream, as it is now: the user may resize a terminal.
    pub(crate) fn of(stream: &(impl AsFd + IsTerminal), environment: &Environment, choice: ColorChoice) -> Self {
        let is_terminal = stream.is_terminal();
        // Some terminals do not know their size and report 0.
        let width = || tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        Self {
            width: is_terminal.then(|| width().unwrap_or(USUAL_WIDTH).max(MIN_WIDTH)),
            has_colours: has_colours(choice, is_terminal, environment),
        }
    }

    /// Returns the text in this colour.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.has_colours || tone == Tone::Plain || text.is_empty() {
            return text.to_owned();
        }
        format!("{}{text}\x1b[0m", tone.sequence())
    }
}

/// Returns true if a stream gets colours. `NO_COLOR` is described at no-color.org, `CLICOLOR` and `CLICOLOR_FORCE` at
/// bixense.com/clicolors.
pub(crate) fn has_colours(choice: ColorChoice, is_terminal: bool, environment: &Environment) -> bool {
    let is_set = |name| environment.get(name).is_some_and(|value| value != "0");
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if environment.get("NO_COLOR").is_some() => false,
        ColorChoice::Auto if is_set("CLICOLOR_FORCE") => true,
        ColorChoice::Auto => {
            is_terminal
                && environment.get("TERM").is_some_and(|name| name != "dumb")
                && environment.get("CLICOLOR") != Some("0")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_the_flag_decide_about_colours() {
        let xterm = ("TERM", "xterm");
        for (choice, is_terminal, variables, expected) in [
            (ColorChoice::Auto, true, &[xterm][..], true),
            (ColorChoice::Auto, false, &[xterm], false),
            (ColorChoice::Auto, true, &[("TERM", "dumb")], false),
            (ColorChoice::Auto, true, &[], false),
            (ColorChoice::Auto, true, &[xterm, ("NO_COLOR", "1")], false),
            (ColorChoice::Auto, true, &[xterm, ("NO_COLOR", "")], true),
            (ColorChoice::Auto, true, &[xterm, ("CLICOLOR", "0")], false),
            (ColorChoice::Auto, false, &[("CLICOLOR_FORCE", "1")], true),
            (ColorChoice::Auto, false, &[("CLICOLOR_FORCE", "0")], false),
            (ColorChoice::Auto, true, &[xterm, ("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
            (ColorChoice::Always, false, &[("NO_COLOR", "1")], true),
            (ColorChoice::Never, true, &[xterm], false),
        ] {
            let environment = Environment::new(variables.iter().copied());
            assert_eq!(has_colours(choice, is_terminal, &environment), expected, "{choice:?} {variables:?}");
        }
    }

    #[test]
    fn paints_only_with_colours() {
        let screen = Screen { width: None, has_colours: true };
        assert_eq!(screen.paint(Tone::Good, "x"), "\x1b[32mx\x1b[0m");
        assert_eq!((screen.paint(Tone::Plain, "x"), screen.paint(Tone::Bad, "")), ("x".into(), String::new()));
        assert_eq!(Screen { has_colours: false, ..screen }.paint(Tone::Bad, "x"), "x");
    }
}
