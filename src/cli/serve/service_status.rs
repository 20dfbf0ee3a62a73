//! Reports to the service manager: readiness, a status line, and keep-alive messages for its watchdog.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use crate::lease::registry::{LeaseRegistry, RegistryHealth};
use crate::os::clock::Clock;
use crate::os::systemd::ServiceManager;

/// The pause between two updates of the status line. Only users read it, so a few seconds are enough.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Reports until the future is dropped.
pub(crate) async fn report(manager: ServiceManager, registry: LeaseRegistry, clock: Clock) {
    if !manager.listens() {
        return std::future::pending().await;
    }
    let feeding = feed_watchdog(manager, &registry, &clock);
    let reporting = async {
        registry.wait_for_first_loads().await;
        manager.ready();
        tracing::debug!("every eager identity has been tried");
        let mut reported = String::new();
        loop {
            let line = status_line(&registry.health(clock.now(), Instant::now()));
            if line != reported {
                manager.status(&line);
                reported = line;
            }
            tokio::time::sleep(STATUS_INTERVAL).await;
        }
    };
    tokio::join!(feeding, reporting);
}

/// Sends three keep-alive messages within the timeout of the watchdog, unless a refresher is stuck.
///
/// A message from this task shows that the runtime works. Refreshers and listeners need no check here: if one ends
/// unexpectedly, the daemon ends.
async fn feed_watchdog(manager: ServiceManager, registry: &LeaseRegistry, clock: &Clock) {
    if let Some(timeout) = manager.watchdog() {
        feed(timeout, registry, clock, || manager.alive()).await;
    }
}

async fn feed(timeout: Duration, registry: &LeaseRegistry, clock: &Clock, mut alive: impl FnMut()) {
    loop {
        match registry.health(clock.now(), Instant::now()).stuck {
            None => alive(),
            Some(identity) => {
                tracing::error!(%identity, "the refresher is stuck: the watchdog is not fed, so the service manager restarts the daemon");
            }
        }
        tokio::time::sleep(timeout / 3).await;
    }
}

fn status_line(health: &RegistryHealth) -> String {
    let RegistryHealth { active, usable, not_loaded, unready, stuck, config_refused } = health;
    let mut line = format!("{usable} of {active} identities have credentials");
    if *not_loaded > 0 {
        let _ = write!(line, ", {not_loaded} are not loaded before the first request");
    }
    if let Some(name) = unready {
        let _ = write!(line, "; {name} has none, run `credenza status` for the reason");
    }
    if let Some(name) = stuck {
        let _ = write!(line, "; the refresher of {name} is stuck");
    }
    if *config_refused {
        line.push_str("; the configuration file has an error, the earlier configuration stays in use");
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::lease::handle::LeaseHandle;
    use crate::lease::key::LeaseKey;
    use crate::lease::registry::LeaseHandles;
    use crate::lease::state::{LeaseState, RefreshState};

    #[tokio::test(start_paused = true)]
    async fn feeds_watchdog_until_a_refresher_is_stuck() {
        let clock = Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600));
        let loading = RefreshState::Loading { since: Instant::now(), limit: Duration::from_secs(10) };
        let (_refresher, _, handle) =
            LeaseHandle::new(LeaseState { refresh: loading, eager: true, ..LeaseState::default() });
        let live = LeaseHandles::from_iter([(LeaseKey::Identity("a".into()), handle)]);
        let registry = LeaseRegistry {
            handles: watch::Sender::new(Arc::new(live)).subscribe(),
            config_error: watch::Sender::new(None).subscribe(),
            known_profiles: watch::Sender::new(Some(Arc::default())).subscribe(),
            profile_demand: mpsc::channel(1).0,
        };
        let mut fed = 0;
        let mut within = async |time| {
            let before = fed;
            let _ = tokio::time::timeout(time, feed(Duration::from_secs(30), &registry, &clock, || fed += 1)).await;
            fed - before
        };
        assert_eq!(within(Duration::from_secs(125)).await, 13, "every ten seconds");
        assert_eq!(within(Duration::from_secs(300)).await, 1, "not after the refresher is long overdue");
        assert_eq!(within(Duration::from_secs(300)).await, 0);
    }

    #[test]
    fn status_line_names_identities_without_credentials() {
        let well = RegistryHealth { active: 2, usable: 2, ..RegistryHealth::default() };
        assert_eq!(status_line(&well), "2 of 2 identities have credentials");
        let ill = RegistryHealth {
            active: 2,
            usable: 1,
            not_loaded: 3,
            unready: Some("dev".into()),
            config_refused: true,
            ..RegistryHealth::default()
        };
        assert_eq!(
            status_line(&ill),
            "1 of 2 identities have credentials, 3 are not loaded before the first request; dev has none, run \
             `credenza status` for the reason; the configuration file has an error, the earlier configuration stays in use"
        );
    }
}
