//! A broker without sources: a few identities with credentials, and a client with a token.
#![allow(dead_code, reason = "each target uses its own part")]

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use credenza::board::{Board, LeaseKey, Live};
use credenza::clock::Clock;
use credenza::credentials::Credentials;
use credenza::keeper::{Keeper, Policy};
use credenza::lease::Lease;
use credenza::merge_credentials;
use credenza::server::guard::{Client, Clients, Hosts};
use credenza::server::leases::Leases;
use credenza::server::routes::{Endpoint, Paths};
use credenza::world::World;

pub const TOKEN: &str = "a-token-of-at-least-32-characters";

/// Names with all that a path has to escape.
pub const NAMES: [&str; 5] = ["default", "a/b", "a%2Fb", "ä ?#", "a"];

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// What a client is given for an identity.
pub fn lease(name: &str) -> Lease {
    of(&keys(name))
}

/// The same with a session token, which the metadata service wants.
pub fn temporary_lease(name: &str) -> Lease {
    of(&keys(name).with_session_token(Some("hush-session")).expect("a usable token"))
}

fn keys(name: &str) -> Credentials {
    let number = NAMES.iter().position(|other| *other == name).unwrap_or_default();
    Credentials::new(&format!("AKIA{number}"), &format!("hush-{number}")).expect("usable keys")
}

fn of(credentials: &Credentials) -> Lease {
    // The clock runs on while the fuzzer does.
    Lease::new(credentials, Arc::from("fuzz"), NOW, Duration::from_secs(1 << 30))
}

/// All paths.
pub fn paths() -> Paths {
    PATHS.with(Paths::clone)
}

/// These leases for all names. The keepers are gone, so that nobody waits for one.
pub fn leases(lease: fn(&str) -> Lease) -> Leases {
    let live: Live = NAMES
        .iter()
        .map(|name| {
            let key = LeaseKey::Identity((*name).into());
            let second = Duration::from_secs(1);
            let policy = Policy { long_lived: second, load_timeout: second, eager: true, is_profile: false };
            let lease = Some(Arc::new(lease(name)));
            let (_, handle) = Keeper::new(key.clone(), merge_credentials([]), World::default(), policy, lease);
            (key, handle)
        })
        .collect();
    let board = Board {
        live: tokio::sync::watch::Sender::new(Arc::new(live)).subscribe(),
        refused: tokio::sync::watch::Sender::new(None).subscribe(),
        known: tokio::sync::watch::Sender::new(Some(Arc::default())).subscribe(),
        demand: tokio::sync::mpsc::channel(1).0,
    };
    Leases { board, clock: Clock::injected(NOW), stopping: Default::default() }
}

fn make() -> Paths {
    let client = Client { name: "fuzz".into(), identities: None };
    let endpoint = Endpoint {
        leases: leases(lease),
        clients: Clients::new([(TOKEN.into(), client)]),
        hosts: Hosts::default(),
        started: NOW,
    };
    Paths::new(Arc::new(endpoint))
}

/// On a runtime of this thread.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with_borrow(|runtime| runtime.block_on(future))
}

thread_local! {
    static PATHS: Paths = make();
    static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be built"),
    );
}
