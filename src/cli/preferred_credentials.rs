//! The credentials of the user's files that SDKs prefer to a container endpoint, and so to the broker.

use std::path::Path;

use crate::context::Context;
use crate::model::location::Location;
use crate::os::environment::Environment;
use crate::os::files::contents::FileError;
use crate::shared_config::locate::NamedPaths;
use crate::source::profile::files::ProfileFiles;
use crate::source::profile::plan;
use crate::source::profile::plan::link::{CredentialSource, Method};

/// The profile that SDKs use without `AWS_PROFILE`.
const DEFAULT: &str = "default";

/// The variable that names the configuration of boto 2, which botocore still reads before the container endpoint.
pub(crate) const BOTO_CONFIG: &str = "BOTO_CONFIG";

/// The files that botocore reads without `BOTO_CONFIG`.
const BOTO_FILES: [&str; 2] = ["/etc/boto.cfg", "~/.boto"];

/// Returns the line of the default profile that gives it credentials, in the shared files that SDKs read.
///
/// A role over `credential_source = EcsContainer` is left out: its base is the broker.
pub(crate) async fn of_default_profile(context: &Context) -> Option<Location> {
    let opened = ProfileFiles::open(context, &NamedPaths::default(), |_| 0).await.ok()?;
    let files = opened.files().ok()?;
    // SDKs know no file trust.
    match plan::plan(files, files.profile(DEFAULT)?, &|_| Ok(())) {
        Ok(link) => {
            let link = link?;
            let is_over_broker = matches!(&link.method, Method::Role { base, .. }
                if matches!(base.method, Method::CredentialSource(CredentialSource::EcsContainer)));
            (!is_over_broker).then_some(link.location)
        }
        Err(error) => error.location,
    }
}

/// A configuration of boto 2 that has keys, or may have keys because it cannot be read.
#[derive(Debug)]
pub(crate) enum BotoConfig {
    Keys(Location),
    Unreadable(FileError),
}

/// Returns the first configuration of boto 2 that has keys or cannot be read.
pub(crate) async fn of_boto_config(context: &Context) -> Option<BotoConfig> {
    let environment = &context.environment;
    let paths = match environment.variables().get(BOTO_CONFIG) {
        Some(named) if named.is_empty() => Vec::new(),
        Some(named) => vec![named.as_str()],
        None => BOTO_FILES.to_vec(),
    };
    for path in paths {
        let path = environment.expand(Path::new(path));
        match context.files.read(&path).await {
            Ok(contents) => {
                if let Some(line) = boto_keys(&String::from_utf8_lossy(&contents.bytes)) {
                    return Some(BotoConfig::Keys(Location::line(&path, line)));
                }
            }
            Err(error) if error.is_missing() => {}
            Err(error) => return Some(BotoConfig::Unreadable(error)),
        }
    }
    None
}

/// Returns the number of the line with the access key of `[Credentials]`, or of `[DEFAULT]`, which Python's configparser
/// adds to it. An indented line may be part of the value above it; it counts nevertheless.
fn boto_keys(text: &str) -> Option<usize> {
    let mut in_credentials = false;
    for (number, line) in (1..).zip(text.split(['\n', '\r']).map(str::trim)) {
        if let Some((section, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            in_credentials = section == "Credentials" || section == "DEFAULT";
        }
        let name = line.split(['=', ':']).next().unwrap_or_default();
        if in_credentials && name.trim_end().eq_ignore_ascii_case("aws_access_key_id") {
            return Some(number);
        }
    }
    None
}

/// Returns the variables of this shell that a `.env` file cannot unset, and that SDKs prefer to the broker.
pub(crate) fn of_variables<'a>(environment: &Environment, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.filter(|name| environment.get(name).is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::files::Files;

    #[test]
    fn finds_the_keys_of_boto_2() {
        for (text, line) in [
            ("[Credentials]\naws_access_key_id = A\n", Some(2)),
            ("[Boto]\naws_access_key_id = A\n[Credentials]\n# x\nAWS_ACCESS_KEY_ID: A\n", Some(5)),
            ("[Boto]\naws_access_key_id = A\n", None),
            ("[Credentials]\ngs_access_key_id = A\n", None),
            ("[Credentials] x\naws_access_key_id = A\n", Some(2)),
            (" [Credentials]\n  aws_access_key_id = A\n", Some(2)),
            ("[DEFAULT]\naws_access_key_id = A\n[Credentials]\n", Some(2)),
            ("[Credentials]\n#aws_access_key_id = A\n[Boto]\naws_access_key_id = A\n", None),
            ("", None),
        ] {
            assert_eq!(boto_keys(text), line, "{text}");
        }
    }

    #[tokio::test]
    async fn reports_a_boto_config_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boto");
        let environment = Environment::new([(BOTO_CONFIG, path.to_str().unwrap())]);
        let context = Context::new(environment, Files::unwatched());
        assert!(of_boto_config(&context).await.is_none(), "no file");
        std::fs::write(&path, "x".repeat(65 << 10)).unwrap();
        let Some(BotoConfig::Unreadable(error)) = of_boto_config(&context).await else { panic!() };
        assert_eq!(error.to_string(), format!("{}: it is larger than 64 kB", path.display()));
    }
}
