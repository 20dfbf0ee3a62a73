//! The moments at which a refresher loads. All functions are pure; a random number from 0 to 1 is an argument.

use std::time::{Duration, SystemTime};

/// The minimum lifetime of a lease that is refreshed [`LONG_LEAD`] before its end.
const LONG_LIFETIME: Duration = Duration::from_secs(90 * 60);

/// The lead for leases with a long lifetime. The newest SDKs request again when less than 60 minutes remain. Five
/// minutes more ensure that they get a renewed lease.
const LONG_LEAD: Duration = Duration::from_secs(65 * 60);

/// The lead for leases with a short lifetime. boto requests again when less than 15 minutes remain. Five minutes more
/// ensure that it gets a renewed lease.
const SHORT_LEAD: Duration = Duration::from_secs(20 * 60);

/// The maximum part of the lead that is added at random, so that the refreshes of a fleet started together spread.
const SPREAD: f64 = 0.1;

/// The settling time: a file must stay broken, or a source not configured, for this time before the refresher reacts.
pub(crate) const SETTLE: Duration = Duration::from_secs(5);

/// The maximum pause after errors, and the pause between two loads while a permanent error lasts.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The minimum pause between two loads, if no event causes the second.
pub(crate) const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Returns the lead: how long before its end a lease of this lifetime is refreshed.
pub(crate) fn lead(lifetime: Duration) -> Duration {
    if lifetime >= LONG_LIFETIME { LONG_LEAD } else { SHORT_LEAD.min(lifetime / 2) }
}

/// Returns the time of the refresh of credentials that were loaded at `loaded` and expire at `expiration`.
pub(crate) fn refresh_at(loaded: SystemTime, expiration: SystemTime, random: f64) -> SystemTime {
    let lifetime = expiration.duration_since(loaded).unwrap_or_default();
    let lead = lead(lifetime);
    let early = (lead + lead.mul_f64(SPREAD * random.clamp(0.0, 1.0))).min(lifetime);
    (expiration - early).max(loaded + SHORTEST_PAUSE)
}

/// Returns the pause after a source gave unchanged credentials, which expire after `remaining`.
pub(crate) fn after_the_same(remaining: Duration) -> Duration {
    (remaining / 2).clamp(SHORTEST_PAUSE, Duration::from_secs(60))
}

/// Returns the pause after a number of errors in a row (1 for the first): exponential backoff with full jitter.
///
/// The pause is at least the `retry_after` of the service, and at most [`LONGEST_PAUSE`].
pub(crate) fn backoff(failures: u32, random: f64, retry_after: Option<Duration>) -> Duration {
    let ceiling = SHORTEST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    let drawn = SHORTEST_PAUSE + (ceiling - SHORTEST_PAUSE).mul_f64(random.clamp(0.0, 1.0));
    drawn.max(retry_after.unwrap_or_default().min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn lead_exceeds_refresh_window_of_clients() {
        for (lifetime, expected) in [
            (12 * HOUR, 65 * MINUTE),
            (90 * MINUTE, 65 * MINUTE),
            (90 * MINUTE - 1, 20 * MINUTE),
            (HOUR, 20 * MINUTE),
            (40 * MINUTE, 20 * MINUTE),
            (15 * MINUTE, 7 * MINUTE + 30),
            (2, 1),
            (0, 0),
        ] {
            assert_eq!(lead(Duration::from_secs(lifetime)), Duration::from_secs(expected), "{lifetime}");
        }
    }

    #[test]
    fn refreshes_one_lead_early_plus_jitter() {
        assert_eq!(refresh_at(at(0), at(HOUR), 0.0), at(40 * MINUTE));
        assert_eq!(refresh_at(at(0), at(HOUR), 1.0), at(38 * MINUTE));
        assert_eq!(refresh_at(at(0), at(6 * HOUR), 0.0), at(6 * HOUR - 65 * MINUTE));
        // No argument moves a refresh before its load.
        for (expiration, random) in [(0, 0.5), (1, 1.0), (1, 0.0), (90 * MINUTE, 9.0)] {
            assert!(refresh_at(at(0), at(expiration), random) >= at(1), "{expiration} {random}");
        }
        assert_eq!(refresh_at(at(100), at(50), 0.0), at(101));
    }

    #[test]
    fn reloads_unchanged_credentials_within_a_minute() {
        for (remaining, expected) in [(HOUR, 60), (120, 60), (60, 30), (2, 1), (1, 1), (0, 1)] {
            assert_eq!(after_the_same(Duration::from_secs(remaining)), Duration::from_secs(expected));
        }
    }

    #[test]
    fn backoff_grows_from_one_second_to_sixty() {
        let ceilings: Vec<u64> = (1..10).map(|failures| backoff(failures, 1.0, None).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(u32::MAX, 1.0, None), LONGEST_PAUSE);
        assert_eq!(backoff(9, 0.0, None), SHORTEST_PAUSE);
        assert_eq!(backoff(1, 0.0, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(backoff(1, 0.0, Some(Duration::from_secs(7000))), LONGEST_PAUSE);
    }
}
