//! The client table: reads the tokens of all clients, follows their files, and publishes who is a client.
//!
//! A changed token file gives a new token; the old one is accepted for the overlap. The request path sees only the
//! published [`Clients`].

mod token_history;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::model::auth_token::check;
use crate::model::client_name::ClientName;
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::os::files::Files;
use crate::os::files::contents::FileContents;
use crate::os::files::trust::TrustPolicy;
use crate::server::client_table::token_history::TokenHistory;
use crate::server::clients::{Client, ClientProof, Clients, ClientsWatch};

/// The clients of one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientSettings {
    pub(crate) clients: Vec<ClientSetting>,
    /// The period for which an old token is accepted after its file has changed.
    pub(crate) overlap: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientSetting {
    pub(crate) client: Client,
    pub(crate) tokens: Vec<ClientTokenSource>,
    /// The user ids that the client may have. `None` means any user.
    pub(crate) users: Option<Arc<[u32]>>,
}

/// The source of a client's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientTokenSource {
    Given(Secret),
    /// A file of the client. A missing or empty file opens nothing.
    File(PathBuf),
    /// The file of the auth token, with the token that was read at the start. If the file is missing or unfit, the token
    /// stays: cleaning a folder must not lock every program out.
    Kept(Secret, PathBuf),
}

/// Two clients have one token, so that a request with it could come from either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("clients {0} and {1} have the same token; give each client a token of its own")]
pub(crate) struct SharedToken(ClientName, ClientName);

#[derive(Debug)]
pub(crate) enum ClientCommand {
    /// Replaces the clients. The reply is the reason why the former ones stay.
    Replace(ClientSettings, oneshot::Sender<Result<(), SharedToken>>),
}

#[derive(Debug)]
pub(crate) struct ClientTable {
    files: Files,
    trust: TrustPolicy,
    settings: ClientSettings,
    histories: BTreeMap<ClientName, TokenHistory>,
    /// The files with a problem that was logged, with the problem.
    reported: BTreeMap<PathBuf, String>,
    published: watch::Sender<Arc<Clients>>,
}

impl ClientTable {
    /// Reads all tokens and publishes the clients.
    ///
    /// # Errors
    /// If two clients have one token.
    pub(crate) async fn open(
        files: Files,
        trust: TrustPolicy,
        settings: ClientSettings,
    ) -> Result<(Self, ClientsWatch), SharedToken> {
        let (published, clients) = watch::channel(Arc::default());
        let mut table =
            Self { files, trust, settings, histories: BTreeMap::new(), reported: BTreeMap::new(), published };
        table.read().await;
        match table.shared_token() {
            Some(shared) => Err(shared),
            None => Ok((table, clients)),
        }
    }

    /// Returns the token files that give no token, with the reasons.
    pub(crate) fn problems(&self) -> &BTreeMap<PathBuf, String> {
        &self.reported
    }

    /// Follows the token files and executes commands, for ever.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<ClientCommand>) {
        loop {
            let next_end = self.histories.values().filter_map(TokenHistory::next_end).min();
            let ended = async {
                match next_end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(ClientCommand::Replace(settings, reply)) => drop(reply.send(self.replace(settings).await)),
                    None => return,
                },
                () = self.files.changed() => self.read().await,
                () = ended => self.publish(),
            }
        }
    }

    async fn replace(&mut self, settings: ClientSettings) -> Result<(), SharedToken> {
        let before = std::mem::replace(&mut self.settings, settings);
        let histories = self.histories.clone();
        self.read_tokens().await;
        if let Some(shared) = self.shared_token() {
            (self.settings, self.histories) = (before, histories);
            self.read().await;
            return Err(shared);
        }
        self.publish();
        Ok(())
    }

    async fn read(&mut self) {
        self.read_tokens().await;
        self.publish();
    }

    /// Reads the tokens of all clients into their histories.
    async fn read_tokens(&mut self) {
        self.files.forget();
        let mut reported = BTreeMap::new();
        let settings = self.settings.clone();
        let now = Instant::now();
        let mut before = std::mem::take(&mut self.histories);
        for ClientSetting { client, tokens, .. } in &settings.clients {
            let mut current = Vec::new();
            for source in tokens {
                let (path, kept) = match source {
                    ClientTokenSource::Given(token) => {
                        current.push(token.clone());
                        continue;
                    }
                    ClientTokenSource::File(path) => (path, None),
                    ClientTokenSource::Kept(token, path) => (path, Some(token)),
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
    async fn read_token(&self, path: &std::path::Path) -> Result<Secret, String> {
        let contents = self.files.read(path).await.map_err(|error| format!("{error}; no request can use its token"))?;
        let judged = contents.facts.without_folders_above().trusted(&self.trust);
        judged.map_err(|distrust| format!("{}; its token is not used", distrust.about(path)))?;
        token_of(&contents).map_err(|reason| {
            format!("no request can use its token: {reason}; write 32 to 4096 visible ASCII characters")
        })
    }

    fn shared_token(&self) -> Option<SharedToken> {
        let mut owners: HashMap<&str, &ClientName> = HashMap::new();
        for (name, history) in &self.histories {
            for token in history.current() {
                if let Some(other) = owners.insert(token.expose(), name).filter(|other| *other != name) {
                    return Some(SharedToken(other.clone(), name.clone()));
                }
            }
        }
        None
    }

    /// Publishes the clients. A token of two clients opens nothing.
    fn publish(&mut self) {
        let now = Instant::now();
        self.histories.values_mut().for_each(|history| history.drop_ended(now));
        let mut owners: HashMap<&str, usize> = HashMap::new();
        for history in self.histories.values() {
            history.valid().for_each(|token| *owners.entry(token.expose()).or_default() += 1);
        }
        let before = Arc::clone(&self.published.borrow());
        let mut proofs = Vec::new();
        for ClientSetting { client, tokens, users } in &self.settings.clients {
            let client = before.same(client).unwrap_or_else(|| Arc::new(client.clone()));
            let proof = |token| ClientProof { token, users: users.clone(), client: Arc::clone(&client) };
            if tokens.is_empty() {
                proofs.push(proof(None));
            }
            for token in self.histories.get(&client.name).into_iter().flat_map(TokenHistory::valid) {
                if owners.get(token.expose()) == Some(&1) {
                    proofs.push(proof(Some(token.clone())));
                } else {
                    tracing::error!(client = %client.name, "another client has the same token, so that it opens nothing; give each client a token of its own");
                }
            }
        }
        self.published.send_replace(Arc::new(Clients::new(proofs)));
    }
}

fn token_of(contents: &FileContents) -> Result<Secret, &'static str> {
    let text = str::from_utf8(&contents.bytes).map_err(|_| "it is not text")?;
    let token = text.trim();
    check(token)?;
    Ok(Secret::new(token))
}
