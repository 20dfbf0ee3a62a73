//! Bursts of new connections. In a long burst each holder has a share of each millisecond, and its other connections are
//! closed at once, so that those of another user do not wait behind a flood.

use std::time::Duration;

use tokio::time::Instant;

use crate::server::connection_limit::Holder;

/// The most connections that are accepted in one turn. Then the open connections have their turn.
const TURN: usize = 64;

/// A turn with so many new connections belongs to a burst.
const FULL_TURN: usize = 32;

/// The number of connections in a burst after which the share of a holder is halved. The share begins above what the
/// daemon can serve, so that a thousand programs may start at once.
const HALVED_AFTER: usize = 256;

/// The number of halvings, down to 4 connections in a millisecond.
const HALVINGS: usize = 4;

/// The time for which a holder has its share.
const WINDOW: Duration = Duration::from_millis(1);

/// A burst ends when no turn has been full, and no connection refused, for so long.
const ENDS_AFTER: Duration = Duration::from_secs(1);

/// The most holders that are counted. Other hosts may have many addresses.
const MAX_HOLDERS: usize = 1024;

pub(crate) struct Burst {
    /// The connections of this turn.
    in_turn: usize,
    /// The connections of this burst.
    in_burst: usize,
    /// The time of the last full turn or refused connection.
    last_pressure: Instant,
    window_began: Instant,
    /// The holders of this burst, with their connections of this window.
    holders: Vec<(Holder, usize)>,
}

impl Burst {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { in_turn: 0, in_burst: 0, last_pressure: now, window_began: now, holders: Vec::new() }
    }

    /// Returns true if the turn has had a connection.
    pub(crate) fn has_begun(&self) -> bool {
        self.in_turn > 0
    }

    /// Returns true if the open connections must have their turn before the next connection is accepted.
    pub(crate) fn is_turn_over(&self) -> bool {
        self.in_turn >= TURN
    }

    pub(crate) fn end_turn(&mut self) {
        let now = Instant::now();
        if self.in_turn >= FULL_TURN {
            self.last_pressure = now;
        } else if now - self.last_pressure > ENDS_AFTER {
            self.in_burst = 0;
            self.holders.clear();
        }
        self.in_turn = 0;
        if now - self.window_began >= WINDOW {
            self.window_began = now;
            for (_, connections) in &mut self.holders {
                *connections = 0;
            }
        }
    }

    /// Counts a new connection, and returns true if it is to be served. The holder matters only in a long burst. A single
    /// holder takes nothing from another, so that all its connections are served.
    pub(crate) fn admits(&mut self, holder: impl FnOnce() -> Holder) -> bool {
        self.in_turn += 1;
        self.in_burst += 1;
        let halvings = (self.in_burst / HALVED_AFTER).min(HALVINGS);
        if halvings == 0 {
            return true;
        }
        let holder = holder();
        let at = self.holders.iter().position(|(other, _)| *other == holder).unwrap_or_else(|| {
            self.holders.truncate(MAX_HOLDERS - 1);
            self.holders.push((holder, 0));
            self.holders.len() - 1
        });
        self.holders[at].1 += 1;
        let is_admitted = self.holders.len() == 1 || self.holders[at].1 <= TURN >> halvings;
        if !is_admitted {
            self.last_pressure = Instant::now();
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The connections that are served of a millisecond with so many new ones of user 1, and then one of user 2.
    async fn millisecond(burst: &mut Burst, flood: usize, other: bool) -> (usize, bool) {
        tokio::time::advance(WINDOW).await;
        let served = (0..flood).filter(|_| burst.admits(|| Holder::User(1))).count();
        let other = other && burst.admits(|| Holder::User(2));
        burst.end_turn();
        (served, other)
    }

    #[tokio::test(start_paused = true)]
    async fn share_of_a_flood_shrinks_beside_another_user() {
        let mut burst = Burst::new();
        assert_eq!(millisecond(&mut burst, 127, true).await, (127, true), "a burst begins with no limit");
        for _ in 0..HALVINGS * HALVED_AFTER / 128 {
            assert!(millisecond(&mut burst, 127, true).await.1);
        }
        for _ in 0..3 {
            assert_eq!(millisecond(&mut burst, 127, true).await, (4, true));
        }
        for _ in 0..2000 {
            assert_eq!(millisecond(&mut burst, 20, true).await, (4, true), "the flood goes on, with short turns");
        }
        for _ in 0..1001 {
            assert_eq!(millisecond(&mut burst, 2, true).await, (2, true));
        }
        assert_eq!(millisecond(&mut burst, 127, true).await, (127, true), "the burst is over");
    }

    #[tokio::test(start_paused = true)]
    async fn only_user_has_all_its_connections_served() {
        let mut burst = Burst::new();
        for _ in 0..100 {
            assert_eq!(millisecond(&mut burst, 128, false).await.0, 128);
        }
    }
}
