//! TODO-ROOM-DOC

#[cfg(test)]
mod proxied;
#[cfg(test)]
mod trusted;
