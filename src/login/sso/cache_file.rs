//! The files of IAM Identity Center in the token cache, `~/.aws/sso/cache`: one for each login.

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use ring::digest::SHA1_FOR_LEGACY_USE_ONLY;

use crate::aws::registration::Registration;
use crate::cache::login_entry::{AccessToken, CacheEntry, CacheEntryError};
use crate::login::cache::file_name;
use crate::login::sso::session::SsoSession;
use crate::model::secret::Secret;
use crate::model::time::timestamp;
use crate::os::environment::Environment;

/// The folder in the home directory. No variable changes it, as in botocore.
const FOLDER: &str = ".aws/sso/cache";

const ACCESS_TOKEN: &str = "accessToken";
const EXPIRES_AT: &str = "expiresAt";
const REFRESH_TOKEN: &str = "refreshToken";
const CLIENT_ID: &str = "clientId";
const CLIENT_SECRET: &str = "clientSecret";
const REGISTRATION_EXPIRES_AT: &str = "registrationExpiresAt";
const REGION: &str = "region";
const START_URL: &str = "startUrl";

/// Returns the path of the file of a login. The file name is the SHA-1 of the session name, or of the start URL for
/// legacy keys. `None` without a home directory.
pub(crate) fn path(environment: &Environment, session: &SsoSession) -> Option<PathBuf> {
    Some(environment.home()?.join(FOLDER).join(file_name(&SHA1_FOR_LEGACY_USE_ONLY, session.key())))
}

/// Returns the path of the file that keeps a registration for the next login with equal arguments, as in botocore. It
/// differs from the file of botocore, which is another client of SSO-OIDC.
pub(crate) fn registration_path(environment: &Environment, session: &SsoSession) -> Option<PathBuf> {
    let arguments = serde_json::json!({
        "tool": "credenza",
        "startUrl": session.start_url,
        "region": session.region,
        "scopes": session.scopes,
        "session_name": session.name,
    });
    Some(environment.home()?.join(FOLDER).join(file_name(&SHA1_FOR_LEGACY_USE_ONLY, &arguments.to_string())))
}

/// The fields of a login at IAM Identity Center.
impl CacheEntry {
    /// Returns the token and its expiration.
    ///
    /// # Errors
    /// If one of the two is missing or unusable.
    pub(crate) fn access_token(&self) -> Result<AccessToken, CacheEntryError> {
        Ok(AccessToken { token: self.required(ACCESS_TOKEN)?.clone(), expires: self.end(EXPIRES_AT)? })
    }

    /// Returns the refresh token and its registration. `None` if one of them is missing or unusable, as in files of the
    /// legacy keys.
    pub(crate) fn refresh_token(&self) -> Option<(&Secret, Registration)> {
        Some((self.text(REFRESH_TOKEN).ok().flatten()?, self.registration(REGISTRATION_EXPIRES_AT)?))
    }

    /// Returns the registration in a file without a token.
    pub(crate) fn registration_alone(&self) -> Option<Registration> {
        self.registration(EXPIRES_AT)
    }

    fn registration(&self, expires: &'static str) -> Option<Registration> {
        Some(Registration {
            client_id: self.text(CLIENT_ID).ok().flatten()?.clone(),
            client_secret: self.text(CLIENT_SECRET).ok().flatten()?.clone(),
            expires: self.time(expires).ok().flatten()?,
        })
    }

    /// Puts a new token into the entry. If there is no new refresh token, the old one is removed, as in botocore.
    pub(crate) fn set_token(&mut self, session: &SsoSession, token: AccessToken, refresh_token: Option<Secret>) {
        self.set(START_URL, Secret::new(&*session.start_url));
        self.set(REGION, Secret::new(&*session.region));
        self.set(ACCESS_TOKEN, token.token);
        self.set(EXPIRES_AT, timestamp(token.expires).into());
        match refresh_token {
            Some(refresh_token) => self.set(REFRESH_TOKEN, refresh_token),
            None => self.remove(REFRESH_TOKEN),
        }
    }

    /// Puts a registration into the entry of a token.
    pub(crate) fn set_registration(&mut self, registration: &Registration) {
        self.set(CLIENT_ID, registration.client_id.clone());
        self.set(CLIENT_SECRET, registration.client_secret.clone());
        self.set(REGISTRATION_EXPIRES_AT, timestamp(registration.expires).into());
    }

    /// Returns an entry that holds only a registration.
    pub(crate) fn of_registration(registration: &Registration) -> Self {
        let mut entry = Self::default();
        entry.set(CLIENT_ID, registration.client_id.clone());
        entry.set(CLIENT_SECRET, registration.client_secret.clone());
        entry.set(EXPIRES_AT, timestamp(registration.expires).into());
        entry
    }
}
