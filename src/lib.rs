//! A local credential broker for AWS and S3: it finds credentials, keeps them fresh and serves them on localhost.
//!
//! The library finds the credentials; the program keeps and serves them. A [`Source`] is one place where credentials
//! may be. [`merge_credentials`] makes a [`Chain`] of sources in order of precedence; [`Chain::load`] looks them up. A
//! source reaches the outside only through a [`Context`].
//!
//! ```
//! use std::time::Duration;
//!
//! use credenza::{Context, EnvironmentCredentials, Outcome, StaticCredentials, merge_credentials};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let chain = merge_credentials([
//!     Box::new(EnvironmentCredentials::new()) as _,
//!     Box::new(StaticCredentials::new("AKIAEXAMPLE", "secret")) as _,
//! ]);
//! // The default context reaches nothing; `Context::from_environment()` reaches this process's environment.
//! let load = chain.load(&Context::default(), None, Duration::from_secs(10)).await;
//! match load.verdict {
//!     Outcome::Found { winner, credentials } => {
//!         assert_eq!((winner, &*credentials.access_key_id), (1, "AKIAEXAMPLE"));
//!     }
//!     outcome => panic!("{outcome:?}"),
//! }
//! # });
//! ```
//!
//! [`Context::from_environment`] reaches the variables, files and network of a process, and needs no configuration:
//! `examples/find_credentials.rs` finds the credentials of the person who runs it. With the cargo feature `aws-sdk`, a
//! `ChainProvider` gives the credentials of a chain to the AWS SDK for Rust (`examples/aws-sdk`).
//!
//! Futures of this crate need a tokio runtime with time and I/O enabled. `examples/` also shows an embedded chain, a
//! custom source, and a chain in an axum program. ARCHITECTURE.md describes the program.

mod audit;
mod aws;
mod cache;
mod cli;
mod config;
mod context;
mod daemon;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod lease;
mod login;
mod model;
mod os;
mod server;
mod shared_config;
mod source;
#[cfg(test)]
mod tests;

pub use crate::context::Context;
pub use crate::login::sso::session::SsoSession;
pub use crate::model::credentials::{Credentials, LoginEnd, SessionDetails};
pub use crate::model::error::{ErrorKind, SourceError};
pub use crate::model::location::Location;
pub use crate::model::outcome::{Attempt, AttemptResult, ChainLoad, Lookup, Outcome};
pub use crate::model::policy::{PolicyError, SessionPolicy};
pub use crate::model::secret::Secret;
pub use crate::model::text::InvalidText;
pub use crate::source::assume_role::AssumeRole;
pub use crate::source::chain::{Chain, merge_credentials};
pub use crate::source::container::ContainerCredentials;
pub use crate::source::environment::EnvironmentCredentials;
pub use crate::source::imds::MetadataCredentials;
pub use crate::source::process::ProcessCredentials;
pub use crate::source::profile::ConfigCredentials;
#[cfg(any(feature = "aws-sdk", test))]
pub use crate::source::sdk_provider::ChainProvider;
pub use crate::source::sign_in::SignInCredentials;
pub use crate::source::spec::{OnFailure, Program, RoleSpec, TextSource};
pub use crate::source::sso::SsoCredentials;
pub use crate::source::static_keys::StaticCredentials;
pub use crate::source::url::UrlCredentials;
pub use crate::source::web_identity::WebIdentityCredentials;
pub use crate::source::{BoxFuture, Source};

#[doc(hidden)]
pub use crate::cli::run::main;
