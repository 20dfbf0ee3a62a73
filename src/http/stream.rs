//! The byte stream of a connection.

use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

/// The maximum size of a response head. It also limits the buffer of hyper.
pub(crate) const LARGEST_HEAD: usize = 16 * 1024;

/// TCP, TLS, a tunnel of a proxy, or a stream of a test.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// A connection that is being opened.
pub(crate) type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send>>;
