//! The login that an error asks for. Errors of this program, and of its daemon, end with the command that logs in.

use crate::cli::login::targets::LoginTarget;

/// Makes the login of a name.
type LoginOfName = fn(Box<str>) -> NeededLogin;

/// The beginnings of the commands that name a session or a profile.
const COMMANDS: [(&str, LoginOfName); 3] = [
    ("credenza login --sso-session ", |name| NeededLogin::Sso(LoginTarget::Session(name))),
    ("credenza login --profile ", |name| NeededLogin::Sso(LoginTarget::Profile(name))),
    ("aws login --profile ", |name| NeededLogin::Aws { profile: Some(name) }),
];

/// A login by a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NeededLogin {
    /// A login at IAM Identity Center.
    Sso(LoginTarget),
    /// A login by the AWS CLI, `aws login`.
    Aws { profile: Option<Box<str>> },
}

impl NeededLogin {
    /// Finds the command in a message: `…; run: credenza login --sso-session work (next try in 5 s)`.
    ///
    /// Only these commands are known, with one name at most. A text in the message can name a wrong session, and no other
    /// program.
    pub(crate) fn in_message(message: &str) -> Option<Self> {
        let (_, command) = message.rsplit_once("run: ")?;
        for (beginning, login) in COMMANDS {
            if let Some(rest) = command.strip_prefix(beginning) {
                return word(rest).map(login);
            }
        }
        let ends = |rest: &str| rest.is_empty() || rest.starts_with([' ', ';']) && !rest.starts_with(" -");
        let is = |name: &str| command.strip_prefix(name).is_some_and(ends);
        match () {
            () if is("credenza login") => Some(Self::Sso(LoginTarget::Default)),
            () if is("aws login") => Some(Self::Aws { profile: None }),
            () => None,
        }
    }
}

/// Reads the first word as [`crate::model::text::Quoted`] writes it.
fn word(text: &str) -> Option<Box<str>> {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let word = text.split([' ', ';']).next()?;
        return (!word.is_empty()).then(|| word.into());
    };
    let mut word = String::new();
    loop {
        let (part, after) = rest.split_once('\'')?;
        word.push_str(part);
        match after.strip_prefix("\\''") {
            Some(more) => {
                word.push('\'');
                rest = more;
            }
            None => return (!word.is_empty()).then(|| word.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::text::Quoted;

    #[test]
    fn finds_the_command_in_a_message() {
        let session = |name: &str| Some(NeededLogin::Sso(LoginTarget::Session(name.into())));
        let profile = |name: &str| Some(NeededLogin::Sso(LoginTarget::Profile(name.into())));
        for (message, expected) in [
            ("it ended; run: credenza login --sso-session work", session("work")),
            (
                "it ended; run: credenza login --sso-session work (next try in 5 s; 'credenza check' explains it)",
                session("work"),
            ),
            ("it ended; run: credenza login --sso-session 'my work' (next)", session("my work")),
            ("x; run: credenza login --profile dev; it said: run", profile("dev")),
            ("x; run: credenza login", Some(NeededLogin::Sso(LoginTarget::Default))),
            ("x; run: credenza login (next try in 5 s)", Some(NeededLogin::Sso(LoginTarget::Default))),
            ("x; run: aws login --profile 'a'\\''b'", Some(NeededLogin::Aws { profile: Some("a'b".into()) })),
            ("x; run: aws login", Some(NeededLogin::Aws { profile: None })),
            ("x; run: credenza login --all", None),
            ("x; run: credenza login --sso-session ", None),
            ("x; run: credenza login --sso-session 'open", None),
            ("x; run: credenza mfa prod", None),
            ("x; run: rm -rf /", None),
            ("credenza login", None),
        ] {
            assert_eq!(NeededLogin::in_message(message), expected, "{message}");
        }
    }

    proptest! {
        #[test]
        fn reads_every_quoted_name(name in "[^\\x00-\\x1f\\x7f-\\x9f\\u{2028}-\\u{202e}\\u{2066}-\\u{2069}]{1,20}") {
            let message = format!("it ended; run: credenza login --sso-session {} (next try)", Quoted(&name));
            let expected = NeededLogin::Sso(LoginTarget::Session(name.clone().into()));
            // A name that holds the words before the command is not found, or another one is.
            prop_assume!(!name.contains("run: "));
            prop_assert_eq!(NeededLogin::in_message(&message), Some(expected));
        }

        #[test]
        fn reads_any_text(message in "(run: )?(credenza|aws) login( --profile )?.{0,40}") {
            let _ = NeededLogin::in_message(&message);
        }
    }
}
