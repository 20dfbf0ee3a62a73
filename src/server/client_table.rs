//! The client table: reads the tokens of all clients, follows their files, and publishes the clients.
//!
//! A changed token file gives a new token; the old one is accepted for the overlap. The request path sees only the
//! published [`Clients`].

pub(crate) mod commands;
pub(crate) mod grants;
mod token_history;
mod tokens;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::audit::event::AuditKind;
use crate::lease::registry::LeaseRegistry;
use crate::lease::supervisor::SupervisorCommand;
use crate::model::client_name::ClientName;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::model::time::{end_after, timestamp};
use crate::os::clock::Clock;
use crate::os::files::Files;
use crate::os::files::trust::TrustPolicy;
use crate::server::answer_log::AnswerLog;
use crate::server::auth_token::{self, AuthTokenFile};
use crate::server::client_table::commands::{ClientCommand, SharedToken};
use crate::server::client_table::grants::{GrantError, GrantOrder, GrantState, Grants};
use crate::server::client_table::token_history::TokenHistory;
use crate::server::clients::{Client, ClientProof, Clients, ClientsWatch, DefaultIdentity};
use crate::server::imds::session_tokens::SigningKeys;
use crate::server::origin::RequestOrigin;

/// The clients of one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientSettings {
    pub(crate) clients: Vec<ClientSetting>,
    /// The period for which an old token is accepted after its file has changed.
    pub(crate) overlap: Duration,
    /// True if every answer for `default` tells a short lifetime, so that a switch reaches all clients soon.
    pub(crate) switchable: bool,
    /// The longest lifetime that an answer for `default` tells while it means, or may mean, another identity.
    pub(crate) switch_lifetime: Duration,
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
    /// A token of the configuration, a flag or a variable, with the place to change it.
    Given(Secret, Box<str>),
    /// A file of the client. A missing or empty file opens nothing.
    File(PathBuf),
    /// The file of the auth token, with the token that was read at the start. If the file is missing or unfit, the token
    /// stays: cleaning a folder must not lock every program out.
    Kept(Secret, AuthTokenFile),
}

impl ClientTokenSource {
    /// Returns the file of a client.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Given(..) | Self::Kept(..) => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct ClientTable {
    files: Files,
    trust: TrustPolicy,
    settings: ClientSettings,
    histories: BTreeMap<ClientName, TokenHistory>,
    /// The files with a problem that was logged, with the problem.
    reported: BTreeMap<PathBuf, String>,
    grants: Grants,
    /// The identity that `default` means, with the end of the time on both clocks.
    switched: Option<(IdentityName, Option<(SystemTime, Instant)>)>,
    /// The clients for the next configuration, with their tokens.
    prepared: Option<(ClientSettings, BTreeMap<ClientName, TokenHistory>)>,
    /// The number of the configuration in use.
    generation: u64,
    clock: Clock,
    /// The keys of IMDS session tokens, which follow the auth token.
    imds_keys: SigningKeys,
    published: watch::Sender<Arc<Clients>>,
    log: AnswerLog,
}

