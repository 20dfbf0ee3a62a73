//! Errors as a terminal shows them: a few short lines. Other outputs get one line.

use std::path::{Path, PathBuf};

use crate::cli::error::CommandError;
use crate::cli::terminal::text::{width, wrap, write_indented};
use crate::cli::terminal::{Screen, Tone};
use crate::model::error::SourceError;
use crate::model::location::Location;
use crate::model::text::Escaped;
use crate::os::environment::Environment;

/// The labels of the lines below the first.
const AT: &str = "at";
const SAID: &str = "said";
const TRY: &str = "try";

/// The width of the column of labels, with the spaces around them.
const INDENT: usize = 8;

/// The terminal or pipe for errors, with the home folder of the user.
#[derive(Clone, Debug)]
pub(crate) struct ErrorScreen {
    screen: Screen,
    home: Option<PathBuf>,
}

impl ErrorScreen {
    pub(crate) fn new(screen: Screen, environment: &Environment) -> Self {
        Self { screen, home: environment.home().map(Path::to_path_buf) }
    }

    /// Formats an error, with a line break at the end.
    pub(crate) fn text(&self, error: &CommandError) -> String {
        let Some(columns) = self.screen.width else { return format!("credenza: {error}\n") };
        let mut lines = Lines { text: String::new(), screen: self.screen, columns };
        let Some(source_error) = error.source_error() else {
            lines.message(&self.with_tilde(&error.to_string()));
            return lines.text;
        };
        lines.first(&self.with_tilde(&format!("{}: {}", error.message(), source_error.message)));
        self.source_error(&mut lines, source_error);
        if let Some(hint) = error.hint() {
            lines.labelled(TRY, hint);
        }
        lines.text
    }

    /// Appends location, answer and hint of an error, each below the other.
    fn source_error(&self, lines: &mut Lines, error: &SourceError) {
        if let Some(location) = &error.location {
            lines.labelled(AT, &self.location(location));
        }
        if let Some(said) = &error.said {
            lines.labelled(SAID, said);
        }
        if let Some(output) = &error.detail {
            lines.labelled(SAID, output);
        }
        if let Some(hint) = &error.hint {
            lines.labelled(TRY, hint.strip_prefix("run: ").unwrap_or(hint));
        }
    }

    /// Formats a location as `~/.aws/config:3`.
    pub(crate) fn location(&self, location: &Location) -> String {
        match (location.file(), location.line_number()) {
            (Some(file), Some(line)) => {
                let property = location.property().map(|name| format!(" ({})", Escaped(name))).unwrap_or_default();
                format!("{}:{line}{property}", self.path(file))
            }
            _ => location.to_string(),
        }
    }

    /// Returns a message with `~` for the home folder in its paths. Commands keep the path, because a shell does not expand
    /// `~` within quotes.
    fn with_tilde(&self, text: &str) -> String {
        let Some(home) = self.home.as_deref().and_then(Path::to_str).filter(|home| home.len() > 1) else {
            return text.to_owned();
        };
        let home = format!("{home}/");
        let (sentences, commands) = text.split_at(text.find("run: ").unwrap_or(text.len()));
        let mut shown = String::new();
        for part in sentences.split_inclusive([' ', '(', '\n']) {
            match part.strip_prefix(&*home) {
                Some(below) => shown += &format!("~/{below}"),
                None => shown += part,
            }
        }
        shown + commands
    }

    /// Formats a path, with `~` for the home folder.
    fn path(&self, path: &Path) -> String {
        let below =
            self.home.as_deref().filter(|home| *home != Path::new("/")).and_then(|home| path.strip_prefix(home).ok());
        match below {
            Some(below) => format!("~/{}", Escaped(&below.to_string_lossy())),
            None => Escaped(&path.to_string_lossy()).to_string(),
        }
    }
}

struct Lines {
    text: String,
    screen: Screen,
    columns: usize,
}

impl Lines {
    /// Writes the first line: the operation that failed, and why.
    fn first(&mut self, what: &str) {
        let name = "credenza:";
        let wrapped = wrap(&format!("{name} {}", Escaped(what)), self.columns);
        for (position, line) in wrapped.iter().enumerate() {
            let line = match line.strip_prefix(name) {
                Some(rest) if position == 0 => format!("{}{rest}", self.screen.paint(Tone::Bad, name)),
                _ => line.clone(),
            };
            self.text += &format!("{line}\n");
        }
    }

