//! The session tokens of IMDSv2. Each token holds its expiration and a MAC, so the server stores no tokens.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64_simd::URL_SAFE_NO_PAD;
use ring::hmac;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::model::secret::Secret;

/// The lifetimes that a client may request, in seconds; six hours at most (EC2 user guide).
const TTL_RANGE: RangeInclusive<u64> = 1..=21_600;

/// Parses the lifetime of a request header, in seconds; `None` if it is no number or out of range.
pub(crate) fn parse_ttl(text: &str) -> Option<u64> {
    // Accept digits only: `parse` would accept a sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|seconds| digits && TTL_RANGE.contains(seconds))
}

/// The length of the expiration in a token: nanoseconds since 1970, as a `u64`.
const END: usize = 8;

/// The length of the HMAC-SHA-256 of the expiration.
const TAG: usize = 32;

/// The text that makes this key differ from other keys that are derived from the auth token.
const PURPOSE: &[u8] = b"credenza IMDS session token 1";

/// Issues and verifies session tokens.
///
/// The key is derived from the auth token, so that session tokens survive a restart: the SDK for Rust keeps a refused one
/// for six hours. With another auth token all earlier session tokens are refused. Expirations are on the wall clock,
/// because the monotonic clock starts anew with the machine.
pub(crate) struct ImdsSessionTokens {
    /// The key of new tokens, then those of auth tokens that are still accepted.
    keys: watch::Receiver<Arc<[hmac::Key]>>,
}

/// Replaces the keys after a rotation of the auth token.
#[derive(Debug)]
pub(crate) struct SigningKeys(watch::Sender<Arc<[hmac::Key]>>);

impl SigningKeys {
    /// Derives the keys from the auth tokens that are accepted, the current one first. Without a token the keys stay.
    pub(crate) fn set<'t>(&self, auth_tokens: impl Iterator<Item = &'t Secret>) {
        let keys: Arc<[hmac::Key]> = auth_tokens.map(derive).collect();
        if !keys.is_empty() {
            self.0.send_replace(keys);
        }
    }
}

fn derive(auth_token: &Secret) -> hmac::Key {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, auth_token.expose().as_bytes());
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, PURPOSE).as_ref())
}

impl ImdsSessionTokens {
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn signed_with(auth_token: &Secret) -> Self {
        Self::with_key(derive(auth_token)).1
    }

    /// Makes tokens with a random key, which [`SigningKeys::set`] replaces by keys of the auth token. A daemon without an
    /// auth token keeps the random key, so that its session tokens end with the process.
    ///
    /// # Errors
    /// If the kernel has no random numbers.
    pub(crate) fn following() -> Result<(SigningKeys, Self), getrandom::Error> {
        let mut secret = Zeroizing::new([0; TAG]);
        getrandom::fill(&mut *secret)?;
        Ok(Self::with_key(hmac::Key::new(hmac::HMAC_SHA256, &*secret)))
    }

    fn with_key(key: hmac::Key) -> (SigningKeys, Self) {
        let (sender, keys) = watch::channel([key].into());
        (SigningKeys(sender), Self { keys })
    }

    /// Issues a token that lives for `ttl`: 54 characters of the URL-safe base64 alphabet.
    pub(crate) fn issue(&self, now: SystemTime, ttl: Duration) -> String {
        let end = u64::try_from((since_1970(now) + ttl).as_nanos()).unwrap_or(u64::MAX).to_be_bytes();
        let mut token = [0; END + TAG];
        token[..END].copy_from_slice(&end);
        if let Some(key) = self.keys.borrow().first() {
            token[END..].copy_from_slice(hmac::sign(key, &end).as_ref());
        }
        URL_SAFE_NO_PAD.encode_to_string(token)
    }

    /// Returns true if the token was issued with this auth token and has not expired. The MAC is compared in constant
    /// time.
    pub(crate) fn verify(&self, now: SystemTime, token: &[u8]) -> bool {
        const LENGTH: usize = (END + TAG) * 4 / 3 + 1;
        if token.len() != LENGTH {
            return false;
        }
        let Ok(token) = URL_SAFE_NO_PAD.decode_to_vec(token) else { return false };
        let Some((end, tag)) = token.split_first_chunk::<END>() else { return false };
        let is_authentic = self.keys.borrow().iter().any(|key| hmac::verify(key, end, tag).is_ok());
        is_authentic && since_1970(now).as_nanos() < u128::from(u64::from_be_bytes(*end))
    }
}

