//! The keys of `credenza.toml`. The parser refuses every other key, and `config/credenza.toml` documents each of them.

use crate::model::nearest::{almost, nearest};

/// The keys of one kind of table.
#[derive(Debug)]
pub(crate) struct TableKeys {
    /// The name of the table in messages.
    pub(crate) table: &'static str,
    pub(crate) names: &'static [&'static str],
    /// Keys that a later version will support.
    later: &'static [&'static str],
}

pub(crate) const ROOT: TableKeys = TableKeys {
    table: "the top level",
    names: &["server", "defaults", "imds", "files", "profiles", "identities", "clients", "notify", "audit"],
    later: &[],
};

pub(crate) const SERVER: TableKeys = TableKeys {
    table: "[server]",
    names: &[
        "listen",
        "allow_remote",
        "allowed_hosts",
        "token_file",
        "token_group",
        "auth_token",
        "auth_token_file",
        "max_connections",
        "token_overlap",
        "switchable",
        "switch_lifetime",
    ],
    later: &[],
};

pub(crate) const IMDS: TableKeys =
    TableKeys { table: "[imds]", names: &["listen", "identity", "allow_v1"], later: &[] };

pub(crate) const AUDIT: TableKeys = TableKeys { table: "[audit]", names: &["file", "to", "required"], later: &[] };

pub(crate) const FILES: TableKeys =
    TableKeys { table: "[files]", names: &["trusted_owners", "trusted_folders"], later: &[] };

pub(crate) const NOTIFY: TableKeys = TableKeys { table: "[notify]", names: &["command"], later: &[] };

pub(crate) const PROFILES: TableKeys =
    TableKeys { table: "[profiles]", names: &["serve", "idle", "credentials_file", "config_file"], later: &[] };

pub(crate) const DEFAULTS: TableKeys = TableKeys {
    table: "[defaults]",
    names: &["on_failure", "eager", "long_lived_keys", "session_duration", "long_lived_expiration", "load_timeout"],
    later: &[],
};

pub(crate) const IDENTITY: TableKeys = TableKeys {
    table: "[identities.NAME]",
    names: &[
        "sources",
        "on_failure",
        "eager",
        "long_lived_keys",
        "session_duration",
        "long_lived_expiration",
        "load_timeout",
        "max_lifetime",
        "assume",
    ],
    later: &[],
};

/// The role that is assumed with the credentials of an identity's sources.
pub(crate) const ASSUME: TableKeys = TableKeys {
    table: "assume",
    names: &[
        "role_arn",
        "external_id",
        "session_name",
        "duration",
        "policy",
        "policy_file",
        "policy_arns",
        "tags",
        "source_identity",
    ],
    later: &[],
};

pub(crate) const CLIENT: TableKeys = TableKeys {
    table: "[clients.NAME]",
    names: &["token", "token_file", "token_files", "identities", "users"],
    later: &["metrics"],
};

pub(crate) const SOURCE: TableKeys = TableKeys {
    table: "a source",
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
        "policy",
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

pub(crate) const ALL: [&TableKeys; 12] =
    [&ROOT, &SERVER, &AUDIT, &IMDS, &FILES, &NOTIFY, &PROFILES, &DEFAULTS, &IDENTITY, &ASSUME, &CLIENT, &SOURCE];

impl TableKeys {
    /// Returns an error message if this table does not have the key.
    pub(crate) fn refuse(&self, key: &str) -> Option<String> {
        if self.names.contains(&key) {
            return None;
        }
        if self.later.contains(&key) {
            return Some("not supported yet; remove it".into());
        }
        // The top level has tables, which a key of another table hardly names.
        let names = || self.names.iter().copied();
        let meant = if self.table == ROOT.table { nearest(key, names()) } else { almost(key, names()) };
        if let Some(meant) = meant {
            return Some(format!("unknown key; did you mean `{meant}`?"));
        }
        let elsewhere: Vec<_> = ALL.iter().filter(|keys| keys.names.contains(&key)).map(|keys| keys.table).collect();
        Some(if !elsewhere.is_empty() {
            format!("unknown key here; it belongs to {}", elsewhere.join(" or "))
        } else if let Some(nearest) = nearest(key, self.names.iter().copied()) {
            format!("unknown key; did you mean `{nearest}`?")
        } else {
            format!("unknown key; {} has {}", self.table, self.names.join(", "))
        })
    }
}
