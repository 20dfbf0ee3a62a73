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

mod aws;
mod cache;
mod cli;
mod config;
mod context;
mod daemon;
mod http;
mod lease;
mod login;
mod model;
mod os;
mod server;
mod shared_config;
mod source;

pub use crate::source::assume_role::AssumeRole;
pub use crate::source::chain::merge_credentials;
pub use crate::source::container::ContainerCredentials;
pub use crate::source::environment::EnvironmentCredentials;
pub use crate::source::imds::MetadataCredentials;
pub use crate::source::process::ProcessCredentials;
pub use crate::source::profile::ConfigCredentials;
pub use crate::source::sign_in::SignInCredentials;
pub use crate::source::sso::SsoCredentials;
pub use crate::source::static_keys::StaticCredentials;
pub use crate::source::url::UrlCredentials;
pub use crate::source::web_identity::WebIdentityCredentials;

#[doc(hidden)]
pub use cli::run::main;
