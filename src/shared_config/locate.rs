//! Finds the paths of the two files, and keeps the origin of each path.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The paths of both files. In the cache of parsed files a pair of paths is the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SharedFilePaths {
    /// The credentials file. `None` if no setting names it and the home directory is unknown.
    pub(crate) credentials: Option<SharedFilePath>,
    /// The config file. `None` if no setting names it and the home directory is unknown.
    pub(crate) config: Option<SharedFilePath>,
}

/// The path of one file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SharedFilePath {
    /// The path with `~` expanded. A relative path stays relative.
    pub(crate) path: PathBuf,
    pub(crate) origin: PathOrigin,
}

/// The setting that named a path. It decides the consequence of a missing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PathOrigin {
    /// A flag or credenza.toml: a missing file is an error.
    Named,
    /// An environment variable: a missing file is read as empty, with a warning, as in the SDKs.
    Variable(&'static str),
    /// The path is the default path: a missing file is normal.
    Default,
}

/// The paths that flags or credenza.toml name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamedPaths {
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) config: Option<PathBuf>,
}

/// A path begins with `~`, and the home directory is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot expand ~ in {path:?}: the home directory is unknown; set HOME, or write the full path")]
pub(crate) struct UnknownHome {
    pub(crate) path: PathBuf,
}

/// The variables that name the credentials file.
const CREDENTIALS_VARIABLES: [&str; 1] = ["AWS_SHARED_CREDENTIALS_FILE"];

/// The variables that name the config file, in order of precedence.
const CONFIG_VARIABLES: [&str; 2] = ["AWS_CONFIG_FILE", "AWS_SHARED_CONFIG_FILE"];

/// Returns the variables that [`locate`] reads for these named paths.
pub(crate) fn variables(named: &NamedPaths) -> Vec<&'static str> {
    let of_credentials = CREDENTIALS_VARIABLES.iter().filter(|_| named.credentials.is_none());
    of_credentials.chain(CONFIG_VARIABLES.iter().filter(|_| named.config.is_none())).copied().collect()
}

/// Finds the paths of both files: the named path, else the first variable that is not blank, else the file in `~/.aws`.
///
/// # Errors
/// A named path or a variable begins with `~` while the home directory is unknown.
pub(crate) fn locate(
    environment: &HashMap<String, String>,
    home: Option<&Path>,
    named: &NamedPaths,
) -> Result<SharedFilePaths, UnknownHome> {
    let file_path = |named: Option<&PathBuf>, variables: &[&'static str], default: &str| {
        let located = |path: &Path, origin| Ok(Some(SharedFilePath { path: expand(path, home)?, origin }));
        if let Some(path) = named {
            return located(path, PathOrigin::Named);
        }
        for variable in variables {
            match environment.get(*variable) {
                Some(path) if !path.trim().is_empty() => {
                    return located(Path::new(path), PathOrigin::Variable(variable));
                }
                _ => {}
            }
        }
        Ok(known(home).map(|home| SharedFilePath { path: home.join(default), origin: PathOrigin::Default }))
    };
    Ok(SharedFilePaths {
        credentials: file_path(named.credentials.as_ref(), &CREDENTIALS_VARIABLES, ".aws/credentials")?,
        config: file_path(named.config.as_ref(), &CONFIG_VARIABLES, ".aws/config")?,
    })
}

/// Replaces a leading `~`, alone or before a slash, by the home directory. A path such as `~name` is not expanded.
///
/// # Errors
/// The path has a `~` to expand, and the home directory is unknown.
pub(crate) fn expand(path: &Path, home: Option<&Path>) -> Result<PathBuf, UnknownHome> {
    match (path.strip_prefix("~"), known(home)) {
        (Ok(rest), Some(home)) if rest.as_os_str().is_empty() => Ok(home.to_owned()),
        (Ok(rest), Some(home)) => Ok(home.join(rest)),
        (Ok(_), None) => Err(UnknownHome { path: path.to_owned() }),
        (Err(_), _) => Ok(path.to_owned()),
    }
}

