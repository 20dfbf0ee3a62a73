//! What the service manager hears of a running daemon: when it is ready, how it is, that it lives.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use crate::board::{Board, Health};
use crate::clock::Clock;
use crate::service_manager::ServiceManager;

/// How often the status line is looked at; it is for people only.
const LOOK: Duration = Duration::from_secs(5);

/// Reports for ever; it ends by being dropped.
pub(super) async fn report(manager: ServiceManager, board: Board, clock: Clock) {
    if !manager.listens() {
        return std::future::pending().await;
    }
    let watching = watch(manager, &board, &clock);
    let telling = async {
        board.first_loads().await;
        manager.ready();
        tracing::debug!("every eager identity has been tried");
        let mut told = String::new();
        loop {
            let line = line(&board.health(clock.now(), Instant::now()));
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
async fn watch(manager: ServiceManager, board: &Board, clock: &Clock) {
    let Some(patience) = manager.watchdog() else { return };
    loop {
        match board.health(clock.now(), Instant::now()).stuck {
            None => manager.alive(),
            Some(identity) => {
                tracing::error!(%identity, "its keeper is stuck: the watchdog of the service manager is not fed");
            }
        }
        tokio::time::sleep(patience / 3).await;
    }
}

fn line(health: &Health) -> String {
    let Health { awake, usable, asleep, wanting, stuck, refused } = health;
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
    use super::*;

    #[test]
    fn one_line_for_people() {
        let well = Health { awake: 2, usable: 2, ..Health::default() };
        assert_eq!(line(&well), "2 of 2 identities have credentials");
        let ill =
            Health { awake: 2, usable: 1, asleep: 3, wanting: Some("dev".into()), refused: true, ..Health::default() };
        assert_eq!(
            line(&ill),
            "1 of 2 identities have credentials, 3 wait until somebody asks; dev has none, `credenza status` says why; \
             the configuration on disk is refused, an earlier one is in force"
        );
    }
}
