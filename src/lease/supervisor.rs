//! The supervisor: starts and stops refreshers, publishes their handles, and swaps configurations.
//!
//! If a refresher ends by itself, the daemon ends with an error, because the lease would expire without renewal.

mod caller;
mod demand;
mod inherit;
mod mfa;
pub(crate) mod session_filter;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::audit::AuditLog;
use crate::aws::sts::answer::CallerIdentity;
use crate::config::Config;
use crate::config::identity::Identity;
use crate::config::notify::NotifyCommand;
use crate::config::profiles::ServedProfiles;
use crate::context::Context;
use crate::lease::Lease;
use crate::lease::handle::{LeaseHandle, PerClient, WakeReason};
use crate::lease::key::{LeaseKey, NarrowedIdentity};
use crate::lease::notify;
use crate::lease::notify::{Notice, Notifier};
use crate::lease::refresher::{RefreshPolicy, Refresher};
use crate::lease::registry::{LeaseDemand, LeaseHandles, LeaseRegistry};
use crate::lease::served_profiles::ServedProfileNames;
use crate::lease::supervisor::inherit::may_inherit;
use crate::lease::supervisor::mfa::SentCodes;
use crate::lease::supervisor::session_filter::SessionFilter;
use crate::model::error::SourceError;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::model::session_name::Placeholder;
use crate::source::build;

#[derive(Debug)]
pub(crate) enum SupervisorCommand {
    /// Swaps in a new, valid configuration.
    Replace(Generation),
    /// Publishes why the configuration on disk is invalid. The running configuration stays.
    Refused(Arc<str>),
    Reload,
    /// Replies when the commands before this one are executed.
    Applied(oneshot::Sender<()>),
    /// Stops the refreshers of sessions that their clients may not have any more.
    DropSessions(SessionFilter),
    /// Obtains a session with MFA for an identity. Replies with the expiration of the session.
    Mfa {
        identity: IdentityName,
        code: Secret,
        reply: oneshot::Sender<MfaReply>,
    },
    /// Asks STS for the principal of an identity.
    Caller {
        identity: IdentityName,
        reply: oneshot::Sender<CallerReply>,
    },
}

/// The principal that STS names. `None` for an unknown identity.
pub(crate) type CallerReply = Option<Result<CallerIdentity, SourceError>>;

/// The end of a session with MFA, if it is known. `None` for an unknown identity.
pub(crate) type MfaReply = Option<Result<Option<SystemTime>, SourceError>>;

/// The identities and the served profiles of one configuration.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    pub(crate) identities: BTreeMap<IdentityName, Identity>,
    /// The profiles that become identities at their first request.
    pub(crate) profiles: Option<ServedProfiles>,
    /// True if single clients may have single identities.
    pub(crate) has_clients: bool,
    /// The number of this configuration. It grows with each reload, and the clients of the configuration have it too.
    pub(crate) number: u64,
    /// The program that tells of the end of a login.
    pub(crate) notify: Option<NotifyCommand>,
}

impl Generation {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            identities: config.identities.clone(),
            profiles: config.profiles.clone(),
            has_clients: config.clients.is_some(),
            number: 0,
            notify: config.notify.clone(),
        }
    }
}

/// The pause between two searches for idle leases. It is short compared to the default idle time of two hours.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The capacity of the queue of requests for leases without a refresher; further requests wait until there is room.
const MAX_DEMANDS: usize = 64;

/// A result of [`ServedProfileNames::list`]: the names or an error, with the list for the next call.
type ListedProfiles = (ServedProfileNames, Result<BTreeSet<IdentityName>, SourceError>);

type ProfileListing = Pin<Box<dyn Future<Output = ListedProfiles> + Send>>;

/// A refresher ended by itself. Its lease would not be renewed.
#[derive(Debug, thiserror::Error)]
#[error("the refresher of identity {0} ended: {1}; the daemon stops, because it cannot renew these credentials")]
pub(crate) struct RefresherEnded(IdentityName, String);

