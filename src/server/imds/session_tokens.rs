//! The tokens of IMDSv2: each tells its own end, and that it is ours, so that no table has to hold them.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::time::Instant;

/// How long a token may live, in seconds (six hours at most; EC2 user guide).
const TTL: RangeInclusive<u64> = 1..=21_600;

/// The lifetime that a header asks for, in seconds; `None` when it is no number, or none that is allowed.
#[must_use]
pub(crate) fn ttl(text: &str) -> Option<u64> {
    // `parse` alone would take a sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|seconds| digits && TTL.contains(seconds))
}

/// The bytes of a token: when it ends, in nanoseconds since our start, and the HMAC-SHA-256 of that.
const END: usize = 8;
const TAG: usize = 32;

/// Issues tokens and knows them again, until the process ends.
///
/// The key is drawn at the start and never leaves: a token of another process, or of the one before, is a stranger's. Ends
/// are on the monotonic clock, for a lifetime in seconds has nothing to do with the time of day.
pub(crate) struct ImdsSessionTokens {
    key: hmac::Key,
    started: Instant,
}

impl ImdsSessionTokens {
    /// With a new key.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub(crate) fn new() -> Result<Self, ring::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { key, started: Instant::now() })
    }

    /// A token that lives so long: 54 characters of the URL-safe base64 alphabet.
    #[must_use]
    pub(crate) fn issue(&self, ttl: Duration) -> String {
        let end = (self.started.elapsed() + ttl).as_nanos();
        let end = u64::try_from(end).unwrap_or(u64::MAX).to_be_bytes();
        let mut token = [0; END + TAG];
        token[..END].copy_from_slice(&end);
        token[END..].copy_from_slice(hmac::sign(&self.key, &end).as_ref());
        URL_SAFE_NO_PAD.encode_to_string(token)
    }

    /// Whether a token is ours and has not ended. How long that takes tells nothing about the right tag.
    #[must_use]
    pub(crate) fn hold(&self, token: &[u8]) -> bool {
        const LENGTH: usize = (END + TAG) * 4 / 3 + 1;
        if token.len() != LENGTH {
            return false;
        }
        let Ok(token) = URL_SAFE_NO_PAD.decode_to_vec(token) else { return false };
        let Some((end, tag)) = token.split_first_chunk::<END>() else { return false };
        let is_ours = hmac::verify(&self.key, end, tag).is_ok();
        is_ours && self.started.elapsed().as_nanos() < u128::from(u64::from_be_bytes(*end))
    }
}

impl fmt::Debug for ImdsSessionTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_that_was_not_issued_is_held(token in prop::collection::vec(any::<u8>(), 0..80), text in "[A-Za-z0-9_-]{54}") {
            let sessions = ImdsSessionTokens::new().unwrap();
            prop_assert!(!sessions.hold(&token) && !sessions.hold(text.as_bytes()));
        }

        #[test]
        fn a_lifetime_is_a_number_of_seconds_that_is_allowed(text in "[-+ 0-9.]{0,6}", seconds in 0u64..30_000) {
            prop_assert_eq!(ttl(&seconds.to_string()), TTL.contains(&seconds).then_some(seconds));
            prop_assert_eq!(ttl(&text).is_some(), !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
                && text.parse().is_ok_and(|seconds| TTL.contains(&seconds)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_lives_for_its_seconds() {
        let sessions = ImdsSessionTokens::new().unwrap();
        tokio::time::advance(Duration::from_secs(1000)).await;
        let (short, long) = (sessions.issue(Duration::from_secs(1)), sessions.issue(Duration::from_secs(*TTL.end())));
        assert!(sessions.hold(short.as_bytes()) && sessions.hold(long.as_bytes()));
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(sessions.hold(short.as_bytes()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!sessions.hold(short.as_bytes()) && sessions.hold(long.as_bytes()));
        tokio::time::advance(Duration::from_secs(*TTL.end())).await;
        assert!(!sessions.hold(long.as_bytes()));
    }

    #[tokio::test]
    async fn nobody_else_can_make_one() {
        let (sessions, others) = (ImdsSessionTokens::new().unwrap(), ImdsSessionTokens::new().unwrap());
        let token = sessions.issue(Duration::from_secs(60));
        assert!(!others.hold(token.as_bytes()), "a token of another process");
        for at in 0..token.len() {
            for other in [b'A', b'_', b'!', 0xff] {
                let mut forged = token.clone().into_bytes();
                if forged[at] != other {
                    forged[at] = other;
                    assert!(!sessions.hold(&forged), "{at}");
                }
            }
            assert!(!sessions.hold(&token.as_bytes()[..at]));
        }
        assert!(
            !sessions.hold(format!("{token}=").as_bytes()) && !sessions.hold(b"") && !sessions.hold(&[b'A'; 1 << 16])
        );
    }
}
