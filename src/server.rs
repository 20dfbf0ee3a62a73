//! The HTTP side: listeners, connections, the door, the paths. It sees the board and nothing else.

pub mod answer;
pub mod connections;
pub mod descriptors;
pub mod guard;
mod head_timer;
pub mod leases;
pub mod listeners;
pub mod metadata;
pub mod protocol;
pub mod responses;
pub mod routes;
mod seats;
mod status;
