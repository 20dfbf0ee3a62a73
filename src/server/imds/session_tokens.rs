//! The session tokens of IMDSv2. Each token holds its expiration and a MAC, so the server stores no tokens.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::time::Instant;

/// The lifetimes that a client may request, in seconds; six hours at most (EC2 user guide).
const TTL_RANGE: RangeInclusive<u64> = 1..=21_600;

/// Parses the lifetime of a request header, in seconds; `None` if it is no number or out of range.
pub(crate) fn parse_ttl(text: &str) -> Option<u64> {
    // Accept digits only: `parse` would accept a sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|seconds| digits && TTL_RANGE.contains(seconds))
}

/// The length of the expiration in a token: nanoseconds since the start of the process, as a `u64`.
const END: usize = 8;

/// The length of the HMAC-SHA-256 of the expiration.
const TAG: usize = 32;

/// Issues and verifies session tokens until the process ends.
///
/// The key is generated at the start and stays in the process: tokens of other processes and of earlier runs are
/// refused. Expirations are on the monotonic clock, so a change of the wall clock has no effect on them.
pub(crate) struct ImdsSessionTokens {
    key: hmac::Key,
    started: Instant,
}

impl ImdsSessionTokens {
    /// Generates a new key.
    ///
    /// # Errors
    /// If the kernel gives no random bytes.
    pub(crate) fn new() -> Result<Self, ring::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { key, started: Instant::now() })
    }

    /// Issues a token that lives for `ttl`: 54 characters of the URL-safe base64 alphabet.
    pub(crate) fn issue(&self, ttl: Duration) -> String {
        let end = (self.started.elapsed() + ttl).as_nanos();
        let end = u64::try_from(end).unwrap_or(u64::MAX).to_be_bytes();
        let mut token = [0; END + TAG];
        token[..END].copy_from_slice(&end);
        token[END..].copy_from_slice(hmac::sign(&self.key, &end).as_ref());
        URL_SAFE_NO_PAD.encode_to_string(token)
    }

    /// Returns true if the token was issued here and has not expired. The MAC is compared in constant time.
    pub(crate) fn verify(&self, token: &[u8]) -> bool {
        const LENGTH: usize = (END + TAG) * 4 / 3 + 1;
        if token.len() != LENGTH {
            return false;
        }
        let Ok(token) = URL_SAFE_NO_PAD.decode_to_vec(token) else { return false };
        let Some((end, tag)) = token.split_first_chunk::<END>() else { return false };
        let is_authentic = hmac::verify(&self.key, end, tag).is_ok();
        is_authentic && self.started.elapsed().as_nanos() < u128::from(u64::from_be_bytes(*end))
    }
}

impl fmt::Debug for ImdsSessionTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImdsSessionTokens").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn refuses_tokens_that_were_not_issued(token in prop::collection::vec(any::<u8>(), 0..80), text in "[A-Za-z0-9_-]{54}") {
            let tokens = ImdsSessionTokens::new().unwrap();
            prop_assert!(!tokens.verify(&token) && !tokens.verify(text.as_bytes()));
        }

        #[test]
        fn parses_lifetimes_in_range_only(text in "[-+ 0-9.]{0,6}", seconds in 0u64..30_000) {
            prop_assert_eq!(parse_ttl(&seconds.to_string()), TTL_RANGE.contains(&seconds).then_some(seconds));
            prop_assert_eq!(parse_ttl(&text).is_some(), !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
                && text.parse().is_ok_and(|seconds| TTL_RANGE.contains(&seconds)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn token_expires_after_its_lifetime() {
        let tokens = ImdsSessionTokens::new().unwrap();
        tokio::time::advance(Duration::from_secs(1000)).await;
        let (short, long) = (tokens.issue(Duration::from_secs(1)), tokens.issue(Duration::from_secs(*TTL_RANGE.end())));
        assert!(tokens.verify(short.as_bytes()) && tokens.verify(long.as_bytes()));
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(tokens.verify(short.as_bytes()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!tokens.verify(short.as_bytes()) && tokens.verify(long.as_bytes()));
        tokio::time::advance(Duration::from_secs(*TTL_RANGE.end())).await;
        assert!(!tokens.verify(long.as_bytes()));
    }

    #[tokio::test]
    async fn refuses_forged_and_truncated_tokens() {
        let (tokens, others) = (ImdsSessionTokens::new().unwrap(), ImdsSessionTokens::new().unwrap());
        let token = tokens.issue(Duration::from_secs(60));
        assert!(!others.verify(token.as_bytes()), "a token of another process");
        for at in 0..token.len() {
            for other in [b'A', b'_', b'!', 0xff] {
                let mut forged = token.clone().into_bytes();
                if forged[at] != other {
                    forged[at] = other;
                    assert!(!tokens.verify(&forged), "{at}");
                }
            }
            assert!(!tokens.verify(&token.as_bytes()[..at]));
        }
        assert!(
            !tokens.verify(format!("{token}=").as_bytes()) && !tokens.verify(b"") && !tokens.verify(&[b'A'; 1 << 16])
        );
    }
}