/// Returns the home directory unless it is empty: an empty `HOME` is no directory.
fn known(home: Option<&Path>) -> Option<&Path> {
    home.filter(|home| !home.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Option<&str> = Some("/home/a");

    fn located(
        variables: &[(&str, &str)],
        home: Option<&str>,
        named: &NamedPaths,
    ) -> Result<SharedFilePaths, UnknownHome> {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        locate(&environment, home.map(Path::new), named)
    }

    fn at(path: &str, origin: PathOrigin) -> Option<SharedFilePath> {
        Some(SharedFilePath { path: path.into(), origin })
    }

    #[test]
    fn finds_config_file_by_flag_variable_or_home() {
        let (first, second) = ("AWS_CONFIG_FILE", "AWS_SHARED_CONFIG_FILE");
        let cases = [
            (None, vec![], at("/home/a/.aws/config", PathOrigin::Default)),
            (None, vec![(first, "")], at("/home/a/.aws/config", PathOrigin::Default)),
            (None, vec![(first, "/c"), (second, "/d")], at("/c", PathOrigin::Variable(first))),
            (None, vec![(first, " \t"), (second, "/d")], at("/d", PathOrigin::Variable(second))),
            (None, vec![(first, "~/c")], at("/home/a/c", PathOrigin::Variable(first))),
            (None, vec![(first, "c d")], at("c d", PathOrigin::Variable(first))),
            (Some("/n"), vec![(first, "/c")], at("/n", PathOrigin::Named)),
            (Some("~/n"), vec![], at("/home/a/n", PathOrigin::Named)),
            (None, vec![("AWS_SHARED_CREDENTIALS_FILE", "/k")], at("/home/a/.aws/config", PathOrigin::Default)),
        ];
        for (named, variables, expected) in cases {
            let named = NamedPaths { config: named.map(PathBuf::from), credentials: None };
            assert_eq!(located(&variables, HOME, &named).unwrap().config, expected, "{named:?} {variables:?}");
        }
    }

    #[test]
    fn finds_credentials_file_by_its_own_settings() {
        let variable = "AWS_SHARED_CREDENTIALS_FILE";
        let cases = [
            (None, vec![], at("/home/a/.aws/credentials", PathOrigin::Default)),
            (None, vec![(variable, "/k")], at("/k", PathOrigin::Variable(variable))),
            (Some("n"), vec![(variable, "/k")], at("n", PathOrigin::Named)),
            (None, vec![("AWS_CONFIG_FILE", "/c")], at("/home/a/.aws/credentials", PathOrigin::Default)),
        ];
        for (named, variables, expected) in cases {
            let named = NamedPaths { credentials: named.map(PathBuf::from), config: Some("/other".into()) };
            assert_eq!(located(&variables, HOME, &named).unwrap().credentials, expected, "{named:?} {variables:?}");
        }
    }

    #[test]
    fn needs_home_for_default_path_and_tilde() {
        for home in [None, Some("")] {
            let nowhere = SharedFilePaths { credentials: None, config: None };
            assert_eq!(located(&[], home, &NamedPaths::default()), Ok(nowhere));
            let config = located(&[("AWS_CONFIG_FILE", "/c")], home, &NamedPaths::default()).unwrap().config;
            assert_eq!(config, at("/c", PathOrigin::Variable("AWS_CONFIG_FILE")));
            let error = located(&[("AWS_CONFIG_FILE", "~/c")], home, &NamedPaths::default()).unwrap_err();
            let text = "cannot expand ~ in \"~/c\": the home directory is unknown; set HOME, or write the full path";
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn expands_only_a_leading_tilde() {
        let cases = [("~", "/home/a"), ("~/", "/home/a"), ("~/b/~", "/home/a/b/~"), ("~b/c", "~b/c"), ("/~", "/~")];
        for (path, expected) in cases {
            let expanded = expand(Path::new(path), HOME.map(Path::new)).unwrap();
            assert_eq!(expanded.as_os_str(), expected, "{path}");
        }
        assert!(expand(Path::new("b"), None).is_ok());
    }
}
