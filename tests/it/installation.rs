//! `packaging/install.sh` and `packaging/uninstall.sh`: the one removes what the other has installed, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::harness::program;

fn packaging(script: &str, arguments: &[&Path]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(script);
    let Output { status, stdout, stderr } = Command::new(script).args(arguments).output().unwrap();
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert!(status.success(), "{said}");
    said
}

/// Returns all files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn uninstall_leaves_configuration_and_foreign_files() {
    let root = tempfile::tempdir().unwrap();
    let (root, prefix) = (root.path(), Path::new("/usr/local"));
    let kept = ["etc/credenza/credenza.toml", "var/lib/credenza/.aws/credentials", "usr/local/bin/credenza-other"];
    let mut kept = kept.map(|path| root.join(path));
    for path in &kept {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "kept").unwrap();
    }
    packaging("install.sh", &[Path::new(program()), root, prefix]);
    let installed = files(root);
    for path in ["bin/credenza", "share/man/man1/credenza-get.1", "share/doc/credenza/docs/REMOVE.md"] {
        assert!(installed.contains(&root.join("usr/local").join(path)), "{path}");
    }
    let said = packaging("uninstall.sh", &[root, prefix]);
    let mut left = files(root);
    left.sort();
    kept.sort();
    assert_eq!(left, kept);
    for path in ["etc/credenza", "var/lib/credenza"] {
        assert!(said.contains(root.join(path).to_str().unwrap()), "{path}: {said}");
    }
    assert!(!root.join("usr/local/share").exists(), "empty folders are removed");
}
