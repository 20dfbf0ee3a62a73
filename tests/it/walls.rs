//! The rooms of the source tree and the walls between them (ARCHITECTURE.md), read from the paths that each file names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms in layers. A room names only rooms of the layers before its own.
const LAYERS: &[&[&str]] = &[
    &["model"],
    &["os"],
    &["shared_config", "http", "cache", "audit"],
    &["context"],
    &["aws"],
    &["login"],
    &["source"],
    &["config"],
    &["lease"],
    &["server"],
    &["daemon"],
    &["cli"],
];

/// The rooms and modules that a room may name, where the layers would allow more.
const NARROW: &[(&str, &[&str])] = &[
    ("shared_config", &["model"]),
    ("config", &["model", "source::spec"]),
    ("config::load", &["os"]),
    ("config::users", &["os"]),
    (
        "server",
        &["model", "os", "shared_config", "http", "cache", "context", "aws", "login", "config", "lease", "audit"],
    ),
];

/// Modules of the crate that are not rooms: they name every room.
const OUTSIDE: &[&str] = &["fuzzing", "lib", "main", "tests"];

/// A file of `src` without comments and test code.
struct Module {
    /// For example `config::load`.
    path: String,
    code: String,
}

impl Module {
    fn room(&self) -> &str {
        self.path.split("::").next().unwrap_or_default()
    }
}

/// Returns the code without comments and without the items below `#[cfg(test)]` and `#[cfg(any(test, …))]`, and the names
/// of its test modules. The code is formatted: an item ends in the first line of its indentation that ends like an item.
fn production(text: &str) -> (String, Vec<String>) {
    let (mut code, mut tests) = (String::new(), Vec::new());
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let bare = line.trim_start();
        if bare.starts_with("#[cfg(test)]") || bare.starts_with("#[cfg(any(test") {
            let is_end = |item: &&str| indentation(item) == indentation(line) && item.ends_with([';', '}', ',']);
            let end = lines.find(is_end).unwrap_or_default();
            tests.extend(end.strip_prefix("mod ").and_then(|name| name.strip_suffix(';')).map(str::to_owned));
        } else if !bare.starts_with("//") {
            code.extend([line, "\n"]);
        }
    }
    (code, tests)
}

fn source_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Returns all modules with production code.
fn modules() -> Vec<Module> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&folder, &mut files);
    let (mut modules, mut tests) = (Vec::new(), BTreeSet::new());
    for file in files {
        let path = file.strip_prefix(&folder).unwrap().with_extension("");
        let path = path.components().map(|part| part.as_os_str().to_str().unwrap()).collect::<Vec<_>>().join("::");
        let (code, test_modules) = production(&fs::read_to_string(&file).unwrap());
        tests.extend(test_modules.into_iter().map(|name| if path == "lib" { name } else { format!("{path}::{name}") }));
        modules.push(Module { path, code });
    }
    let is_test = |path: &str| tests.iter().any(|test| path == test || path.starts_with(&format!("{test}::")));
    modules.retain(|module| !is_test(&module.path));
    modules
}

/// Returns the paths behind each `crate::`, at most three segments.
fn named_paths(code: &str) -> impl Iterator<Item = String> {
    code.match_indices("crate::").map(|(at, found)| {
        let path = code[at + found.len()..].split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | ':')).next();
        path.unwrap_or_default().split("::").take(3).collect::<Vec<_>>().join("::")
    })
}

