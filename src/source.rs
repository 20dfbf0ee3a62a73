//! Credential sources: the trait, one file for each source, and the chain that merges them. [`profile`] builds the
//! source of a profile of the AWS shared files. [`build`] builds the chain of an identity from its configuration.

pub(crate) mod assume_role;
pub(crate) mod build;
pub(crate) mod chain;
pub(crate) mod container;
pub(crate) mod document;
pub(crate) mod endpoint;
pub(crate) mod environment;
pub(crate) mod exchange;
pub(crate) mod imds;
pub(crate) mod mfa_session;
pub(crate) mod narrow;
pub(crate) mod nesting;
pub(crate) mod policy_file;
pub(crate) mod process;
pub(crate) mod profile;
pub(crate) mod role_narrowing;
pub(crate) mod role_session;
#[cfg(any(feature = "aws-sdk", test))]
pub(crate) mod sdk_provider;
pub(crate) mod session_token;
pub(crate) mod sign_in;
pub(crate) mod spec;
pub(crate) mod sso;
pub(crate) mod static_keys;
pub(crate) mod store;
#[cfg(test)]
mod tests;
pub(crate) mod url;
pub(crate) mod web_identity;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::aws::settings::Settings;
use crate::context::Context;
use crate::model::outcome::{Lookup, TraceStep};

/// A boxed future, so that a chain can hold sources of different types.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A place credentials come from.
///
/// A source reaches the outside only through the [`Context`], and holds no lease. The caller sets the deadline, and
/// cancels a lookup by dropping the future.
pub trait Source: Send + Sync + fmt::Debug {
    /// Returns the name for logs, errors and `status`: `static`, `url`, `environment`, `profile dev`, `container`,
    /// `imds`.
    fn name(&self) -> &str;

    /// Looks credentials up now. A source keeps no credentials, only state that makes the next lookup cheaper, such as
    /// an IMDS session token.
    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup>;

    /// Returns the region that this source knows. The region is looked up on demand, apart from the credentials. `None`
    /// if it is unknown or the lookup fails; by default no region is known.
    fn region<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        Box::pin(std::future::ready(None))
    }

    /// Returns the settings for calls to AWS by a role that has this source as its base.
    #[doc(hidden)]
    fn settings<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Settings> {
        Box::pin(std::future::ready(Settings::of_environment(&context.environment)))
    }

    /// Looks credentials up like [`Source::load`], and returns the steps of the role chain from the base up, for
    /// `check`. The steps are empty if no role chain is involved.
    #[doc(hidden)]
    fn trace<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, (Vec<TraceStep>, Lookup)> {
        Box::pin(async move { (Vec::new(), self.load(context).await) })
    }
}
