//! Who types the code of a multi-factor device.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::context::deadline::Deadline;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::secret::Secret;
use crate::model::text::Escaped;

/// How long a person is waited for.
const PATIENCE: Duration = Duration::from_secs(180);

/// A code is of use once, and nobody sits before a daemon: the default asks nobody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mfa {
    who: MfaPrompt,
    asked: Arc<AtomicBool>,
}

#[derive(Clone, Debug, Default)]
enum MfaPrompt {
    #[default]
    Nobody,
    Given(Secret),
    Terminal,
}

impl Mfa {
    /// This code (`--mfa-code`).
    #[must_use]
    pub(crate) fn given(code: Secret) -> Self {
        Self { who: MfaPrompt::Given(code), asked: Arc::default() }
    }

    /// Whoever sits at the terminal of this process, once.
    #[must_use]
    pub(crate) fn at_the_terminal() -> Self {
        Self { who: MfaPrompt::Terminal, asked: Arc::default() }
    }

    /// The code that the device of this serial shows now.
    ///
    /// # Errors
    /// When there is nobody to ask, or they were asked before: a code is of use once.
    pub(crate) async fn code(&self, serial: &str, patience: &Deadline) -> Result<Secret, SourceError> {
        let lasting =
            |why: &str| SourceError::new(ErrorKind::LoginRequired, format!("mfa_serial {}: {why}", Escaped(serial)));
        if matches!(self.who, MfaPrompt::Nobody) {
            return Err(lasting(
                "a code is needed that only a person has, and the daemon cannot ask; run `credenza exec -- CMD` or \
                 `credenza get` at a terminal, or with --mfa-code",
            ));
        }
        if self.asked.swap(true, Ordering::AcqRel) {
            return Err(lasting(
                "the session has ended or the code was refused; a code counts once: run the command again",
            ));
        }
        let code = match &self.who {
            MfaPrompt::Given(code) => code.clone(),
            _ => {
                patience.extend(PATIENCE);
                let nobody = |_| lasting("there is no terminal to ask at; give --mfa-code");
                let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(nobody)?;
                // It goes with this future, too: who interrupts us finds the terminal as it was.
                let _quiet = EchoOff::of(&terminal);
                let serial = Escaped(serial).to_string();
                let typed = tokio::task::spawn_blocking(move || ask(terminal, &serial)).await;
                typed
                    .ok()
                    .and_then(Result::ok)
                    .ok_or_else(|| lasting("the terminal does not answer; give --mfa-code"))?
            }
        };
        // As STS wants it: six digits. What else was typed never leaves.
        if code.expose().len() == 6 && code.expose().bytes().all(|b| b.is_ascii_digit()) {
            Ok(code)
        } else {
            Err(lasting("a code has six digits; run the command again"))
        }
    }
}

/// A terminal that does not show what is typed, as botocore and the AWS CLI ask, until this is dropped.
struct EchoOff {
    terminal: File,
    before: Termios,
}

impl EchoOff {
    /// `None` when it cannot be had so: a code is of use for half a minute and once, and better seen than not given.
    fn of(terminal: &File) -> Option<Self> {
        let (terminal, before) = (terminal.try_clone().ok()?, tcgetattr(terminal).ok()?);
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        // What was typed before the question is no answer to it.
        tcsetattr(&terminal, OptionalActions::Flush, &quiet).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
        // The line break that was typed has not been shown either.
        let _ = self.terminal.write_all(b"\n");
    }
}

/// Puts the question to the terminal itself: standard input and output may belong to others.
fn ask(mut terminal: File, serial: &str) -> std::io::Result<Secret> {
    write!(terminal, "MFA code of {serial}: ")?;
    terminal.flush()?;
    let mut line = String::new();
    BufReader::new(terminal).read_line(&mut line)?;
    Ok(line.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn code(mfa: &Mfa) -> Result<Secret, SourceError> {
        mfa.code("arn:aws:iam::1:mfa/me\n", &Deadline::default()).await
    }

    #[tokio::test]
    async fn a_code_counts_once_and_a_daemon_asks_nobody() {
        let mfa = Mfa::given("123456".into());
        assert_eq!(code(&mfa.clone()).await.unwrap().expose(), "123456");
        let again = code(&mfa).await.unwrap_err();
        assert!(
            again.kind == ErrorKind::LoginRequired && again.to_string().contains("run the command again"),
            "{again}"
        );
        let nobody = code(&Mfa::default()).await.unwrap_err();
        assert!(nobody.to_string().contains("mfa/me\\n: a code is needed") && !nobody.kind.is_transient(), "{nobody}");
    }

    #[tokio::test]
    async fn what_is_no_code_never_leaves() {
        for wrong in ["", "12345", "1234567", "12345a", "hunter2"] {
            let failure = code(&Mfa::given(wrong.into())).await.unwrap_err();
            assert!(failure.to_string().contains("six digits") && !failure.to_string().contains("hunter"), "{failure}");
        }
    }
}
