//! What requests go over.

use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

/// For the head of an answer. What hyper reads ahead of the body stays below it, too.
pub(crate) const LARGEST_HEAD: usize = 16 * 1024;

/// What a connection is made of.
pub(crate) trait UpstreamStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> UpstreamStream for S {}

/// A connection on its way.
pub(crate) type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn UpstreamStream>>> + Send>>;
