use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{Broker, program};

/// An empty home directory that other users cannot write.
pub struct Home(TempDir);

impl Home {
    #[allow(clippy::new_without_default, reason = "a default must not create a directory")]
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file below the home directory, and creates its folders.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Returns the auth token of the daemon.
    pub fn token(&self) -> String {
        fs::read_to_string(self.path().join("run/token")).unwrap()
    }

    /// Returns a command of the program in this home, without the environment of the test.
    pub fn command(&self, arguments: &[&str]) -> Command {
        super::let_children_get_signals();
        let mut command = Command::new(program());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("CREDENZA_TOKEN_FILE", self.path().join("run/token"))
            .env("RUST_LOG", "trace")
            .current_dir(self.path())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command until it exits.
    pub fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> CommandOutput {
        let output = self.command(arguments).envs(variables.iter().copied()).output().unwrap();
        CommandOutput {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts a daemon in this home, and waits until it listens.
    pub fn serve(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Broker {
        let mut command = self.command(&["serve"]);
        command.args(arguments).envs(variables.iter().copied());
        if !arguments.contains(&"--listen") && !variables.iter().any(|(name, _)| *name == "CREDENZA_LISTEN") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        Broker::start(command)
    }

    /// Writes `credenza.toml`, and starts a daemon that reads it.
    pub fn serve_config(&self, text: impl AsRef<[u8]>, variables: &[(&str, &str)]) -> Broker {
        self.write("credenza.toml", text);
        self.serve(&["--config", "credenza.toml"], variables)
    }
}

/// Returns a command that runs another one, in its folder and environment.
pub fn wrapped(outer: &[&str], inner: &Command) -> Command {
    let mut command = Command::new(outer[0]);
    command.args(&outer[1..]).arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(inner.get_current_dir().unwrap());
    command
}

/// The exit code and the output of a command.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl CommandOutput {
    /// Returns the standard output of a command that has succeeded.
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Returns the printed access key.
    pub fn key(&self) -> String {
        self.json()["AccessKeyId"].as_str().unwrap().to_owned()
    }
}
