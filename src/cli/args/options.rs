//! The global flags with their variables and help.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::cli::args::control::socket_path;
use crate::config::listen::ListenAddress;
use crate::config::users::Account;
use crate::config::value;
use crate::model::identity_name::IdentityName;
use crate::model::name_pattern::NamePattern;
use crate::model::secret::Secret;

const KEYS: &[&str] = &[
    "access_key_id",
    "access_key_id_file",
    "secret_access_key",
    "secret_access_key_file",
    "session_token",
    "session_token_file",
    "url",
    "url_file",
];

const REGION: &[&str] = &["region"];

pub(crate) const SOURCES: &[&[&str]] = &[KEYS, &["profile", "credentials_file", "config_file"], REGION];

/// The flags that the HTTP clients of a daemon do not use.
pub(crate) const UNUSED_BY_CLIENTS: &[&[&str]] = &[SOURCES[0], SOURCES[1], SOURCES[2], CONTROL_SOCKET];

pub(crate) const UNUSED_BY_LOGIN: &[&[&str]] = &[KEYS, REGION, SERVER[0], CONTROL_SOCKET];

/// `logout --all` asks a running daemon.
pub(crate) const UNUSED_BY_LOGOUT: &[&[&str]] = &[KEYS, REGION, SERVER[0]];

pub(crate) const SERVER: &[&[&str]] =
    &[&["listen", "allow_remote", "token_file", "token_group", "auth_token", "auth_token_file"], CONTROL_SOCKET];

/// The flags that `exec` and `get` do not use. They ask a running daemon for a session with MFA.
pub(crate) const LISTENING: &[&[&str]] = &[SERVER[0]];

/// The flags that the commands of the control socket do not use. The token file says where the socket is.
pub(crate) const UNUSED_BY_CONTROL: &[&[&str]] = &[
    KEYS,
    &["profile", "credentials_file", "config_file", "serve_profiles"],
    REGION,
    &["listen", "allow_remote", "token_group", "auth_token", "auth_token_file"],
];

pub(crate) const UNUSED_BY_FROM_SSO: &[&[&str]] = &[KEYS, &["profile"], SERVER[0], CONTROL_SOCKET];

/// The flags that `setup profile` does not use: a line of a profile holds no secret.
pub(crate) const UNUSED_BY_SETUP: &[&[&str]] = &[
    KEYS,
    &["serve_profiles", "listen", "allow_remote", "token_group", "auth_token", "auth_token_file"],
    CONTROL_SOCKET,
];

/// The control socket, for `serve` and the commands that ask a daemon.
const CONTROL_SOCKET: &[&str] = &["control_socket"];

/// The flags of the IMDS server. Only `serve` and `check` use them.
pub(crate) const IMDS: [&str; 3] = ["imds_listen", "imds_identity", "imds_allow_v1"];

/// The sources of the identity `default`.
#[derive(Args)]
#[command(next_help_heading = "Sources of the identity default")]
pub(crate) struct SourceOptions {
    /// Serve a key pair: the access key id
    #[arg(long, env = "CREDENZA_ACCESS_KEY_ID", value_name = "ID")]
    access_key_id: Option<Secret>,

    /// Read the access key id from a file (- is standard input)
    #[arg(long, env = "CREDENZA_ACCESS_KEY_ID_FILE", value_name = "FILE", value_parser = value::path)]
    access_key_id_file: Option<PathBuf>,

    /// Serve a key pair: the secret access key; other users see it in the process list
    #[arg(long, env = "CREDENZA_SECRET_ACCESS_KEY", value_name = "SECRET")]
    secret_access_key: Option<Secret>,

    /// Read the secret access key from a file (- is standard input)
    #[arg(long, env = "CREDENZA_SECRET_ACCESS_KEY_FILE", value_name = "FILE", value_parser = value::path)]
    secret_access_key_file: Option<PathBuf>,

    /// The session token, if the key pair is temporary; other users see it in the process list
    #[arg(long, env = "CREDENZA_SESSION_TOKEN", value_name = "TOKEN")]
    session_token: Option<Secret>,

    /// Read the session token from a file (- is standard input)
    #[arg(long, env = "CREDENZA_SESSION_TOKEN_FILE", value_name = "FILE", value_parser = value::path)]
    session_token_file: Option<PathBuf>,

    /// Serve the key pair in a URL, http://KEY:SECRET@HOST:PORT; other users see it in the process list
    #[arg(long, env = "CREDENZA_URL", value_name = "URL")]
    url: Option<Secret>,