pub(crate) struct Supervisor {
    context: Context,
    /// The number of the configuration in use.
    generation: u64,
    profiles: Option<ServedProfiles>,
    running: BTreeMap<IdentityName, RunningRefresher>,
    /// The refreshers of single clients, grants and commands.
    narrowed: BTreeMap<Arc<NarrowedIdentity>, RunningRefresher>,
    tasks: JoinSet<Infallible>,
    /// Requests of the owner: for sessions with MFA, and for principals.
    logins: JoinSet<()>,
    sent_codes: SentCodes,
    notifier: Notifier,
    /// Gets the logins of persons.
    audit: Option<AuditLog>,
    /// The runs of the program of `[notify]`.
    notifications: JoinSet<()>,
    listing: Option<ProfileListing>,
    demands: mpsc::Receiver<LeaseDemand>,
    handles: watch::Sender<Arc<LeaseHandles>>,
    known_profiles: watch::Sender<Option<Arc<BTreeSet<IdentityName>>>>,
    config_error: watch::Sender<Option<Arc<str>>>,
}

struct RunningRefresher {
    identity: Identity,
    /// The client that a session for a single user counts for.
    client: Option<Box<str>>,
    handle: LeaseHandle,
    task: AbortHandle,
}

impl Supervisor {
    /// Makes a supervisor and starts the refreshers of the first generation.
    pub(crate) fn new(context: Context, generation: Generation, audit: Option<AuditLog>) -> (Self, LeaseRegistry) {
        let (handles, known_profiles) = (watch::Sender::default(), watch::Sender::default());
        let config_error = watch::Sender::default();
        let (profile_demand, demands) = mpsc::channel(MAX_DEMANDS);
        let registry = LeaseRegistry {
            handles: handles.subscribe(),
            config_error: config_error.subscribe(),
            known_profiles: known_profiles.subscribe(),
            profile_demand,
        };
        let mut supervisor = Self {
            context,
            generation: generation.number,
            profiles: None,
            running: BTreeMap::new(),
            narrowed: BTreeMap::new(),
            tasks: JoinSet::new(),
            logins: JoinSet::new(),
            sent_codes: SentCodes::default(),
            notifier: Notifier::default(),
            audit,
            notifications: JoinSet::new(),
            listing: None,
            demands,
            handles,
            known_profiles,
            config_error,
        };
        supervisor.replace(generation);
        (supervisor, registry)
    }

