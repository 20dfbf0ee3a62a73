//! What is measured, a file for each subject.

pub mod clients;
pub mod files;
pub mod flood;
pub mod idle;
pub mod instructions;
pub mod load;
pub mod memory;
pub mod profiles;
pub mod start;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::load::{ask, request};
use crate::process::Process;
use crate::scene::TOKEN;

/// What all measurements need.
pub struct Setting {
    /// The broker.
    pub program: PathBuf,
    /// The bare server.
    pub bare: PathBuf,
    /// The bare client.
    pub ask: PathBuf,
    /// The program that floods.
    pub flood: PathBuf,
    /// The AWS CLI, where there is one.
    pub aws: Option<PathBuf>,
    /// A Python that has boto3, where there is one.
    pub python: Option<PathBuf>,
    /// How many pairs of turns.
    pub rounds: usize,
    /// How long a turn lasts.
    pub turn: Duration,
    /// How much of what takes long by its number is done: 1 for a million requests.
    pub scale: f64,
}

impl Setting {
    /// A bare server that answers with the body that the broker gives for this target.
    fn beside(&self, broker: &Process, target: &str) -> io::Result<Process> {
        Process::start(self.bare_command(broker, target)?)
    }

    /// The command that starts this server.
    fn bare_command(&self, broker: &Process, target: &str) -> io::Result<Command> {
        let body = match ask(broker.address, &request(target, broker.address, TOKEN))? {
            Some((200, body)) => String::from_utf8(body).map_err(io::Error::other)?,
            other => return Err(io::Error::other(format!("no credentials: {other:?}"))),
        };
        let mut command = Command::new(&self.bare);
        command.env_clear().arg(body);
        Ok(command)
    }

    fn scaled(&self, count: u64) -> u64 {
        ((count as f64 * self.scale) as u64).max(1)
    }
}

/// The size of a file in bytes.
pub fn size(path: &Path) -> io::Result<f64> {
    Ok(path.metadata()?.len() as f64)
}