    /// Writes a message whose hints stand behind semicolons, each hint on a line of its own. The message may be several
    /// errors, each with the name of the program.
    fn message(&mut self, message: &str) {
        for (position, line) in message.split('\n').enumerate() {
            let mut parts = line.split("; ");
            match line.strip_prefix("credenza: ") {
                Some(_) if position > 0 => {
                    let first = parts.next().unwrap_or_default();
                    self.first(first.strip_prefix("credenza: ").unwrap_or(first));
                }
                None if position > 0 => parts = line.split("\n"),
                _ => self.first(parts.next().unwrap_or_default()),
            }
            for part in parts {
                write_indented(&mut self.text, &Escaped(part).to_string(), 2, Some(self.columns));
            }
        }
    }

    /// Writes lines behind a label. Each line of the text is wrapped on its own.
    fn labelled(&mut self, label: &str, text: &str) {
        let mut label = format!("{label:>width$}: ", width = INDENT - 2);
        for line in text.lines() {
            for line in wrap(&Escaped(line).to_string(), self.columns.saturating_sub(INDENT)) {
                debug_assert_eq!(width(&label), INDENT);
                self.text += &format!("{}{line}\n", self.screen.paint(Tone::Faint, &label));
                label = " ".repeat(INDENT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::terminal::text::width_of_painted;

    fn shown(error: &CommandError, width: Option<usize>) -> String {
        let environment = Environment::new([("HOME", "/home/me")]);
        ErrorScreen::new(Screen { width, has_colours: false }, &environment).text(error)
    }

    fn denied() -> CommandError {
        let location = Location::line(Path::new("/home/me/.aws/config"), 3).in_profile("dev").with_property("role_arn");
        let error = SourceError::misconfigured("AssumeRole r (POST https://sts/): status 403 Forbidden");
        let error = SourceError { said: Some("AccessDenied: no".into()), ..error };
        CommandError::source_failed(&"prod".into(), "profile dev", error.with_hint("run: credenza login").at(location))
    }

    #[test]
    fn terminal_gets_short_lines_and_a_pipe_one() {
        let expected = "\
credenza: identity prod: profile dev: AssumeRole r (POST https://sts/): status
403 Forbidden
    at: ~/.aws/config:3 (role_arn)
  said: AccessDenied: no
   try: credenza login
";
        assert_eq!(shown(&denied(), Some(80)), expected);
        let one = "credenza: identity prod: profile dev: /home/me/.aws/config, line 3: AssumeRole r (POST https://sts/): \
                   status 403 Forbidden: AccessDenied: no; run: credenza login\n";
        assert_eq!(shown(&denied(), None), one);
    }

    #[test]
    fn home_folder_is_a_tilde_except_in_commands() {
        let error = CommandError::new("/home/me/.aws/config: bad (/home/me/x), /var/home/me/y; run: rm '/home/me/a b'");
        let expected = "credenza: ~/.aws/config: bad (~/x), /var/home/me/y\n  run: rm '/home/me/a b'\n";
        assert_eq!(shown(&error, Some(80)), expected);
    }

    #[test]
    fn hints_of_a_message_stand_below_it() {
        let error = CommandError::new("no daemon answers; start one; or not\nline 2: x");
        assert_eq!(shown(&error, Some(80)), "credenza: no daemon answers\n  start one\n  or not\n  line 2: x\n");
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_or_has_control_characters(message in "(?s).{0,80}", said in "(?s).{0,60}", width in 20_usize..90) {
            let error = SourceError { said: Some(said.into()), ..SourceError::misconfigured(message.clone()) };
            let errors = [CommandError::new(&message), CommandError::source_failed(&"a".into(), &message, error)];
            for error in errors {
                let text = shown(&error, Some(width));
                for line in text.lines() {
                    prop_assert!(width_of_painted(line) <= width, "{line:?}");
                    prop_assert_eq!(Escaped(line).to_string(), line);
                }
            }
        }
    }
}
