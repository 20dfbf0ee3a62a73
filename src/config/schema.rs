//! Every key of `credenza.toml`, once: the parser takes no other, and the file in `config/` shows each of them.

/// The keys of one kind of table.
#[derive(Debug)]
pub(crate) struct TableKeys {
    /// Where they stand, for messages.
    pub(crate) place: &'static str,
    pub(crate) names: &'static [&'static str],
    /// Keys that will exist.
    later: &'static [&'static str],
}

pub(crate) const ROOT: TableKeys = TableKeys {
    place: "the top level",
    names: &["server", "defaults", "imds", "files", "profiles", "identities"],
    later: &["clients"],
};

pub(crate) const SERVER: TableKeys = TableKeys {
    place: "[server]",
    names: &[
        "listen",
        "allow_remote",
        "allowed_hosts",
        "token_file",
        "token_group",
        "auth_token",
        "auth_token_file",
        "max_connections",
    ],
    later: &[],
};

pub(crate) const IMDS: TableKeys =
    TableKeys { place: "[imds]", names: &["listen", "identity", "allow_v1"], later: &[] };

pub(crate) const FILES: TableKeys = TableKeys { place: "[files]", names: &["trusted_owners"], later: &[] };

pub(crate) const PROFILES: TableKeys =
    TableKeys { place: "[profiles]", names: &["serve", "idle", "credentials_file", "config_file"], later: &[] };

pub(crate) const DEFAULTS: TableKeys = TableKeys {
    place: "[defaults]",
    names: &["on_failure", "eager", "long_lived_keys", "session_duration", "long_lived_expiration", "load_timeout"],
    later: &[],
};

pub(crate) const IDENTITY: TableKeys = TableKeys {
    place: "[identities.NAME]",
    names: &[
        "sources",
        "on_failure",
        "eager",
        "long_lived_keys",
        "session_duration",
        "long_lived_expiration",
        "load_timeout",
    ],
    later: &[],
};

pub(crate) const SOURCE: TableKeys = TableKeys {
    place: "a source",
    names: &[
        "source",
        "region",
        "access_key_id",
        "access_key_id_file",
        "secret_access_key",
        "secret_access_key_file",
        "session_token",
        "session_token_file",
        "url",
        "url_file",
        "profile",
        "credentials_file",
        "config_file",
        "allow_v1",
        "process",
        "role_arn",
        "web_identity_token_file",
        "external_id",
        "session_name",
        "duration",
        "mfa_serial",
        "policy_file",
        "policy_arns",
        "tags",
        "source_identity",
        "sso_session",
        "account_id",
        "role_name",
    ],
    later: &[],
};

pub(crate) const ALL: [&TableKeys; 8] = [&ROOT, &SERVER, &IMDS, &FILES, &PROFILES, &DEFAULTS, &IDENTITY, &SOURCE];

impl TableKeys {
    /// What to say about a key that is none of these, if it is none.
    pub(crate) fn refuse(&self, key: &str) -> Option<String> {
        if self.names.contains(&key) {
            return None;
        }
        if self.later.contains(&key) {
            return Some("not supported yet".into());
        }
        let elsewhere: Vec<_> = ALL.iter().filter(|keys| keys.names.contains(&key)).map(|keys| keys.place).collect();
        Some(if !elsewhere.is_empty() {
            format!("unknown key here; it belongs to {}", elsewhere.join(" or "))
        } else if let Some(nearest) = nearest(key, self.names.iter().copied()) {
            format!("unknown key; did you mean `{nearest}`?")
        } else {
            format!("unknown key; {} has {}", self.place, self.names.join(", "))
        })
    }
}

/// The word that somebody may have meant.
pub(crate) fn nearest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // A secret in a wrong place may be long, and distances cost the product of both lengths.
    if text.len() > 64 {
        return None;
    }
    words
        .map(|word| (strsim::damerau_levenshtein(&text.to_ascii_lowercase(), word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 4)
        .min()
        .map(|(_, word)| word)
}
