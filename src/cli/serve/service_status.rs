//! What the service manager hears of a running daemon: when it is ready, how it is, that it lives.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use crate::lease::registry::{LeaseRegistry, RegistryHealth};
use crate::os::clock::Clock;
use crate::os::systemd::ServiceManager;

/// How often the status line is looked at; it is for people only.
const LOOK: Duration = Duration::from_secs(5);

/// Reports for ever; it ends by being dropped.
pub(crate) async fn report(manager: ServiceManager, registry: LeaseRegistry, clock: Clock) {
    if !manager.listens() {
        return std::future::pending().await;
    }
    let watching = watch(manager, &registry, &clock);
    let telling = async {
        registry.wait_for_first_loads().await;
        manager.ready();
        tracing::debug!("every eager identity has been tried");
        let mut told = String::new();
        loop {
            let line = line(&registry.health(clock.now(), Instant::now()));
            if line != told {
                manager.status(&line);
                told = line;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::join!(watching, telling);
}

/// Feeds the watchdog three times within its patience, as long as every keeper does what it said it would. That this
/// runs at all shows that the runtime turns; a keeper or a listener that ends by itself ends the daemon.
async fn watch(manager: ServiceManager, registry: &LeaseRegistry, clock: &Clock) {
    if let Some(patience) = manager.watchdog() {
        feed(patience, registry, clock, || manager.alive()).await;
    }
}

async fn feed(patience: Duration, registry: &LeaseRegistry, clock: &Clock, mut alive: impl FnMut()) {
    loop {
        match registry.health(clock.now(), Instant::now()).stuck {
            None => alive(),
            Some(identity) => {
                tracing::error!(%identity, "its keeper is stuck: the watchdog of the service manager is not fed");
            }
        }
        tokio::time::sleep(patience / 3).await;
    }
}

fn line(health: &RegistryHealth) -> String {
    let RegistryHealth { active: awake, usable, not_loaded: asleep, unready: wanting, stuck, config_refused: refused } =
        health;
    let mut line = format!("{usable} of {awake} identities have credentials");
    if *asleep > 0 {
        let _ = write!(line, ", {asleep} wait until somebody asks");
    }
    if let Some(name) = wanting {
        let _ = write!(line, "; {name} has none, `credenza status` says why");
    }
    if let Some(name) = stuck {
        let _ = write!(line, "; the keeper of {name} is stuck");
    }
    if *refused {
        line.push_str("; the configuration on disk is refused, an earlier one is in force");
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::lease::registry::{LeaseHandle, LeaseHandles, LeaseKey, LeaseState, RefreshState};

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_until_a_keeper_is_stuck() {
        let clock = Clock::injected(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_600));
        let loading = RefreshState::Loading { since: Instant::now(), limit: Duration::from_secs(10) };
        let (_keeper, _, handle) =
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
        assert_eq!(within(Duration::from_secs(300)).await, 1, "and not any more once its keeper is long overdue");
        assert_eq!(within(Duration::from_secs(300)).await, 0);
    }

    #[test]
    fn one_line_for_people() {
        let well = RegistryHealth { active: 2, usable: 2, ..RegistryHealth::default() };
        assert_eq!(line(&well), "2 of 2 identities have credentials");
        let ill = RegistryHealth {
            active: 2,
            usable: 1,
            not_loaded: 3,
            unready: Some("dev".into()),
            config_refused: true,
            ..RegistryHealth::default()
        };
        assert_eq!(
            line(&ill),
            "1 of 2 identities have credentials, 3 wait until somebody asks; dev has none, `credenza status` says why; \
             the configuration on disk is refused, an earlier one is in force"
        );
    }
}
