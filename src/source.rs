//! What a source is: one place credentials come from, and its three answers.

pub mod assume_role;
pub mod container;
pub mod document;
pub mod endpoint;
pub mod environment;
pub mod imds;
pub mod keys;
pub mod process;
pub mod profile;
pub mod session_token;
pub mod sign_in;
pub mod spec;
pub mod sso;
pub mod url;
pub mod web_identity;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

pub use crate::answer::Answer;
use crate::aws::settings::Settings;
pub use crate::failure::{Failure, Kind};
use crate::world::World;

/// A future on the heap, so that sources of different types stand in one chain.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One place credentials come from.
///
/// A source reaches the outside through the [`World`] it is handed and nothing else, holds no lease, and never sleeps
/// longer than the deadline of its keeper allows: it is cancelled by dropping its future.
pub trait Source: Send + Sync + fmt::Debug {
    /// How logs, errors and `status` call it: `static`, `url`, `environment`, `profile dev`, `container`, `imds`.
    fn name(&self) -> &str;

    /// Looks for credentials now. Nothing is cached here but what makes the next look cheaper (a session token).
    fn load<'a>(&'a self, world: &'a World) -> Boxed<'a, Answer>;

    /// The region this source knows, asked lazily and apart from the credentials. A failure is `None`.
    fn region<'a>(&'a self, world: &'a World) -> Boxed<'a, Option<Box<str>>>;

    /// How services of AWS are called with what this source gives, when it is the base of a role.
    fn settings<'a>(&'a self, world: &'a World) -> Boxed<'a, Settings> {
        Box::pin(std::future::ready(Settings::of_environment(&world.environment)))
    }

    /// The same as [`Source::load`], and what the credentials stand on, from the base up, for `check`; nothing where that
    /// is this source alone.
    fn trace<'a>(&'a self, world: &'a World) -> Boxed<'a, (Vec<Hop>, Answer)> {
        Box::pin(async move { (Vec::new(), self.load(world).await) })
    }
}

/// One step on the way to credentials, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// What was done, where it is written.
    pub what: Box<str>,
    /// The access key that it gave, or why it gave none; `None` when it was not tried, for a step below it gave none.
    pub gave: Option<Result<Box<str>, Box<str>>>,
}

impl Hop {
    /// What was done, and the answer.
    pub fn new(what: impl Into<Box<str>>, answer: &Answer) -> Self {
        let gave = match answer {
            Answer::Found(credentials) => Ok(credentials.access_key_id.clone()),
            Answer::NotConfigured(why) => Err(why.to_string().into()),
            Answer::Failing(failure) => Err(failure.to_string().into()),
        };
        Self { what: what.into(), gave: Some(gave) }
    }

    /// What was not even tried.
    pub fn not_tried(what: impl Into<Box<str>>) -> Self {
        Self { what: what.into(), gave: None }
    }
}
