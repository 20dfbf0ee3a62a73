//! Tests of the whole client against servers and proxies on loopback.

mod proxied;
mod trusted;
