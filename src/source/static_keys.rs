//! Static keys: written in the configuration, or in files that hold nothing else.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::outcome::Lookup;
use crate::model::text::Escaped;
use crate::source::spec::TextSource;
use crate::source::{BoxFuture, Source};

/// A static key pair. Each part is a literal, or a file that each load reads again, so that rotated keys are used.
///
/// A missing, unreadable or empty file is an error and never *not configured*, because the configuration names the
/// file. White space around a part, such as the line break at the end of a file, is removed.
///
/// ```
/// use credenza::{Context, Lookup, Source, StaticCredentials};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let source = StaticCredentials::new("AKIAEXAMPLE", "secret");
/// let Lookup::Found(credentials) = source.load(&Context::default()).await else { panic!() };
/// assert_eq!(&*credentials.access_key_id, "AKIAEXAMPLE");
///
/// // The default context reaches nothing, so that this source fails.
/// let source = StaticCredentials::from_files("/run/secrets/key-id", "/run/secrets/key");
/// assert!(matches!(source.load(&Context::default()).await, Lookup::Failed(_)), "the default context has no files");
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticCredentials {
    access_key_id: TextSource,
    secret_access_key: TextSource,
    session_token: Option<TextSource>,
}

impl StaticCredentials {
    /// Makes a source of a long-lived key pair.
    #[must_use]
    pub fn new(access_key_id: &str, secret_access_key: &str) -> Self {
        Self::from_texts(TextSource::Literal(access_key_id.into()), TextSource::Literal(secret_access_key.into()), None)
    }

    /// Makes a source of a long-lived key pair in two files.
    pub fn from_files(access_key_id: impl Into<PathBuf>, secret_access_key: impl Into<PathBuf>) -> Self {
        Self::from_texts(TextSource::File(access_key_id.into()), TextSource::File(secret_access_key.into()), None)
    }

    /// Makes a source of a key pair with or without a session token. Each part is a literal or a file.
    #[must_use]
    pub fn from_texts(
        access_key_id: TextSource,
        secret_access_key: TextSource,
        session_token: Option<TextSource>,
    ) -> Self {
        Self { access_key_id, secret_access_key, session_token }
    }

    async fn credentials(&self, context: &Context) -> Result<Credentials, SourceError> {
        let key = read(context, &self.access_key_id).await?;
        let secret = read(context, &self.secret_access_key).await?;
        let token = read_optional(context, self.session_token.as_ref()).await?;
        Ok(Credentials::new(&key, &secret)?.with_session_token(token.as_ref().map(|token| token.as_str()))?)
    }
}

impl Source for StaticCredentials {
    fn name(&self) -> &str {
        "static"
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move { Lookup::from_result(self.credentials(context).await) })
    }
}

/// Returns the literal text, or reads the text from the file.
pub(crate) async fn read(context: &Context, text: &TextSource) -> Result<Zeroizing<String>, SourceError> {
    let path = match text {
        TextSource::Literal(text) => return Ok(Zeroizing::new(text.expose().to_owned())),
        TextSource::File(path) => context.environment.expand(path),
    };
    let unreadable = |why: String| {
        SourceError::new(
            ErrorKind::Unsettled,
            format!("cannot use the file {}: {why}", Escaped(&path.to_string_lossy())),
        )
    };
    let contents =
        context.files.read(&path).await.map_err(|error| unreadable(error.reason().to_string()).caused_by(error))?;
    text_of(&contents.bytes).ok_or_else(|| unreadable("it is not UTF-8 text".into()))
}

/// Like [`read`], for a text that may be absent.
pub(crate) async fn read_optional(
    context: &Context,
    text: Option<&TextSource>,
) -> Result<Option<Zeroizing<String>>, SourceError> {
    match text {
        Some(text) => read(context, text).await.map(Some),
        None => Ok(None),
    }
}

/// Decodes UTF-8 and trims it. Editors on Windows put a byte order mark before the text, which is removed.
fn text_of(bytes: &[u8]) -> Option<Zeroizing<String>> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(Zeroizing::new(text.strip_prefix('\u{feff}').unwrap_or(text).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn load(key: &str, secret: &str, token: Option<&str>) -> Lookup {
        let literal = |text: &str| TextSource::Literal(text.into());
        let source = StaticCredentials::from_texts(literal(key), literal(secret), token.map(literal));
        source.load(&Context::default()).await
    }

    #[tokio::test]
    async fn loads_literals() {
        let pair = Credentials::new("AKIA1", "hunter2").unwrap();
        assert_eq!(load("AKIA1\n", " hunter2", None).await, Lookup::Found(pair.clone()));
        let temporary = pair.with_session_token(Some("tok-en")).unwrap();
        assert_eq!(load("AKIA1", "hunter2", Some("tok-en\n")).await, Lookup::Found(temporary));
    }

    #[tokio::test]
    async fn reports_half_a_key_pair_as_misconfigured() {
        for (key, secret, token, expected) in [
            ("", "hunter2", None, "access key id is empty"),
            ("AKIA1", "\n", None, "secret access key is empty"),
            ("AKIA1", "hunter\n2", None, "secret access key contains"),
            ("AKIA1", "hunter2", Some("tok\0en"), "session token contains"),
        ] {
            let Lookup::Failed(error) = load(key, secret, token).await else { panic!("{expected}") };
            assert_eq!(error.kind, ErrorKind::Misconfigured);
            assert!(error.to_string().contains(expected) && !error.to_string().contains("hunter"), "{error}");
        }
    }

    #[tokio::test]
    async fn reports_missing_file_with_its_path() {
        let source = StaticCredentials::from_files("/nowhere/id\n", "/nowhere/key");
        let Lookup::Failed(error) = source.load(&Context::default()).await else { panic!("not failing") };
        assert_eq!(error.kind, ErrorKind::Unsettled);
        assert!(error.to_string().contains("/nowhere/id\\n"), "{error}");
    }

    #[test]
    fn decodes_and_trims_files() {
        for (bytes, expected) in [
            (&b"AKIA1\r\n"[..], Some("AKIA1")),
            (b"\xef\xbb\xbfAKIA1", Some("AKIA1")),
            (b"", Some("")),
            (b"AKIA\xff", None),
        ] {
            assert_eq!(text_of(bytes).as_ref().map(|text| text.as_str()), expected);
        }
    }
}
