//! Credenza, a local credential broker for AWS and S3.
//!
//! The data runs one way: a [`keeper`] owns a [`chain`] of [`source`]s, loads it ahead of time, and publishes a
//! [`lease`] on the [`board`]; the [`server`] sees the board and nothing else. What a source may reach is in its
//! [`world::World`]. ARCHITECTURE.md has the picture.
//!
//! As a library its public face are the sources and the way they are merged:
//!
//! ```
//! use credenza::{EnvironmentCredentials, StaticCredentials, chain::Verdict, merge_credentials, world::World};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let chain = merge_credentials([
//!     Box::new(EnvironmentCredentials::new()) as _,
//!     Box::new(StaticCredentials::new("AKIAEXAMPLE", "secret")) as _,
//! ]);
//! let outcome = chain.load(&World::default(), None, std::time::Duration::from_secs(10)).await;
//! assert!(matches!(outcome.verdict, Verdict::Found { winner: 1, .. }));
//! # });
//! ```

pub mod accounts;
pub mod answer;
pub mod arguments;
pub mod aws;
pub mod board;
pub mod broker;
pub mod catalogue;
pub mod chain;
pub mod chance;
pub mod clock;
pub mod command;
pub mod config;
pub mod credentials;
pub mod environment;
pub mod failure;
pub mod files;
pub mod identity;
pub mod keeper;
pub mod lease;
pub mod loader;
pub mod logging;
pub mod mfa;
pub mod open_files;
pub mod patience;
pub mod profiles;
pub mod schedule;
pub mod secret;
pub mod server;
pub mod service_manager;
pub mod sessions;
pub mod shared_files;
pub mod signals;
pub mod source;
pub mod sso;
pub mod supervisor;
pub mod terminal;
pub mod token;
pub mod token_cache;
pub mod upstream;
pub mod watch;
pub mod world;

pub use chain::merge_credentials;
pub use source::assume_role::AssumeRole;
pub use source::container::ContainerCredentials;
pub use source::environment::EnvironmentCredentials;
pub use source::imds::MetadataCredentials;
pub use source::keys::StaticCredentials;
pub use source::process::ProcessCredentials;
pub use source::profile::ConfigCredentials;
pub use source::sign_in::SignInCredentials;
pub use source::sso::SsoCredentials;
pub use source::url::UrlCredentials;
pub use source::web_identity::WebIdentityCredentials;
