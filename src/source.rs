//! What a source is: one place credentials come from, and its three answers.

pub(crate) mod assume_role;
pub(crate) mod build;
pub(crate) mod chain;
pub(crate) mod container;
pub(crate) mod document;
pub(crate) mod endpoint;
pub(crate) mod environment;
pub(crate) mod imds;
pub(crate) mod process;
pub(crate) mod profile;
pub(crate) mod session_token;
pub(crate) mod sign_in;
pub(crate) mod spec;
pub(crate) mod sso;
pub(crate) mod static_keys;
pub(crate) mod url;
pub(crate) mod web_identity;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::aws::settings::Settings;
use crate::context::Context;
pub(crate) use crate::model::outcome::Lookup;
use crate::model::outcome::TraceStep;

/// A future on the heap, so that sources of different types stand in one chain.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One place credentials come from.
///
/// A source reaches the outside through the [`Context`] it is handed and nothing else, holds no lease, and never sleeps
/// longer than the deadline of its keeper allows: it is cancelled by dropping its future.
pub trait Source: Send + Sync + fmt::Debug {
    /// How logs, errors and `status` call it: `static`, `url`, `environment`, `profile dev`, `container`, `imds`.
    fn name(&self) -> &str;

    /// Looks for credentials now. Nothing is cached here but what makes the next look cheaper (a session token).
    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup>;

    /// The region this source knows, asked lazily and apart from the credentials. A failure is `None`.
    fn region<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Option<Box<str>>>;

    /// How services of AWS are called with what this source gives, when it is the base of a role.
    #[doc(hidden)]
    fn settings<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Settings> {
        Box::pin(std::future::ready(Settings::of_environment(&context.environment)))
    }

    /// The same as [`Source::load`], and what the credentials stand on, from the base up, for `check`; nothing where that
    /// is this source alone.
    #[doc(hidden)]
    fn trace<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, (Vec<TraceStep>, Lookup)> {
        Box::pin(async move { (Vec::new(), self.load(context).await) })
    }
}
