//! Who types the code of a multi-factor device.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::credentials::Escaped;
use crate::failure::{Failure, Kind};
use crate::patience::Patience;
use crate::secret::Secret;

/// How long a person is waited for.
const PATIENCE: Duration = Duration::from_secs(180);

/// A code is of use once, and nobody sits before a daemon: the default asks nobody.
#[derive(Clone, Debug, Default)]
pub struct Mfa {
    who: Who,
    asked: Arc<AtomicBool>,
}

#[derive(Clone, Debug, Default)]
enum Who {
    #[default]
    Nobody,
    Given(Secret),
    Terminal,
}

impl Mfa {
    /// This code (`--mfa-code`).
    #[must_use]
    pub fn given(code: Secret) -> Self {
        Self { who: Who::Given(code), asked: Arc::default() }
    }

    /// Whoever sits at the terminal of this process, once.
    #[must_use]
    pub fn at_the_terminal() -> Self {
        Self { who: Who::Terminal, asked: Arc::default() }
    }

    /// The code that the device of this serial shows now.
    ///
    /// # Errors
    /// When there is nobody to ask, or they were asked before: a code is of use once.
    pub async fn code(&self, serial: &str, patience: &Patience) -> Result<Secret, Failure> {
        let lasting = |why: &str| Failure::new(Kind::LoginRequired, format!("mfa_serial {}: {why}", Escaped(serial)));
        if matches!(self.who, Who::Nobody) {
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
            Who::Given(code) => code.clone(),
            _ => {
                patience.grant(PATIENCE);
                let serial = Escaped(serial).to_string();
                let typed = tokio::task::spawn_blocking(move || ask(&serial)).await;
                typed
                    .map_err(|_| lasting("the question could not be put"))
                    .and_then(|typed| typed.map_err(|_| lasting("there is no terminal to ask at; give --mfa-code")))?
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

/// Puts the question to the terminal itself: standard input and output may belong to others.
fn ask(serial: &str) -> std::io::Result<Secret> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    write!(terminal, "MFA code of {serial}: ")?;
    terminal.flush()?;
    let mut line = String::new();
    BufReader::new(terminal).read_line(&mut line)?;
    Ok(line.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn code(mfa: &Mfa) -> Result<Secret, Failure> {
        mfa.code("arn:aws:iam::1:mfa/me\n", &Patience::default()).await
    }

    #[tokio::test]
    async fn a_code_counts_once_and_a_daemon_asks_nobody() {
        let mfa = Mfa::given("123456".into());
        assert_eq!(code(&mfa.clone()).await.unwrap().expose(), "123456");
        let again = code(&mfa).await.unwrap_err();
        assert!(again.kind == Kind::LoginRequired && again.message.contains("run the command again"), "{again}");
        let nobody = code(&Mfa::default()).await.unwrap_err();
        assert!(nobody.message.contains("mfa/me\\n: a code is needed") && !nobody.kind.passes(), "{nobody}");
    }

    #[tokio::test]
    async fn what_is_no_code_never_leaves() {
        for wrong in ["", "12345", "1234567", "12345a", "hunter2"] {
            let failure = code(&Mfa::given(wrong.into())).await.unwrap_err();
            assert!(failure.message.contains("six digits") && !failure.message.contains("hunter"), "{failure}");
        }
    }
}
