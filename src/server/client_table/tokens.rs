//! The tokens of the clients: read from their files, shown, and rotated.

use std::collections::BTreeMap;
use std::path::Path;

use tokio::time::Instant;

use crate::model::auth_token::check;
use crate::model::client_name::ClientName;
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::os::files::contents::FileContents;
use crate::os::files::walk::walk;
use crate::server::auth_token::{self, AuthTokenFile};
use crate::server::client_table::commands::{CurrentToken, RotatedToken, TokenError};
use crate::server::client_table::token_history::TokenHistory;
use crate::server::client_table::{ClientSetting, ClientTable, ClientTokenSource};

impl ClientTable {
    /// Reads the tokens of all clients into their histories.
    pub(super) async fn read_tokens(&mut self) {
        self.files.forget();
        let mut reported = BTreeMap::new();
        let settings = self.settings.clone();
        let now = Instant::now();
        let mut before = std::mem::take(&mut self.histories);
        for ClientSetting { client, tokens, .. } in &settings.clients {
            let mut current = Vec::new();
            for source in tokens {
                let (path, kept) = match source {
                    ClientTokenSource::Given(token, _) => {
                        current.push(token.clone());
                        continue;
                    }
                    ClientTokenSource::File(path) => (path, None),
                    ClientTokenSource::Kept(token, file) => (&file.path, Some(token)),
                };
                match self.read_token(path).await {
                    Ok(token) => current.push(token),
                    Err(problem) => {
                        // The daemon follows its own file: the last good token stays.
                        let last = || before.get(&client.name).and_then(TokenHistory::last);
                        current.extend(kept.map(|first| last().unwrap_or_else(|| first.clone())));
                        reported.insert(path.clone(), problem);
                    }
                }
            }
            let current = distinct(current);
            let history = before.remove(&client.name);
            let history = match history {
                Some(mut history) => {
                    if history.update(current, now, settings.overlap) {
                        let overlap_s = settings.overlap.as_secs();
                        tracing::info!(client = %client.name, overlap_s, "the token of this client changed");
                    }
                    history
                }
                None => TokenHistory::new(current),
            };
            self.histories.insert(client.name.clone(), history);
        }
        for (path, problem) in &reported {
            if self.reported.get(path) != Some(problem) {
                tracing::warn!(token_file = %Escaped(&path.to_string_lossy()), "{problem}");
            }
        }
        self.reported = reported;
    }

    /// Reads a token. White space around it is no part of it.
    ///
    /// # Errors
    /// The reason why the file gives no token.
    async fn read_token(&self, path: &Path) -> Result<Secret, String> {
        let contents = self.files.read(path).await.map_err(|error| {
            let reason = error.reason();
            format!("{reason}; it gives no token, and one that it gave before is accepted until the overlap is over")
        })?;
        let judged = contents.facts.without_folders_above().trusted(&self.trust);
        judged.map_err(|distrust| format!("{}; its token is not used", distrust.about(path)))?;
        // A user that can rename files in the folder could give one client the token of another.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder_facts = walk(folder).map_err(|error| std::io::Error::from(error).to_string())?.facts;
        let judged = folder_facts.without_folders_above().trusted(&self.trust);
        judged.map_err(|distrust| {
            let path = folder.to_string_lossy();
            format!("its folder {}: {}; its token is not used", Escaped(&path), distrust.about(folder))
        })?;
        token_of(&contents).map_err(|reason| {
            format!("it gives no token: {reason}; write 32 to 4096 visible ASCII characters. A token that it gave before is accepted until the overlap is over")
        })
    }

    /// Returns the file of a client's only token.
    fn token_file(&self, client: &ClientName) -> Result<Option<AuthTokenFile>, TokenError> {
        let setting = self.settings.clients.iter().find(|setting| setting.client.name == *client);
        let setting = setting.ok_or_else(|| TokenError::UnknownClient(client.clone()))?;
        match &setting.tokens[..] {
            [] => Err(TokenError::ByUser(client.clone())),
            [ClientTokenSource::Given(..)] => Ok(None),
            [ClientTokenSource::File(path)] => Ok(Some(AuthTokenFile { path: path.clone(), group: None })),
            [ClientTokenSource::Kept(_, file)] => Ok(Some(file.clone())),
            _ => Err(TokenError::SeveralFiles(client.clone())),
        }
    }

    pub(super) fn token(&self, client: &ClientName) -> Result<CurrentToken, TokenError> {
        let file = match self.token_file(client) {
            Ok(file) => file.map(|file| file.path),
            Err(TokenError::SeveralFiles(_)) => None,
            Err(error) => return Err(error),
        };
        let token = self.histories.get(client).and_then(TokenHistory::last);
        Ok(CurrentToken { token: token.ok_or_else(|| TokenError::None(client.clone()))?, file })
    }

    /// Writes a new token to the file of a client. The old one is accepted for the overlap.
    pub(super) async fn rotate(&mut self, client: &ClientName) -> Result<RotatedToken, TokenError> {
        let Some(file) = self.token_file(client)? else {
            let tokens = self.settings.clients.iter().filter(|setting| setting.client.name == *client);
            let place = tokens.flat_map(|setting| &setting.tokens).find_map(|token| match token {
                ClientTokenSource::Given(_, place) => Some(place.to_string()),
                ClientTokenSource::File(_) | ClientTokenSource::Kept(..) => None,
            });
            return Err(TokenError::Given { client: client.clone(), place: place.unwrap_or_default() });
        };
        let token = auth_token::random().map_err(|error| TokenError::File(file.not_random(error)))?;
        let (written, path) = (token, file.path.clone());
        let replaced = tokio::task::spawn_blocking(move || file.replace(&written)).await;
        // A panic has no other way out, and a runtime that stops needs no answer.
        match replaced {
            Ok(replaced) => replaced?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => std::future::pending().await,
        }
        self.read().await;
        Ok(RotatedToken { file: path, old_until: self.clock.now() + self.settings.overlap })
    }
}

/// Returns each token once. Two files may have one token while it is replaced in each of them.
fn distinct(tokens: Vec<Secret>) -> Vec<Secret> {
    let mut distinct = Vec::with_capacity(tokens.len());
    for token in tokens {
        if !distinct.contains(&token) {
            distinct.push(token);
        }
    }
    distinct
}

fn token_of(contents: &FileContents) -> Result<Secret, &'static str> {
    let text = str::from_utf8(&contents.bytes).map_err(|_| "it is not text")?;
    let token = text.trim();
    check(token)?;
    Ok(Secret::new(token))
}