fn is_below(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Returns the reason why a module must not name a path, if there is one.
fn broken_wall(module: &Module, named: &str) -> Option<String> {
    let layer = |room: &str| LAYERS.iter().position(|layer| layer.contains(&room));
    let (room, other) = (module.room(), named.split("::").next().unwrap_or_default());
    if room == other {
        return None;
    }
    let Some(own_layer) = layer(room) else { return Some(format!("{room} is not a room")) };
    let narrow: Vec<_> = NARROW.iter().filter(|(path, _)| is_below(&module.path, path)).collect();
    let is_narrow =
        !narrow.is_empty() && !narrow.iter().any(|(_, allowed)| allowed.iter().any(|it| is_below(named, it)));
    match layer(other) {
        None => Some("it is not a path below a room".to_owned()),
        Some(other_layer) if other_layer >= own_layer => Some(format!("{room} comes before {other}")),
        Some(_) if is_narrow => Some(format!("{room} may not name it")),
        Some(_) => None,
    }
}

#[test]
fn each_room_names_only_rooms_before_it() {
    let (mut broken, mut paths) = (Vec::new(), 0);
    for module in modules() {
        if OUTSIDE.contains(&module.room()) {
            continue;
        }
        for named in named_paths(&module.code) {
            paths += 1;
            let reason = broken_wall(&module, &named);
            broken.extend(reason.map(|reason| format!("{} names {named}: {reason}", module.path)));
        }
        // A path that begins with `super` could pass a wall unseen.
        let levels = module.path.split("::").count();
        let climbs = module.code.contains(&vec!["super::"; levels].concat());
        broken.extend(climbs.then(|| format!("{} climbs out of its room by super::", module.path)));
    }
    assert!(paths > 500, "only {paths} paths were found");
    assert!(broken.is_empty(), "{} paths break a wall:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn walls_hold_for_sample_paths() {
    let module = |path: &str| Module { path: path.to_owned(), code: String::new() };
    for (path, named, holds) in [
        ("os::files", "model::secret", true),
        ("model::secret", "os::files", false),
        ("http::client", "cache::key", false),
        ("aws::sts", "http::client", true),
        ("config::sources", "source::spec", true),
        ("config::sources", "source::spec::RoleSpec", true),
        ("config::sources", "source::specific", false),
        ("config", "os::environment", false),
        ("config::load", "os::files", true),
        ("config::loader", "os::files", false),
        ("config::load", "context", false),
        ("server::routes", "source::chain", false),
        ("server::routes", "lease::registry", true),
        ("shared_config::parser", "os::files", false),
        ("cli::run", "daemon", true),
        ("cli::run", "merge_credentials", false),
        ("cli::run", "", false),
        ("attic", "model", false),
    ] {
        assert_eq!(broken_wall(&module(path), named).is_none(), holds, "{path} names {named}");
    }
}

#[test]
fn test_code_and_comments_are_left_out() {
    let text = "
use crate::a;
/// crate::comment
fn lifetime<'a>(it: &'a str) -> crate::b::C<'a> {
    crate::b::new(it)
}
#[cfg(test)]
use crate::test_use;
enum Kind {
    #[cfg(test)]
    Fixed(crate::test_variant, u8),
    System(crate::c::D),
}
#[cfg(any(test, feature = \"fuzzing\"))]
#[must_use]
fn test_only(a: u8) {
    crate::test_function();
}
fn after() {
    crate::d();
}
#[cfg(test)]
mod outside;
#[cfg(test)]
mod tests {
    fn inside() {
        crate::test_module();
    }
}
";
    let (code, tests) = production(text);
    assert_eq!(named_paths(&code).collect::<Vec<_>>(), ["a", "b::C", "b::new", "c::D", "d"], "{code}");
    assert_eq!(tests, ["outside"]);
}

#[test]
fn each_type_name_is_defined_once() {
    let mut definitions = BTreeMap::<String, Vec<String>>::new();
    for module in modules() {
        for line in module.code.lines() {
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let is_item = !line.starts_with(' ');
            for pair in words.windows(2) {
                // An indented `type` belongs to an implementation of a trait.
                let defines = ["struct", "enum", "trait", "union"].contains(&pair[0]) || pair[0] == "type" && is_item;
                if defines && pair[1].starts_with(char::is_uppercase) {
                    definitions.entry(pair[1].to_owned()).or_default().push(module.path.clone());
                }
            }
        }
    }
    assert!(definitions.len() > 200, "only {} types were found", definitions.len());
    definitions.retain(|_, modules| modules.len() > 1);
    assert!(definitions.is_empty(), "{definitions:#?}");
}
