//! The credentials of the user's files that SDKs prefer to a container endpoint, and so to the broker.

use std::path::Path;

use crate::context::Context;
use crate::model::location::Location;
use crate::os::environment::Environment;
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

/// Returns the line with keys in a configuration of boto 2.
pub(crate) async fn of_boto_config(context: &Context) -> Option<Location> {
    let environment = &context.environment;
    let paths = match environment.variables().get(BOTO_CONFIG) {
        Some(named) => vec![named.as_str()],
        None => BOTO_FILES.to_vec(),
    };
    for path in paths {
        let path = environment.expand(Path::new(path));
        if let Ok(contents) = context.files.read(&path).await
            && let Some(line) = boto_keys(&String::from_utf8_lossy(&contents.bytes))
        {
            return Some(Location::line(&path, line));
        }
    }
    None
}

/// Returns the number of the line with the access key of `[Credentials]`.
fn boto_keys(text: &str) -> Option<usize> {
    let mut in_credentials = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('[') {
            in_credentials = line.trim_end() == "[Credentials]";
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

    #[test]
    fn finds_the_keys_of_boto_2() {
        for (text, line) in [
            ("[Credentials]\naws_access_key_id = A\n", Some(2)),
            ("[Boto]\naws_access_key_id = A\n[Credentials]\n# x\nAWS_ACCESS_KEY_ID: A\n", Some(5)),
            ("[Boto]\naws_access_key_id = A\n", None),
            ("[Credentials]\ngs_access_key_id = A\n", None),
            ("", None),
        ] {
            assert_eq!(boto_keys(text), line, "{text}");
        }
    }
}
