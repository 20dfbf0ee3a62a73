//! The cache files of `aws login`, one for each sign-in session.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ring::digest::SHA256;

use crate::cache::login_entry::{AccessToken, CacheEntry, CacheEntryError};
use crate::login::cache::file_name;
use crate::model::credentials::Credentials;
use crate::model::secret::Secret;
use crate::model::time::timestamp;
use crate::os::environment::Environment;

/// The variable for another folder than the one in the home directory.
pub(crate) const FOLDER_VARIABLE: &str = "AWS_LOGIN_CACHE_DIRECTORY";

/// The folder in the home directory.
const FOLDER: &str = ".aws/login/cache";

/// The private key, in PEM, that refresh tokens are bound to.
pub(crate) const KEY: &str = "dpopKey";

const ACCESS_TOKEN: &str = "accessToken";
const ACCESS_KEY_ID: &str = "accessKeyId";
const SECRET_ACCESS_KEY: &str = "secretAccessKey";
const SESSION_TOKEN: &str = "sessionToken";
const ACCOUNT_ID: &str = "accountId";
const EXPIRES_AT: &str = "expiresAt";
const REFRESH_TOKEN: &str = "refreshToken";
const CLIENT_ID: &str = "clientId";
const REGION: &str = "signInRegion";

/// The parts of a file that a refresh needs.
pub(crate) struct StoredGrant<'e> {
    pub(crate) client_id: &'e Secret,
    pub(crate) refresh_token: &'e Secret,
    pub(crate) key: &'e Secret,
    /// The region of the login. It takes precedence over the region of the profile. `None` for a login by an older AWS
    /// CLI.
    pub(crate) region: Option<&'e Secret>,
}

/// Returns the path of a login's file, named by the SHA-256 of the session. `None` if the home directory is unknown.
pub(crate) fn path(environment: &Environment, session: &str) -> Option<PathBuf> {
    let folder = match environment.get(FOLDER_VARIABLE) {
        Some(folder) => environment.expand(Path::new(folder)),
        None => environment.home()?.join(FOLDER),
    };
    Some(folder.join(file_name(&SHA256, session.trim())))
}

/// Returns the session token of a file with its end, if the file has everything that the SDKs require.
pub(crate) fn token(entry: &CacheEntry) -> Result<AccessToken, CacheEntryError> {
    grant(entry)?;
    credentials(entry)?;
    let access = entry.object(ACCESS_TOKEN)?;
    Ok(AccessToken { token: access.required(SESSION_TOKEN)?.clone(), expires: access.end(EXPIRES_AT)? })
}

pub(crate) fn credentials(entry: &CacheEntry) -> Result<Credentials, CacheEntryError> {
    let access = entry.object(ACCESS_TOKEN)?;
    let text = |name| access.required(name).map(Secret::expose);
    // `required` has refused control characters and blanks, so these two calls cannot fail.
    let keys = Credentials::new(text(ACCESS_KEY_ID)?, text(SECRET_ACCESS_KEY)?)
        .map_err(|_| CacheEntryError::NotText(ACCESS_KEY_ID))?
        .with_session_token(Some(text(SESSION_TOKEN)?))
        .map_err(|_| CacheEntryError::NotText(SESSION_TOKEN))?;
    Ok(keys.with_account_id(Some(text(ACCOUNT_ID)?)).with_expiration(Some(access.end(EXPIRES_AT)?)))
}

pub(crate) fn grant(entry: &CacheEntry) -> Result<StoredGrant<'_>, CacheEntryError> {
    Ok(StoredGrant {
        client_id: entry.required(CLIENT_ID)?,
        refresh_token: entry.required(REFRESH_TOKEN)?,
        key: entry.text(KEY)?.ok_or(CacheEntryError::Missing(KEY))?,
        region: entry.text(REGION)?,
    })
}