impl ClientTable {
    /// Reads all tokens and publishes the clients.
    ///
    /// # Errors
    /// If two clients have one token.
    pub(crate) async fn open(
        files: Files,
        trust: TrustPolicy,
        clock: Clock,
        imds_keys: SigningKeys,
        settings: ClientSettings,
        log: AnswerLog,
    ) -> Result<(Self, ClientsWatch), SharedToken> {
        let (published, clients) = watch::channel(Arc::default());
        let mut table = Self {
            files,
            trust,
            settings,
            histories: BTreeMap::new(),
            reported: BTreeMap::new(),
            grants: Grants::default(),
            switched: None,
            prepared: None,
            generation: 0,
            clock,
            imds_keys,
            published,
            log,
        };
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

    /// Follows the token files and executes commands, for ever. Sessions of clients that are gone are dropped.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<ClientCommand>,
        mut registry: LeaseRegistry,
        supervisor: mpsc::Sender<SupervisorCommand>,
    ) {
        loop {
            let before = Arc::clone(&self.published.borrow());
            let switch_end = self.switched.as_ref().and_then(|(_, end)| Some(end.as_ref()?.1));
            let ends = self.histories.values().filter_map(TokenHistory::next_end);
            let next_end = ends.chain(self.grants.next_end()).chain(switch_end).min();
            let ended = async {
                match next_end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => {
                        // The control socket drops the sessions of a revoked grant after a look at them.
                        let is_revocation = matches!(command, ClientCommand::Revoke(..));
                        self.execute(command, &before, &supervisor).await;
                        if is_revocation {
                            continue;
                        }
                    }
                    None => return,
                },
                Ok(()) = registry.handles.changed() => self.drop_grants_without_identity(&registry),
                Ok(()) = registry.known_profiles.changed() => self.drop_grants_without_identity(&registry),
                () = self.files.changed() => self.read().await,
                () = ended => self.publish(),
            }
            self.drop_lost_sessions(&before, &supervisor).await;
        }
    }

    /// Makes the supervisor drop the sessions that clients had before a change and may not have after it. No client gets
    /// them any more, so that they need no renewal.
    async fn drop_lost_sessions(&self, before: &Clients, supervisor: &mpsc::Sender<SupervisorCommand>) {
        let clients = Arc::clone(&self.published.borrow());
        if let Some(lost) = clients.lost_since(before) {
            // A supervisor that has ended renews nothing.
            let _ = supervisor.send(SupervisorCommand::DropSessions(lost)).await;
        }
    }

    async fn execute(
        &mut self,
        command: ClientCommand,
        before: &Clients,
        supervisor: &mpsc::Sender<SupervisorCommand>,
    ) {
        // An asker that has gone misses its reply, and no more.
        match command {
            ClientCommand::Prepare(settings, reply) => drop(reply.send(self.prepare(settings).await)),
            ClientCommand::Replace(generation, reply) => {
                self.replace(generation);
                self.drop_lost_sessions(before, supervisor).await;
                let _ = reply.send(());
                // Follow the new files, and those that have changed since.
                self.read().await;
            }
            ClientCommand::Grant(order, reply) => drop(reply.send(self.grant(order))),
            ClientCommand::Revoke(name, reply) => {
                let revoked = self.grants.revoke(&name);
                if let Ok(grant) = &revoked {
                    tracing::info!(grant = %grant.name, identity = %grant.identity, "the grant is revoked");
                    self.publish();
                }
                drop(reply.send(revoked));
            }
            ClientCommand::ListGrants(reply) => drop(reply.send(self.grants.list())),
            ClientCommand::Use(identity, reply) => drop(reply.send(self.switch(identity))),
            ClientCommand::Token(client, reply) => drop(reply.send(self.token(&client))),
            ClientCommand::Rotate(client, reply) => drop(reply.send(self.rotate(&client).await)),
        }
    }

    fn grant(&mut self, order: GrantOrder) -> Result<(GrantState, Secret), GrantError> {
        if self.settings.clients.iter().any(|setting| setting.client.name == order.name) {
            return Err(GrantError::NameOfClient(order.name));
        }
        let token = auth_token::random().map_err(|error| GrantError::NoToken(error.to_string()))?;
        let grant = self.grants.add(order, token.clone(), self.clock.now(), Instant::now())?;
        let until = timestamp(grant.ends);
        tracing::info!(grant = %grant.name, identity = %grant.identity, until, "a grant is given");
        self.publish();
        Ok((grant, token))
    }

    fn drop_grants_without_identity(&mut self, registry: &LeaseRegistry) {
        let gone = self.grants.retain(|name| registry.knows(name));
        for name in &gone {
            tracing::info!(grant = %name, "the grant has ended: its identity is no longer configured");
            self.record_grant_end(name);
        }
        // The choice stays: `default` must not silently mean another principal again.
        if let Some((identity, _)) = self.switched.as_ref().filter(|(identity, _)| !registry.knows(identity)) {
            tracing::warn!(%identity, "default means an identity that is no longer configured, and is refused until `credenza use default`");
        }
        if !gone.is_empty() {
            self.publish();
        }
    }

    /// Makes `default` mean this identity. Returns the end.
    fn switch(&mut self, identity: Option<(IdentityName, Option<Duration>)>) -> Option<SystemTime> {
        let (now, instant) = (self.clock.now(), Instant::now());
        let end_after = |lifetime| {
            let end = end_after(now, lifetime);
            (end, instant + end.duration_since(now).unwrap_or_default())
        };
        self.switched = identity.map(|(identity, lifetime)| (identity, lifetime.map(end_after)));
        let (identity, end) = match &self.switched {
            Some((identity, end)) => (identity.clone(), end.map(|(end, _)| end)),
            None => (IdentityName::default(), None),
        };
        tracing::info!(%identity, until = end.map(timestamp), "default means this identity");
        self.publish();
        end
    }

    /// Reads the tokens of these clients, which must be different, for [`ClientTable::replace`].
    async fn prepare(&mut self, settings: ClientSettings) -> Result<(), SharedToken> {
        let before = std::mem::replace(&mut self.settings, settings);
        let histories = self.histories.clone();
        self.read_tokens().await;
        let shared = self.shared_token();
        let prepared =
            (std::mem::replace(&mut self.settings, before), std::mem::replace(&mut self.histories, histories));
        self.prepared = shared.is_none().then_some(prepared);
        self.read().await;
        shared.map_or(Ok(()), Err)
    }

    /// Replaces the clients by those that were prepared. The identities of the same configuration are in use, and requests wait
    /// until the clients are.
    fn replace(&mut self, generation: u64) {
        self.generation = generation;
        if let Some((settings, histories)) = self.prepared.take() {
            (self.settings, self.histories) = (settings, histories);
        }
        // Sessions and logs tell clients and grants apart by their names.
        let is_client = |name: &ClientName| self.settings.clients.iter().any(|setting| setting.client.name == *name);
        for name in self.grants.drop_names(is_client) {
            tracing::warn!(grant = %name, "the grant has ended: a client of the new configuration has its name");
            self.record_grant_end(&name);
        }
        self.publish();
    }

    fn record_grant_end(&self, name: &ClientName) {
        self.log.record_change(AuditKind::GrantEnded, &RequestOrigin::default(), |event| {
            event.client = Some(name.as_str().into());
        });
    }

    async fn read(&mut self) {
        self.read_tokens().await;
        self.publish();
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
        let (now, instant) = (self.clock.now(), Instant::now());
        self.histories.values_mut().for_each(|history| history.drop_ended(instant));
        for name in self.grants.drop_ended(now, instant) {
            tracing::info!(grant = %name, "the grant has ended");
            self.record_grant_end(&name);
        }
        let is_over = |(end, end_at): &(SystemTime, Instant)| *end <= now || *end_at <= instant;
        if let Some((identity, _)) = self.switched.take_if(|(_, end)| end.as_ref().is_some_and(is_over)) {
            tracing::info!(%identity, "the time of this identity in the place of default is over");
            self.log.record_change(AuditKind::UseEnded, &RequestOrigin::default(), |event| {
                event.identity = Some(identity.as_str().into());
            });
        }
        let mut owners: HashMap<&str, usize> = HashMap::new();
        for history in self.histories.values() {
            history.valid().for_each(|token| *owners.entry(token.expose()).or_default() += 1);
        }
        let before = Arc::clone(&self.published.borrow());
        let known = before.by_name();
        let mut proofs = Vec::new();
        for ClientSetting { client, tokens, users } in &self.settings.clients {
            // The connection limit knows a client by its address in memory.
            let same = known.get(&client.name).map(|known| Arc::clone(known)).filter(|known| **known == *client);
            let client = same.unwrap_or_else(|| Arc::new(client.clone()));
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
        if let Some(owner) = self.histories.get(&ClientName::from(ClientName::OWNER)) {
            self.imds_keys.set(owner.valid());
        }
        proofs.extend(self.grants.proofs());
        let switched = self.switched.as_ref().map(|(identity, end)| (identity.clone(), end.map(|(end, _)| end)));
        let default_identity = (switched.is_some() || self.settings.switchable)
            .then_some(DefaultIdentity { switched, lifetime: self.settings.switch_lifetime });
        let mut clients = Clients::new(proofs);
        (clients.default_identity, clients.generation) = (default_identity, self.generation);
        self.published.send_replace(Arc::new(clients));
    }
}
