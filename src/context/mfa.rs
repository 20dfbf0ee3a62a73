//! Codes of MFA devices, which the user types.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::context::deadline::Deadline;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::model::text::{Escaped, Quoted};

/// The maximum wait for the user: time to find the device and type the code.
pub(crate) const PROMPT_TIMEOUT: Duration = Duration::from_secs(180);

/// Gives an MFA code once, since STS accepts a code once. The default has no code: a daemon has no user to ask.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mfa {
    prompt: MfaPrompt,
    asked: Arc<AtomicBool>,
}

#[derive(Clone, Debug, Default)]
enum MfaPrompt {
    #[default]
    None,
    Given(Secret),
    /// A code for a session that all roles over its keys stand on.
    ForSession(Secret),
    Terminal,
}

impl Mfa {
    /// Makes a prompt that answers with this code (`--mfa-code`).
    pub(crate) fn given(code: Secret) -> Self {
        Self { prompt: MfaPrompt::Given(code), asked: Arc::default() }
    }

    /// Makes a prompt that answers with this code, once, for a session with MFA.
    pub(crate) fn for_session(code: Secret) -> Self {
        Self { prompt: MfaPrompt::ForSession(code), asked: Arc::default() }
    }

    /// Returns true if there is a code for a session with MFA that was not used yet.
    #[must_use]
    pub(crate) fn has_session_code(&self) -> bool {
        matches!(self.prompt, MfaPrompt::ForSession(_)) && !self.was_asked()
    }

    /// Returns true if the command line gives a code that was not used yet.
    #[must_use]
    pub(crate) fn has_given_code(&self) -> bool {
        matches!(self.prompt, MfaPrompt::Given(_)) && !self.was_asked()
    }

    /// Returns true if a code was requested.
    #[must_use]
    pub(crate) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Makes a prompt that asks at the terminal of this process.
    pub(crate) fn at_the_terminal() -> Self {
        Self { prompt: MfaPrompt::Terminal, asked: Arc::default() }
    }

    /// Returns true if the user at the terminal may be asked, and was not.
    #[must_use]
    pub(crate) fn may_ask(&self) -> bool {
        matches!(self.prompt, MfaPrompt::Terminal) && !self.was_asked()
    }

    /// Returns a warning if a code was given and no request has used it.
    #[must_use]
    pub(crate) fn unused_code(&self) -> Option<&'static str> {
        let is_unused = matches!(self.prompt, MfaPrompt::Given(_)) && !self.asked.load(Ordering::Acquire);
        is_unused.then_some(
            "--mfa-code is not used: no role with mfa_serial is assumed, and the keys are served without MFA; set \
             long_lived_keys = \"session\" to exchange the keys of a profile with mfa_serial for a session with MFA",
        )
    }

    /// Returns the code that the device with this serial shows now.
    ///
    /// # Errors
    /// If there is no user to ask, or a code was requested before.
    pub(crate) async fn code(
        &self,
        serial: &str,
        identity: Option<&IdentityName>,
        deadline: &Deadline,
    ) -> Result<Secret, SourceError> {
        let failed = |why: &str, hint: &str| {
            let message = format!("mfa_serial {}: {why}", Escaped(serial));
            SourceError::new(ErrorKind::MfaRequired, message).with_hint(hint)
        };
        if matches!(self.prompt, MfaPrompt::None) {
            return Err(failed(
                "a code is needed, and the daemon cannot ask for one",
                &match identity {
                    Some(name) => format!("run: credenza mfa {}", Quoted(name.as_str())),
                    None => "run `credenza exec -- CMD` or `credenza get` at a terminal, or with --mfa-code".to_owned(),
                },
            ));
        }
        if self.asked.swap(true, Ordering::AcqRel) {
            return Err(failed(
                "the session has expired or the code was refused, and a code works once",
                "run the command again",
            ));
        }
        let code = match &self.prompt {
            MfaPrompt::Given(code) | MfaPrompt::ForSession(code) => code.clone(),
            _ => {
                deadline.extend(PROMPT_TIMEOUT);
                let no_code = |_: std::io::Error| failed("there is no terminal to ask at", "give --mfa-code");
                ask_at_the_terminal(serial).await.map_err(no_code)?
            }
        };
        // Other input may be a password, and is never sent.
        if is_code(&code) { Ok(code) } else { Err(failed("a code has six digits", "run the command again")) }
    }
}

/// Returns true for a code as STS wants it: six digits.
pub(crate) fn is_code(text: &Secret) -> bool {
    text.expose().len() == 6 && text.expose().bytes().all(|b| b.is_ascii_digit())
}

/// Asks for the code of a device or an identity at the terminal of this process, without echo.
///
/// # Errors
/// If there is no terminal, or it does not respond.
pub(crate) async fn ask_at_the_terminal(about: &str) -> std::io::Result<Secret> {
    let terminal = open_terminal()?;
    // Dropping this future restores the terminal, too, so that an interrupt does not leave it without echo.
    let _echo_off = EchoOff::of(&terminal);
    let about = Escaped(about).to_string();
    tokio::task::spawn_blocking(move || ask(terminal, &about)).await.map_err(std::io::Error::other)?
}

/// Turns off the echo of a terminal until it is dropped, as botocore and the AWS CLI do.
struct EchoOff {
    terminal: File,
    before: Termios,
}

impl EchoOff {
    /// Returns `None` if the terminal refuses. A visible code is no great risk: it works once, within half a minute.
    fn of(terminal: &File) -> Option<Self> {
        let (terminal, before) = (terminal.try_clone().ok()?, tcgetattr(terminal).ok()?);
        let mut echo_off = before.clone();
        echo_off.local_modes.remove(LocalModes::ECHO);
        // Discard input from before the question.
        tcsetattr(&terminal, OptionalActions::Flush, &echo_off).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
        // Print the line break of the user, which the terminal without echo has not shown.
        let _ = self.terminal.write_all(b"\n");
    }
}

fn open_terminal() -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

/// Asks at the terminal itself, since standard input and output may be redirected.
fn ask(mut terminal: File, about: &str) -> std::io::Result<Secret> {
    write!(terminal, "MFA code of {about}: ")?;
    terminal.flush()?;
    let mut line = String::new();
    BufReader::new(terminal).read_line(&mut line)?;
    Ok(line.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn code(mfa: &Mfa) -> Result<Secret, SourceError> {
        mfa.code("arn:aws:iam::1:mfa/me\n", None, &Deadline::default()).await
    }

    #[tokio::test]
    async fn gives_a_code_once_and_a_daemon_has_none() {
        let mfa = Mfa::given("123456".into());
        assert!(mfa.unused_code().unwrap().starts_with("--mfa-code is not used"));
        assert_eq!(code(&mfa.clone()).await.unwrap().expose(), "123456");
        assert_eq!((mfa.unused_code(), Mfa::at_the_terminal().unused_code()), (None, None));
        let again = code(&mfa).await.unwrap_err();
        assert!(again.kind == ErrorKind::MfaRequired && again.to_string().contains("run the command again"), "{again}");
        let none = code(&Mfa::default()).await.unwrap_err();
        assert!(none.to_string().contains("mfa/me\\n: a code is needed") && !none.kind.is_transient(), "{none}");
    }

    #[tokio::test]
    async fn refuses_other_input_without_showing_it() {
        for wrong in ["", "12345", "1234567", "12345a", "hunter2"] {
            let error = code(&Mfa::given(wrong.into())).await.unwrap_err();
            assert!(error.to_string().contains("six digits") && !error.to_string().contains("hunter"), "{error}");
        }
    }
}
