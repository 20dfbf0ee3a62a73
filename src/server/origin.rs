//! The origin of a request: the program at the other end of a connection, and the listener that it reached.

use std::net::IpAddr;
use std::sync::Arc;

use crate::audit::event::AuditPeer;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestOrigin {
    /// The proven user of the connection. `None` if nothing needs it, or the kernel does not tell it.
    pub(crate) user: Option<u32>,
    /// The process that connected to a Unix socket. `None` for a process of another pid namespace.
    pub(crate) pid: Option<i32>,
    pub(crate) address: Option<IpAddr>,
    /// The address or path of the listener.
    pub(crate) listener: Option<Arc<str>>,
}

impl RequestOrigin {
    /// Returns the program for the audit log.
    pub(crate) fn peer(&self) -> Option<AuditPeer> {
        let address = self.address.map(|address| address.to_canonical());
        let peer = AuditPeer { uid: self.user, pid: self.pid, address };
        (peer != AuditPeer::default()).then_some(peer)
    }
}

impl From<Option<u32>> for RequestOrigin {
    fn from(user: Option<u32>) -> Self {
        Self { user, ..Self::default() }
    }
}