    /// Read the URL from a file (- is standard input)
    #[arg(long, env = "CREDENZA_URL_FILE", value_name = "FILE", value_parser = value::path)]
    url_file: Option<PathBuf>,

    /// Serve this profile of the AWS shared files
    #[arg(long, env = "CREDENZA_PROFILE", value_name = "NAME", value_parser = value::profile)]
    pub(crate) profile: Option<Box<str>>,

    /// Read this file instead of ~/.aws/credentials
    #[arg(long, env = "CREDENZA_CREDENTIALS_FILE", value_name = "FILE", value_parser = value::path)]
    pub(crate) credentials_file: Option<PathBuf>,

    /// Read this file instead of ~/.aws/config
    #[arg(long, env = "CREDENZA_CONFIG_FILE", value_name = "FILE", value_parser = value::path)]
    pub(crate) config_file: Option<PathBuf>,

    /// Serve every profile with a matching name as an identity, from its first request on
    #[arg(
        long,
        env = "CREDENZA_SERVE_PROFILES",
        value_name = "PATTERN,…",
        value_parser = NamePattern::new,
        value_delimiter = ','
    )]
    pub(crate) serve_profiles: Vec<NamePattern>,

    /// Use this region instead of the sources' regions
    #[arg(long, env = "CREDENZA_REGION", value_name = "REGION", value_parser = value::region)]
    pub(crate) region: Option<Box<str>>,
}

/// The flags of the HTTP server.
#[derive(Args)]
#[command(next_help_heading = "Daemon (serve, check, and the commands that ask a running daemon)")]
pub(crate) struct ServerOptions {
    #[arg(
        help = "Listen on this address; repeat for more [default: 127.0.0.1:9733 and [::1]:9733]",
        long,
        env = "CREDENZA_LISTEN",
        value_name = "ADDRESS:PORT|unix:PATH",
        value_parser = value::listen_address,
        value_delimiter = ','
    )]
    pub(crate) listen: Vec<ListenAddress>,

    /// Allow addresses that other hosts can reach
    #[arg(long, env = "CREDENZA_ALLOW_REMOTE", value_parser = BoolishValueParser::new())]
    pub(crate) allow_remote: bool,

    /// Keep the auth token in this file; generated if missing
    #[arg(long, env = "CREDENZA_TOKEN_FILE", value_name = "FILE", value_parser = value::path)]
    pub(crate) token_file: Option<PathBuf>,

    /// Let this group (name or number) read the token file
    #[arg(long, env = "CREDENZA_TOKEN_GROUP", value_name = "GROUP", value_parser = value::account)]
    pub(crate) token_group: Option<Account>,

    /// The socket for grants and the other commands of the owner [default: control.sock beside the token file]
    #[arg(long, env = "CREDENZA_CONTROL_SOCKET", value_name = "PATH", value_parser = socket_path)]
    pub(crate) control_socket: Option<PathBuf>,

    /// Use this auth token and write no file; other users see it in the process list
    #[arg(long, env = "CREDENZA_AUTH_TOKEN", value_name = "TOKEN")]
    auth_token: Option<Secret>,

    /// Read the auth token from a file and write none (- is standard input)
    #[arg(long, env = "CREDENZA_AUTH_TOKEN_FILE", value_name = "FILE", value_parser = value::path)]
    auth_token_file: Option<PathBuf>,
}

/// The flags of the IMDS server.
#[derive(Args)]
#[command(next_help_heading = "IMDS server (serve, check), for programs that support only IMDS")]
pub(crate) struct ImdsOptions {
    #[arg(
        help = "Serve one identity on this address to every program that reaches it; repeat for more [default: none]",
        long,
        env = "CREDENZA_IMDS_LISTEN",
        value_name = "ADDRESS:PORT",
        value_parser = value::imds_address,
        value_delimiter = ','
    )]
    pub(crate) imds_listen: Vec<SocketAddr>,

    /// Serve this identity there, if its credentials have a session token [default: default]
    #[arg(long, env = "CREDENZA_IMDS_IDENTITY", value_name = "NAME", value_parser = value::identity)]
    pub(crate) imds_identity: Option<IdentityName>,

    /// Answer requests without an IMDS session token, too (IMDSv1)
    #[arg(long, env = "CREDENZA_IMDS_ALLOW_V1", value_parser = BoolishValueParser::new())]
    pub(crate) imds_allow_v1: bool,
}