fn since_1970(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
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

    fn tokens(auth_token: &str) -> ImdsSessionTokens {
        ImdsSessionTokens::signed_with(&Secret::from(auth_token))
    }

    fn at(seconds: u64, nanoseconds: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
    }

    proptest! {
        #[test]
        fn refuses_tokens_that_were_not_issued(token in prop::collection::vec(any::<u8>(), 0..80), text in "[A-Za-z0-9_-]{54}") {
            let tokens = tokens("secret");
            prop_assert!(!tokens.verify(at(0, 0), &token) && !tokens.verify(at(0, 0), text.as_bytes()));
        }

        #[test]
        fn parses_lifetimes_in_range_only(text in "[-+ 0-9.]{0,6}", seconds in 0u64..30_000) {
            prop_assert_eq!(parse_ttl(&seconds.to_string()), TTL_RANGE.contains(&seconds).then_some(seconds));
            prop_assert_eq!(parse_ttl(&text).is_some(), !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
                && text.parse().is_ok_and(|seconds| TTL_RANGE.contains(&seconds)));
        }
    }

    #[test]
    fn tokens_of_a_rotated_auth_token_hold_for_the_overlap() {
        let (keys, tokens) = ImdsSessionTokens::following().unwrap();
        let (old, new) = (Secret::from("old"), Secret::from("new"));
        let holds = |token: &str| tokens.verify(at(0, 0), token.as_bytes());
        let random = tokens.issue(at(0, 0), Duration::from_secs(60));
        assert!(holds(&random));
        keys.set([&old].into_iter());
        let issued = tokens.issue(at(0, 0), Duration::from_secs(60));
        assert!(holds(&issued) && !holds(&random));
        keys.set([&new, &old].into_iter());
        assert!(holds(&issued) && holds(&tokens.issue(at(0, 0), Duration::from_secs(60))));
        keys.set([&new].into_iter());
        assert!(!holds(&issued));
        keys.set([].into_iter());
        assert!(holds(&tokens.issue(at(0, 0), Duration::from_secs(60))));
    }

    #[test]
    fn token_expires_after_its_lifetime() {
        let tokens = tokens("secret");
        let issued = at(1_800_000_000, 5);
        for ttl in [*TTL_RANGE.start(), 60, *TTL_RANGE.end()] {
            let token = tokens.issue(issued, Duration::from_secs(ttl));
            assert_eq!(token.len(), 54);
            for (now, is_valid) in [
                (issued, true),
                (at(1_800_000_000 + ttl, 4), true),
                (at(1_800_000_000 + ttl, 5), false),
                (at(4_000_000_000, 0), false),
            ] {
                assert_eq!(tokens.verify(now, token.as_bytes()), is_valid, "{ttl} {now:?}");
            }
        }
    }

    #[test]
    fn token_survives_a_restart_with_the_same_auth_token() {
        let now = at(1_800_000_000, 0);
        let token = tokens("secret").issue(now, Duration::from_secs(60));
        assert!(tokens("secret").verify(now, token.as_bytes()));
        assert!(!tokens("Secret").verify(now, token.as_bytes()));
    }

    #[test]
    fn refuses_forged_and_truncated_tokens() {
        let (tokens, now) = (tokens("secret"), at(1_800_000_000, 0));
        let token = tokens.issue(now, Duration::from_secs(60));
        let verify = |token: &[u8]| tokens.verify(now, token);
        for at in 0..token.len() {
            for other in [b'A', b'_', b'!', 0xff] {
                let mut forged = token.clone().into_bytes();
                if forged[at] != other {
                    forged[at] = other;
                    assert!(!verify(&forged), "{at}");
                }
            }
            assert!(!verify(&token.as_bytes()[..at]));
        }
        assert!(!verify(format!("{token}=").as_bytes()) && !verify(b"") && !verify(&[b'A'; 1 << 16]));
        // The MAC of the auth token itself is not the MAC of the derived key.
        let end = u64::MAX.to_be_bytes();
        let underived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"secret"), &end);
        assert!(!verify(URL_SAFE_NO_PAD.encode_to_string([&end[..], underived.as_ref()].concat()).as_bytes()));
    }
}
