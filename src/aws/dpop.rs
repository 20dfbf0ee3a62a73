//! Proofs that the client of a token holds its key (DPoP, RFC 9449), with ES256.

use std::fmt;
use std::time::SystemTime;

use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use zeroize::Zeroizing;

use crate::model::secret::Secret;

/// The start of a `PrivateKeyInfo` (RFC 5208) for a key of P-256, up to its `ECPrivateKey`. The two length fields are
/// left out. It holds version 0, the algorithm id-ecPublicKey with the curve prime256v1, and the tag of the octet
/// string.
const PKCS8_HEADER: [u8; 25] = [
    0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07, 0x04,
];

/// A private key of P-256. `Debug` does not show it.
pub(crate) struct DpopKey(EcdsaKeyPair);

/// A text that is not a key. The message does not show the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DpopKeyError {
    /// The text between the PEM headers is not base64.
    #[error("is not a PEM text")]
    NotPem,
    /// The key is of another kind, is damaged, or lacks its public half.
    #[error("is not a P-256 private key with its public half")]
    NotP256,
}

impl DpopKey {
    /// Reads a key as `aws login` writes it: PEM of an `EC PRIVATE KEY` (SEC 1), or of a `PRIVATE KEY` (PKCS#8). As in
    /// botocore, the text of the PEM headers does not matter.
    ///
    /// # Errors
    /// If the text is not a key of P-256.
    pub(crate) fn from_pem(text: &Secret) -> Result<Self, DpopKeyError> {
        // A buffer that grows would leave copies of the key in memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.expose().len()));
        for line in text.expose().lines().map(str::trim).filter(|line| !line.starts_with("-----")) {
            bytes.extend_from_slice(line.as_bytes());
        }
        let der = STANDARD.decode_inplace(&mut bytes).map_err(|_| DpopKeyError::NotPem)?;
        let random = SystemRandom::new();
        let read = |der: &[u8]| EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random);
        let from_sec1 = || read(&pkcs8(der)?).ok();
        read(der).ok().or_else(from_sec1).map(Self).ok_or(DpopKeyError::NotP256)
    }

    /// Returns the proof for one `POST` to this URL. The URL must have no query and no fragment.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(crate) fn proof(&self, url: &str, at: SystemTime) -> Result<Secret, ring::error::Unspecified> {
        // An uncompressed point: 0x04 and the two coordinates.
        let public = self.0.public_key().as_ref();
        let (x, y) = public.get(1..).and_then(|point| point.split_at_checked(32)).ok_or(ring::error::Unspecified)?;
        let header = serde_json::json!({
            "typ": "dpop+jwt",
            "alg": "ES256",
            "jwk": {
                "kty": "EC",
                "x": URL_SAFE_NO_PAD.encode_to_string(x),
                "y": URL_SAFE_NO_PAD.encode_to_string(y),
                "crv": "P-256",
            },
        });
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let payload = serde_json::json!({ "htm": "POST", "htu": url, "iat": seconds, "jti": identifier()? });
        let [header, payload] =
            [header, payload].map(|part| URL_SAFE_NO_PAD.encode_to_string(part.to_string().as_bytes()));
        let message = format!("{header}.{payload}");
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode_to_string(signature.as_ref())).into())
    }
}

/// Converts an `ECPrivateKey` to a `PrivateKeyInfo`. Returns `None` if the length is not that of a P-256 key with its
/// public half.
fn pkcs8(key: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let length = u8::try_from(key.len()).ok().filter(|length| (102..128).contains(length))?;
    let mut der = Zeroizing::new(Vec::with_capacity(key.len() + PKCS8_HEADER.len() + 4));
    // DER encodes a length of 128 or more in two bytes.
    der.extend_from_slice(&[0x30, 0x81, length + 1 + u8::try_from(PKCS8_HEADER.len()).ok()?]);
    der.extend_from_slice(&PKCS8_HEADER);
    der.push(length);
    der.extend_from_slice(key);
    Some(der)
}