    /// Runs until `stop` is cancelled. All refreshers end when it returns.
    ///
    /// # Errors
    /// If a refresher panicked or ended by itself.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<SupervisorCommand>,
        stop: CancellationToken,
    ) -> Result<(), RefresherEnded> {
        let clock = self.context.clock.clone();
        let mut step_watcher = std::pin::pin!(clock.watch_for_steps());
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let has_profiles = self.running.values().any(|running| running.identity.is_profile);
            let has_idle = has_profiles || !self.narrowed.is_empty();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(ended) = self.tasks.join_next_with_id() => match ended {
                    // This refresher was aborted by the supervisor: it was replaced, or its identity is no longer
                    // configured.
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => return Err(self.report_end(error.id(), error.to_string())),
                    Ok((_, never)) => match never {},
                },
                Some(_) = self.logins.join_next() => {}
                Some(_) = self.notifications.join_next() => {}
                () = &mut step_watcher => {}
                Some(command) = commands.recv() => self.execute(command),
                (list, names) = next_listing(&mut self.listing) => self.update_profiles(list, names),
                Some(demand) = self.demands.recv() => self.start_demanded(demand),
                Some(notice) = self.notifier.next() => self.notify(notice),
                _ = sweep.tick(), if has_idle => self.stop_idle(),
            }
        }
    }

    fn execute(&mut self, command: SupervisorCommand) {
        match command {
            SupervisorCommand::Replace(generation) => {
                self.config_error.send_replace(None);
                self.replace(generation);
            }
            SupervisorCommand::Refused(why) => {
                self.config_error.send_replace(Some(why));
            }
            SupervisorCommand::Applied(reply) => drop(reply.send(())),
            SupervisorCommand::DropSessions(filter) => {
                if self.stop_narrowed(|session, _| filter.matches(session)) {
                    self.publish();
                }
            }
            SupervisorCommand::Mfa { identity, code, reply } => self.obtain_mfa_session(&identity, code, reply),
            SupervisorCommand::Caller { identity, reply } => self.ask_for_caller(&identity, reply),
            SupervisorCommand::Reload => {
                self.context.credential_cache.forget();
                for running in self.running.values().chain(self.narrowed.values()) {
                    running.handle.wake(WakeReason::Reload);
                }
            }
        }
    }

    fn notify(&mut self, notice: Notice) {
        let running = self.notifications.len();
        if let Some(words) = self.notifier.words(&notice, self.context.clock.now(), running) {
            self.notifications.spawn(notify::run(self.context.clone(), words, notice.identity));
        }
    }

    fn ask_for_caller(&mut self, name: &IdentityName, reply: oneshot::Sender<CallerReply>) {
        let Some(identity) = self.identity(name) else {
            drop(reply.send(None));
            return;
        };
        let asked = caller::caller_of(self.context.clone(), identity);
        self.logins.spawn(async move { drop(reply.send(Some(asked.await))) });
    }

    fn obtain_mfa_session(&mut self, name: &IdentityName, code: Secret, reply: oneshot::Sender<MfaReply>) {
        let Some(identity) = self.identity(name) else {
            drop(reply.send(None));
            return;
        };
        let all = self.running.values().chain(self.narrowed.values());
        let handles = all.map(|running| running.handle.clone()).collect();
        let obtained = mfa::obtain(self.context.clone(), identity, code, self.sent_codes.clone(), handles);
        self.logins.spawn(async move { drop(reply.send(Some(obtained.await))) });
    }

    /// Swaps in a generation. An unchanged identity keeps its refresher and its lease. A changed identity serves its
    /// old lease until the first load of the new chain has ended.
    fn replace(&mut self, Generation { identities, profiles, has_clients, number, notify }: Generation) {
        (self.generation, self.notifier.command) = (number, notify);
        let mut before = std::mem::take(&mut self.running);
        for (name, identity) in identities {
            let old = before.remove(&name);
            let running = match old {
                Some(old) if old.identity == identity => old,
                Some(old) => {
                    tracing::info!(identity = %name, "the configuration of this identity changed");
                    let lease = old
                        .handle
                        .state()
                        .lease
                        .clone()
                        .filter(|lease| may_inherit(lease, &old.identity, &identity, has_clients));
                    let running = self.spawn(LeaseKey::Identity(name.clone()), identity, lease);
                    old.task.abort();
                    running
                }
                None => self.spawn(LeaseKey::Identity(name.clone()), identity, None),
            };
            self.running.insert(name, running);
        }
        // Profiles that are served without a change keep their refreshers.
        let known = self.known_profiles.borrow().clone().unwrap_or_default();
        for (name, running) in std::mem::take(&mut before) {
            let serves = |served: &ServedProfiles| served.matches(name.as_str()) && known.contains(&name);
            match profiles.as_ref().filter(|served| running.identity.is_profile && serves(served)) {
                Some(served) if served.identity(&name) == running.identity => drop(self.running.insert(name, running)),
                _ => drop(before.insert(name, running)),
            }
        }
        if self.profiles != profiles {
            self.profiles = profiles;
            self.listing = None;
            match &self.profiles {
                Some(served) => {
                    self.known_profiles.send_replace(None);
                    self.listing =
                        Some(Box::pin(list_profiles(ServedProfileNames::new(&self.context, served.clone()))));
                }
                None => drop(self.known_profiles.send_replace(Some(Arc::default()))),
            }
        } else if self.profiles.is_none() {
            self.known_profiles.send_replace(Some(Arc::default()));
        }
        self.stop_changed_narrowings();
        self.publish();
        for (name, gone) in before {
            tracing::info!(identity = %name, "this identity is no longer configured");
            gone.task.abort();
        }
    }

    /// Takes the listed profiles and starts to wait for the next listing. If the listing failed, the known profiles
    /// stay.
    fn update_profiles(&mut self, list: ServedProfileNames, names: Result<BTreeSet<IdentityName>, SourceError>) {
        match names {
            Ok(names) => {
                tracing::info!(profiles = names.len(), "profiles are served on demand");
                let gone = |name: &IdentityName, running: &RunningRefresher| {
                    running.identity.is_profile && !names.contains(name)
                };
                self.stop_matching(gone, "the profile no longer exists in the shared files");
                self.known_profiles.send_replace(Some(Arc::new(names)));
                if self.stop_changed_narrowings() {
                    self.publish();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot list the profiles; the known ones are still served");
                self.known_profiles
                    .send_if_modified(|known| known.is_none().then(|| *known = Some(Arc::default())).is_some());
            }
        }
        self.listing = Some(Box::pin(async {
            list.changed().await;
            list_profiles(list).await
        }));
    }

    fn stop_matching(&mut self, matches: impl Fn(&IdentityName, &RunningRefresher) -> bool, why: &str) {
        let stopped: Vec<(IdentityName, RunningRefresher)> =
            self.running.extract_if(.., |name, running| matches(name, running)).collect();
        if stopped.is_empty() {
            return;
        }
        self.publish();
        for (name, running) in stopped {
            tracing::info!(identity = %name, "{why}");
            running.task.abort();
        }
    }

    fn publish(&self) {
        let identities = self.running.iter().map(|(name, running)| (LeaseKey::Identity(name.clone()), running));
        let narrowed =
            self.narrowed.iter().map(|(narrowed, running)| (LeaseKey::Narrowed(Arc::clone(narrowed)), running));
        let handles = identities.chain(narrowed).map(|(key, running)| (key, running.handle.clone()));
        let handles = LeaseHandles { generation: self.generation, ..handles.collect() };
        self.handles.send_replace(Arc::new(handles));
    }

    fn spawn(&mut self, key: LeaseKey, identity: Identity, inherited: Option<Arc<Lease>>) -> RunningRefresher {
        let names = match &key {
            LeaseKey::Identity(_) => {
                PerClient { client: identity.names(Placeholder::Client), user: identity.names(Placeholder::User) }
            }
            LeaseKey::Narrowed(_) => PerClient::default(),
        };
        let is_permanent = matches!(key, LeaseKey::Identity(_)) && !identity.is_profile;
        let (refresher, handle) = Refresher::new(
            key,
            build::chain(&identity.chain()),
            self.context.for_refresher().for_identity(&identity.name),
            RefreshPolicy::from(&identity),
            inherited,
        );
        let refresher = refresher.with_notices(self.notifier.sender.clone()).with_audit(self.audit.clone());
        let task = self.tasks.spawn(refresher.run());
        let handle = handle.with_names(names);
        let handle = if is_permanent { handle.without_idle_stop() } else { handle };
        RunningRefresher { identity, client: None, handle, task }
    }

    fn report_end(&self, id: tokio::task::Id, why: String) -> RefresherEnded {
        let mut running = self.running.values().chain(self.narrowed.values());
        let name = running.find(|running| running.task.id() == id).map(|running| running.identity.name.clone());
        RefresherEnded(name.unwrap_or_else(|| IdentityName::new("?")), why)
    }
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("running", &self.running.keys()).finish_non_exhaustive()
    }
}

async fn list_profiles(list: ServedProfileNames) -> ListedProfiles {
    let names = list.list().await;
    (list, names)
}

/// Waits for the running listing and clears it. Waits for ever if no listing runs.
async fn next_listing(listing: &mut Option<ProfileListing>) -> ListedProfiles {
    match listing {
        Some(pending) => {
            let listed = pending.await;
            *listing = None;
            listed
        }
        None => std::future::pending().await,
    }
}