/// Puts new credentials of this account into a file, and keeps all other values.
pub(crate) fn renew(entry: &mut CacheEntry, credentials: &Credentials, expires: SystemTime, refresh_token: Secret) {
    let mut access = entry.object(ACCESS_TOKEN).cloned().unwrap_or_default();
    access.set(ACCESS_KEY_ID, Secret::new(&*credentials.access_key_id));
    access.set(SECRET_ACCESS_KEY, credentials.secret_access_key.clone());
    if let Some(token) = &credentials.session_token {
        access.set(SESSION_TOKEN, token.clone());
    }
    access.set(EXPIRES_AT, timestamp(expires).into());
    entry.set_object(ACCESS_TOKEN, access);
    entry.set(REFRESH_TOKEN, refresh_token);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::time::parse_timestamp;
    use testkit::signin::cached;

    const END: &str = "2026-11-25T12:15:00Z";

    fn good() -> Value {
        serde_json::from_str(&cached("ASIA0", END, "hush-refresh")).unwrap()
    }

    fn parse(value: &Value) -> Result<AccessToken, CacheEntryError> {
        CacheEntry::parse(value.to_string().as_bytes()).and_then(|entry| token(&entry))
    }

    #[test]
    fn names_files_like_the_sdks() {
        // From the tests of aws-config.
        let session = "arn:aws:iam::0123456789012:user/Admin";
        let file = "36db1d138ff460920374e4c3d8e01f53f9f73537e89c88d639f68393df0e2726.json";
        for (variables, folder) in [
            (vec![("HOME", "/h")], "/h/.aws/login/cache"),
            (vec![("HOME", "/h"), (FOLDER_VARIABLE, " ")], "/h/.aws/login/cache"),
            (vec![("HOME", "/h"), (FOLDER_VARIABLE, "~/c")], "/h/c"),
            (vec![(FOLDER_VARIABLE, "/c")], "/c"),
        ] {
            let environment = Environment::new(variables);
            for session in [session, &format!(" {session} ")] {
                assert_eq!(path(&environment, session), Some(Path::new(folder).join(file)));
            }
        }
        assert_eq!(path(&Environment::default(), session), None);
    }

    #[test]
    fn reads_files_of_the_cli_and_keeps_unknown_values() {
        let mut value = good();
        value["accessToken"]["more"] = json!({"x": ["hush", 1.5]});
        let mut entry = CacheEntry::parse(value.to_string().as_bytes()).unwrap();
        let found = credentials(&entry).unwrap();
        assert_eq!((&*found.access_key_id, found.account_id.as_deref()), ("ASIA0", Some("123456789012")));
        assert_eq!((found.secret_access_key.expose(), found.expiration), ("hush-secret", parse_timestamp(END).ok()));
        assert_eq!(token(&entry).unwrap().token, found.session_token.unwrap());
        assert_eq!(grant(&entry).unwrap().region.unwrap().expose(), "eu-west-1");
        assert!(!format!("{entry:?}").contains("hush"));

        let new = Credentials::new("ASIA1", "hush-1").unwrap().with_session_token(Some("hush-t")).unwrap();
        renew(&mut entry, &new, parse_timestamp(END).unwrap() + std::time::Duration::from_millis(1500), "r".into());
        for (name, new) in [
            ("accessKeyId", "ASIA1"),
            ("secretAccessKey", "hush-1"),
            ("sessionToken", "hush-t"),
            ("expiresAt", "2026-11-25T12:15:01Z"),
        ] {
            value["accessToken"][name] = new.into();
        }
        value["refreshToken"] = "r".into();
        assert_eq!(serde_json::from_slice::<Value>(&entry.render()).unwrap(), value);
    }

    #[test]
    fn names_missing_and_wrong_values_without_showing_them() {
        let nested = ["accessKeyId", "secretAccessKey", "sessionToken", "accountId", "expiresAt"];
        for name in ["accessToken", "refreshToken", "clientId", "dpopKey"].into_iter().chain(nested) {
            let without = |value: Value| {
                let mut changed = good();
                let place = if nested.contains(&name) { &mut changed["accessToken"] } else { &mut changed };
                place[name] = value;
                parse(&changed).unwrap_err().to_string()
            };
            assert_eq!(without(Value::Null), format!("it has no {name}"));
            for odd in [json!(7), json!(["hush"]), json!(true)] {
                assert!(without(odd).starts_with(&format!("its {name} is not a")), "{name}");
            }
            if name != "accessToken" && name != "dpopKey" {
                let bad = without(json!("hush\u{0}"));
                assert!(bad.contains(name) && !bad.contains("hush"), "{bad}");
            }
        }
        assert_eq!(parse(&json!({ "accessToken": "hush" })).unwrap_err().to_string(), "it has no clientId");
        let mut flat = good();
        flat["accessToken"] = "hush".into();
        assert_eq!(parse(&flat).unwrap_err().to_string(), "its accessToken is not an object");
    }

    proptest! {
        #[test]
        fn reads_damaged_files_without_panic_or_leak(at in 0_usize..1000, byte in any::<u8>(), cut in any::<bool>()) {
            let mut bytes = good().to_string().into_bytes();
            let at = at % bytes.len();
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            match CacheEntry::parse(&bytes).and_then(|entry| token(&entry)) {
                Ok(_) => {}
                Err(error) => prop_assert!(!error.to_string().contains("hush")),
            }
        }

        #[test]
        fn reads_renewed_files_back(key in "[A-Z0-9]{1,20}", secret in "[!-~é]{1,40}", session in "[!-~é]{1,400}", end in 0_u64..4_000_000_000) {
            let mut entry = CacheEntry::parse(good().to_string().as_bytes()).unwrap();
            let new = Credentials::new(&key, &secret).unwrap().with_session_token(Some(&session)).unwrap();
            let end = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(end);
            renew(&mut entry, &new, end, Secret::new(&*session));
            let read = CacheEntry::parse(&entry.render()).unwrap();
            let expected = new.with_expiration(Some(end)).with_account_id(Some("123456789012"));
            prop_assert_eq!(credentials(&read), Ok(expected));
            prop_assert_eq!(grant(&read).unwrap().refresh_token.expose(), &*session);
        }
    }
}
