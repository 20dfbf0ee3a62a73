//! A broker without sources: five identities with credentials, and one client with a token.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::context::Context;
use crate::lease::Lease;
use crate::lease::key::LeaseKey;
use crate::lease::refresher::{RefreshPolicy, Refresher};
use crate::lease::registry::{LeaseHandles, LeaseRegistry};
use crate::model::credentials::Credentials;
use crate::os::clock::Clock;
use crate::server::access::AllowedHosts;
use crate::server::clients::{Client, Clients};
use crate::server::lookup::LeaseLookup;
use crate::server::routes::{RouteState, Routes};
use crate::source::chain::merge_credentials;

pub(crate) const TOKEN: &str = "a-token-of-at-least-32-characters";

/// Names with every character that a path must escape.
pub(crate) const NAMES: [&str; 5] = ["default", "a/b", "a%2Fb", "ä ?#", "a"];

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// The lease of an identity.
pub(crate) fn lease(name: &str) -> Lease {
    lease_of(&keys(name))
}

/// The lease of an identity with a session token, which the IMDS server requires.
pub(crate) fn temporary_lease(name: &str) -> Lease {
    lease_of(&keys(name).with_session_token(Some("hush-session")).expect("the session token is valid"))
}

fn keys(name: &str) -> Credentials {
    let number = NAMES.iter().position(|other| *other == name).unwrap_or_default();
    Credentials::new(&format!("AKIA{number}"), &format!("hush-{number}")).expect("the keys are valid")
}

/// A lease of 34 years, because the injected clock runs on while the fuzzer does.
fn lease_of(credentials: &Credentials) -> Lease {
    Lease::new(credentials, Arc::from("fuzz"), NOW, Duration::from_secs(1 << 30))
}

pub(crate) fn routes() -> Routes {
    ROUTES.with(Routes::clone)
}

/// Leases for all names. Their refreshers are dropped, so that no request waits for a load.
pub(crate) fn leases(lease: fn(&str) -> Lease) -> LeaseLookup {
    let handles: LeaseHandles = NAMES
        .iter()
        .map(|name| {
            let key = LeaseKey::Identity((*name).into());
            let second = Duration::from_secs(1);
            let policy = RefreshPolicy { limits: second.into(), load_timeout: second, eager: true, is_profile: false };
            let lease = Some(Arc::new(lease(name)));
            let (_, handle) = Refresher::new(key.clone(), merge_credentials([]), Context::default(), policy, lease);
            (key, handle)
        })
        .collect();
    let registry = LeaseRegistry {
        handles: tokio::sync::watch::Sender::new(Arc::new(handles)).subscribe(),
        config_error: tokio::sync::watch::Sender::new(None).subscribe(),
        known_profiles: tokio::sync::watch::Sender::new(Some(Arc::default())).subscribe(),
        profile_demand: tokio::sync::mpsc::channel(1).0,
    };
    LeaseLookup { registry, clock: Clock::injected(NOW), stopping: Default::default() }
}

fn make_routes() -> Routes {
    let client = Client::of_all("fuzz");
    let state = RouteState {
        leases: leases(lease),
        clients: Clients::fixed([(TOKEN.into(), client)]),
        hosts: AllowedHosts::default(),
        started: NOW,
        log: Default::default(),
    };
    Routes::new(Arc::new(state))
}

/// Runs a future on the runtime of this thread.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with_borrow(|runtime| runtime.block_on(future))
}

thread_local! {
    static ROUTES: Routes = make_routes();
    static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("the runtime needs no resource"),
    );
}
