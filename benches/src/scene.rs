//! Folders with a token, a configuration and shared files, and the broker started in them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::load::request;
use crate::process::Process;
use testkit::imds::Imds;

pub const TOKEN: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO";

/// How many profiles are served.
pub const SERVED: usize = 1000;

/// A home directory of its own.
pub struct Scene {
    home: TempDir,
    program: PathBuf,
}

impl Scene {
    pub fn new(program: &Path) -> io::Result<Self> {
        let home = tempfile::Builder::new().prefix("credenza-bench-").tempdir()?;
        fs::create_dir(home.path().join(".aws"))?;
        fs::write(home.path().join("token"), TOKEN)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(home.path().join("token"), mode)?;
        Ok(Self { home, program: program.to_owned() })
    }

    /// A profile named `default`, in a file of this many profiles.
    pub fn with_profiles(self, count: usize) -> io::Result<Self> {
        self.write_profiles(count, "0")?;
        Ok(self)
    }

    /// One identity for each of the first profiles: `p0`, `p1`, …
    pub fn with_identities(self, count: usize) -> io::Result<Self> {
        let mut text = String::new();
        for index in 0..count {
            let _ = writeln!(text, "[identities.p{index}]\nsources = [{{ profile = \"p{index}\" }}]");
        }
        self.write("credenza.toml", &text)?;
        Ok(self)
    }

    /// So many clients, each with a token of its own ([`client_token`]) and perhaps with our user. Each may have all
    /// identities.
    pub fn with_clients(self, count: usize, with_users: bool) -> io::Result<Self> {
        let users =
            if with_users { format!("users = [{}]\n", rustix::process::geteuid().as_raw()) } else { String::new() };
        let mut text = String::new();
        for index in 0..count {
            let token = client_token(index);
            let _ = write!(text, "[clients.c{index}]\ntoken = \"{token}\"\n{users}identities = [\"*\"]\n");
        }
        self.write("credenza.toml", &text)?;
        Ok(self)
    }

    /// The same with a file for each token.
    pub fn with_client_files(self, count: usize) -> io::Result<Self> {
        fs::create_dir(self.path("clients"))?;
        let mut text = String::new();
        for index in 0..count {
            let file = self.path("clients").join(index.to_string());
            fs::write(&file, client_token(index))?;
            let _ = writeln!(text, "[clients.c{index}]\ntoken_file = {file:?}\nidentities = [\"*\"]");
        }
        self.write("credenza.toml", &text)?;
        Ok(self)
    }

    /// All profiles are served: `base` with these keys, `hub`, a role that it assumes, and by halves those with keys of their
    /// own, `keys0`, …, and those with a role that `hub` assumes, `role0`, …. The roles are told.
    pub fn with_served_profiles(self, keys: (&str, &str), mut told: impl FnMut(&str)) -> io::Result<Self> {
        let (base, hub) = ("base", "arn:aws:iam::123456789012:role/hub");
        let mut text = format!("[{base}]\naws_access_key_id = {}\naws_secret_access_key = {}\n", keys.0, keys.1);
        let mut config = format!("[profile hub]\nrole_arn = {hub}\nsource_profile = {base}\n");
        told(hub);
        for index in 0..SERVED / 2 - 1 {
            let _ = write!(
                text,
                "[keys{index}]\naws_access_key_id = AKIA{index:016}\n\
                 aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfi{index:012}\n"
            );
            let role = format!("arn:aws:iam::123456789012:role/of-a-team-{index}");
            let _ = writeln!(config, "[profile role{index}]\nrole_arn = {role}\nsource_profile = hub");
            told(&role);
        }
        self.write(".aws/credentials", &text)?;
        self.write(".aws/config", &config)?;
        self.write("credenza.toml", "[profiles]\nserve = [\"*\"]\n")?;
        Ok(self)
    }

    /// A file of this home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Writes the credentials file anew, all at once, with this at the end of every key.
    pub fn write_profiles(&self, count: usize, key: &str) -> io::Result<()> {
        self.write(".aws/credentials", &Self::profiles(count, key))
    }

    /// A file of profiles `p0`, `p1`, … and `default`, each as `aws configure` writes it.
    pub fn profiles(count: usize, key: &str) -> String {
        let mut text = String::with_capacity(count * 150);
        for index in 0..count {
            let name = if index + 1 == count { "default".into() } else { format!("p{index}") };
            let _ = write!(
                text,
                "[{name}]\naws_access_key_id = AKIA{index:08}{key:0>8}\n\
                 aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfi{index:012}\nregion = eu-central-1\n\n"
            );
        }
        text
    }

    /// Writes a file beside and moves it into its place.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.home.path().join(name);
        let beside = path.with_extension("new");
        fs::write(&beside, text)?;
        fs::rename(beside, path)
    }

    /// The program in this home, with nothing of our own environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.surround(Command::new(&self.program));
        command.env("CREDENZA_TOKEN_FILE", self.home.path().join("token")).args(arguments);
        let config = self.home.path().join("credenza.toml");
        if config.exists() {
            command.env("CREDENZA_CONFIG", config);
        }
        command
    }

    /// Any program in this home, with nothing of our own environment.
    pub fn surround(&self, mut command: Command) -> Command {
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .current_dir(self.home.path());
        command
    }

    /// The daemon on a free port, whatever it has to serve.
    pub fn listen(&self, variables: &[(&str, &str)]) -> io::Result<Process> {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.envs(variables.iter().copied());
        Process::start(command)
    }

    /// The daemon on a free port, ready to answer: it has an identity `default`.
    pub fn serve(&self, variables: &[(&str, &str)]) -> io::Result<Process> {
        let process = self.listen(variables)?;
        let ready = request("/readyz", process.address, TOKEN);
        for _ in 0..1000 {
            if matches!(crate::load::ask(process.address, &ready)?, Some((200, _))) {
                return Ok(process);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(io::Error::other("not ready within 20 s"))
    }
}

/// `GET` of the first of these identities, in turn.
pub fn in_turn(count: usize, address: SocketAddr) -> Vec<Vec<u8>> {
    (0..count).map(|index| request(&format!("/credentials/p{index}"), address, TOKEN)).collect()
}

/// The token of a client, as long as [`TOKEN`].
pub fn client_token(index: usize) -> String {
    format!("client-{index:04}-{}", &TOKEN[12..])
}

/// A metadata service whose credentials last for hours.
pub fn upstream() -> io::Result<Imds> {
    let end =
        (OffsetDateTime::now_utc() + Duration::from_secs(6 * 3600)).replace_nanosecond(0).map_err(io::Error::other)?;
    let end = end.format(&Rfc3339).map_err(io::Error::other)?;
    let document = format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2026-11-23T15:00:00Z","AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"secret","Token":"session","Expiration":"{end}"}}"#
    );
    Ok(Imds::start("role", &document))
}