/// A random UUID (RFC 9562, version 4). A service accepts each proof once.
fn identifier() -> Result<String, ring::error::Unspecified> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| ring::error::Unspecified)?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let text = format!("{number:032x}");
    Ok([&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-"))
}

impl fmt::Debug for DpopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DpopKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use testkit::signin::{KEY, verify};

    use super::*;

    const URL: &str = "https://eu-west-1.signin.aws.amazon.com/v1/token";

    /// The key of [`KEY`] as `openssl pkcs8 -topk8 -nocrypt` writes it.
    const PKCS8: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgivCgAsRuBQQ8t0nw\nxpGcBA94sbiR3TwhM3iWHgcxXVWhRANCAAQJPR8u6qMumi1HJvjKDbFHI2ATuWzA\ntmOaqPvrDrlgd9HySYaVKKxvNvi8khQKyu9UBDj99orXMz75Cqc0GiHE\n-----END PRIVATE KEY-----\n";

    #[test]
    fn signs_proofs_with_sec1_and_pkcs8_keys() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for pem in [KEY.into(), KEY.replace('\n', "\r\n"), KEY.trim_end().replace("\n", "\n "), PKCS8.into()] {
            let key = DpopKey::from_pem(&pem.into()).unwrap();
            assert_eq!(format!("{key:?}"), "DpopKey([redacted])");
            let [one, other] = [(); 2].map(|()| key.proof(URL, at).unwrap());
            let proofs = [&one, &other].map(|proof| verify(proof.expose()).unwrap());
            // openssl ec -text -noout
            assert_eq!(proofs[0].x, "CT0fLuqjLpotRyb4yg2xRyNgE7lswLZjmqj76w65YHc");
            assert_eq!((&*proofs[0].method, &*proofs[0].url, proofs[0].issued), ("POST", URL, 1_700_000_000));
            assert_ne!(proofs[0].id, proofs[1].id);
            let mut forged = one.expose().to_owned();
            forged.replace_range(..1, "f");
            assert!(verify(&forged).is_err());
        }
    }

    #[test]
    fn identifiers_are_uuids() {
        for _ in 0..64 {
            let id = identifier().unwrap();
            let parts: Vec<_> = id.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
            assert!(id[14..].starts_with('4') && "89ab".contains(&id[19..20]), "{id}");
        }
    }

    #[test]
    fn rejects_text_that_is_not_a_p256_key() {
        for (text, why) in [
            ("", DpopKeyError::NotP256),
            ("hush!", DpopKeyError::NotPem),
            ("-----BEGIN EC PRIVATE KEY-----\nhush", DpopKeyError::NotP256),
            // Without its public half; of another curve; damaged.
            ("MDECAQEEIIrwoALEbgUEPLdJ8MaRnAQPeLG4kd08ITN4lh4HMV1VoAoGCCqGSM49AwEH", DpopKeyError::NotP256),
            (
                "MIGkAgEBBDCmJCKaA9jK/3OEotVam+WIJvrgDCyUNLSZCqn3wBuGtQOYhURKF31sbdbSuevM7b6gBwYFK4EEACKhZANiAARenxNaWUNg6lnuhHV5dEBLMVAHDPO4IThd5l71BfUbc3mR8qIwVLao2dq24XHBxYrcMJLo5CIK8Na017P3Toe07+RMupalNx3QwU2RXegwu6ujJRzxZs1mA+PlNuNhNek=",
                DpopKeyError::NotP256,
            ),
            (&KEY.replace("CT0f", "CT1f"), DpopKeyError::NotP256),
        ] {
            assert_eq!(DpopKey::from_pem(&text.into()).unwrap_err(), why, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..160), text in ".{0,80}") {
            let _ = DpopKey::from_pem(&STANDARD.encode_to_string(&bytes).into());
            let _ = DpopKey::from_pem(&text.into());
        }
    }
}
