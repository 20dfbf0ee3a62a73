//! A table of paths. Each row is judged twice: from invented facts, and, as root, on real files with these owners.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};

use super::*;
use crate::os::files::contents::{FileReader, SMALL};
use crate::os::files::walk::walk;

const US: u32 = 64001;
const STRANGER: u32 = 64002;
const TRUSTED: u32 = 64003;
const NOBODY: u32 = 65534;

/// The path from its first folder on: `d` is a folder, `l` a symlink and `f` the file. An owner (root, us, stranger,
/// trusted or nobody) and a mode follow. `:private`, `:shared` and `:unknown` say what is known of its group, `:acl` that it has an ACL, `@proc`
/// and `@fuse=OWNER` where it is mounted. The result is the start of the reason, or nothing if the file is trusted.
const ROWS: &[(&str, &str)] = &[
    // Owners of the file.
    ("f root 644", ""),
    ("f root 600", ""),
    ("f root 444", ""),
    ("f us 600", ""),
    ("f us 644", ""),
    ("f us 400", ""),
    ("f us 0", ""),
    ("f us 755", ""),
    ("f us 4755", ""),
    ("f trusted 600", ""),
    ("f trusted 644", ""),
    ("f stranger 600", "belongs to user 64002"),
    ("f stranger 644", "belongs to user 64002"),
    ("f nobody 644", "belongs to user 65534"),
    // Modes of the file.
    ("f us 666", "may be written by all users (mode 0666; run chmod o-w, or"),
    ("f us 602", "may be written by all users"),
    ("f us 1666", "may be written by all users"),
    ("f root 666", "may be written by all users"),
    ("f root 646", "may be written by all users"),
    ("f trusted 606", "may be written by all users"),
    ("f us 664:private", ""),
    ("f us 620:private", ""),
    ("f root 664:private", ""),
    ("f us 664:shared", "may be written by group 7, which has other members (mode 0664; run chmod g-w)"),
    ("f us 664:unknown", "may be written by group 7, which has unknown members"),
    ("f root 660:shared", "may be written by group 7"),
    ("f trusted 660:shared", "may be written by group 7"),
    ("f us 640:shared", ""),
    ("f us 664:acl", "may be written by users that its ACL names (mode 0664; run chmod g-w, or setfacl -b)"),
    ("d us 775:acl/f us 600", "is in the folder "),
    // Owners of folders.
    ("d us 755/f us 600", ""),
    ("d us 700/f us 600", ""),
    ("d root 755/f us 600", ""),
    ("d root 755/f root 644", ""),
    ("d us 755/f root 644", ""),
    ("d trusted 755/f us 600", ""),
    ("d trusted 755/f trusted 644", ""),
    ("d stranger 755/f us 600", "is in the folder "),
    ("d stranger 700/f root 644", "is in the folder "),
    ("d stranger 555/f us 600", "is in the folder "),
    ("d us 755/d stranger 755/f us 600", "is in the folder "),
    ("d stranger 755/d us 700/f us 600", "is in the folder "),
    ("d us 755/d us 700/d us 700/f us 600", ""),
    ("d us 755/d root 755/d trusted 700/f us 600", ""),
    // Modes of folders.
    ("d us 777/f us 600", "is in the folder "),
    ("d us 702/f us 600", "is in the folder "),
    ("d root 777/f root 644", "is in the folder "),
    ("d us 777/d us 700/f us 600", "is in the folder "),
    ("d us 775:private/f us 600", ""),
    ("d us 770:private/d us 775:private/f us 664:private", ""),
    ("d us 775:shared/f us 600", "is in the folder "),
    ("d us 775:unknown/f us 600", "is in the folder "),
    ("d root 775:shared/f us 600", "is in the folder "),
    ("d root 775:private/f us 600", ""),
    // Sticky folders: only the owner of an entry can exchange it.
    ("d root 1777/f us 600", ""),
    ("d root 1777/d us 700/f us 600", ""),
    ("d root 3777/f root 644", ""),
    ("d root 1777/f stranger 644", "belongs to user 64002"),
    ("d root 1777/d stranger 755/f us 600", "is in the folder "),
    ("d us 1777/f us 600", ""),
    ("d stranger 1777/f us 600", "is in the folder "),
    ("d root 1775:shared/f us 600", ""),
    ("d root 1777/f us 666", "may be written by all users"),
    // Symlinks.
    ("l us/f us 600", ""),
    ("l root/f us 600", ""),
    ("l root/f root 644", ""),
    ("l trusted/f trusted 600", ""),
    ("l us/f stranger 600", "belongs to user 64002"),
    ("l stranger/f stranger 644", "is reached by the symlink "),
    ("l stranger/f us 600", "!is reached by the symlink "),
    ("l stranger/f root 600", "!is reached by the symlink "),
    ("l stranger/f trusted 644", "!is reached by the symlink "),
    ("l trusted/f us 600", "!"),
    ("l us/l stranger/f us 600", "!is reached by the symlink "),
    ("l us/l us/f us 600", ""),
    ("l stranger/d stranger 755/f us 600", "!is reached by the symlink "),
    ("l stranger/d us 755/f us 600", "!is reached by the symlink "),
    ("l us/d us 755/f us 600", ""),
    ("l us/d stranger 755/f us 600", "is in the folder "),
    ("d root 1777/l us/f us 600", ""),
    ("d root 1777/l stranger/f us 600", "!is reached by the symlink "),
    ("d us 777/l us/f us 600", "is in the folder "),
    ("d root 755/l root/d root 3777/l root/d root 755/f root 644", ""),
    // A user namespace: nobody is every user without a mapping.
    ("namespace d nobody 755/d nobody 755/d us 755/f us 600", ""),
    ("namespace d nobody 755/f root 644", ""),
    ("namespace d nobody 755/f nobody 644", "belongs to user 65534, which stands for every user"),
    ("namespace d nobody 755/f us 600", ""),
    ("namespace d nobody 777/d us 755/f us 600", "is in the folder "),
    ("namespace d nobody 1777/d us 755/f us 600", "is in the folder "),
    ("namespace d us 755/d nobody 755/f us 600", "is in the folder "),
    ("namespace l nobody/f us 600", "!is reached by the symlink "),
    ("namespace l nobody/f nobody 600", "is reached by the symlink "),
    ("namespace d nobody 755/d us 755/f nobody 600", "belongs to user 65534"),
    // File systems.
    ("f root 444@proc", "is on procfs or sysfs"),
    ("d root 555@proc/f us 600", "is in the folder "),
    ("f us 600@fuse=us", ""),
    ("f us 600@fuse=root", ""),
    ("f us 600@fuse=trusted", ""),
    ("f us 600@fuse=stranger", "is on a FUSE file system that user 64002 has mounted"),
    ("f root 600@fuse=unknown", "is on a FUSE file system that an unknown user has mounted"),
    ("d us 700@fuse=stranger/f us 600@fuse=stranger", "is in the folder "),
    // Folders of `trusted_folders`: the row starts in one.
    ("folder d us 777/f us 666", ""),
    ("folder d stranger 777/f stranger 777", ""),
    ("folder l us/f us 777", ""),
    ("folder d us 777/f us 600@proc", "is on procfs or sysfs"),
];

fn user(name: &str) -> Option<u32> {
    Some(match name {
        "root" => 0,
        "us" => US,
        "stranger" => STRANGER,
        "trusted" => TRUSTED,
        "nobody" => NOBODY,
        _ => return None,
    })
}

/// A row without its first word, and the policy for it.
fn policy(row: &str, start: &Path) -> (TrustPolicy, String) {
    let (word, rest) = row.split_once(' ').unwrap();
    let overflow = (word == "namespace").then_some(NOBODY);
    let folders = (word == "folder").then(|| start.to_owned()).into_iter().collect();
    let rest = if ["namespace", "folder"].contains(&word) { rest } else { row };
    (TrustPolicy { ours: US, owners: [TRUSTED].into(), folders, overflow }, rest.to_owned())
}

fn steps(row: &str, start: &Path) -> Vec<PathStep> {
    let mut path = start.to_owned();
    let steps = row.split('/').map(|step| {
        let (step, mount) = step.split_once('@').unwrap_or((step, ""));
        let (step, group) = step.split_once(':').unwrap_or((step, "unknown"));
        let words: Vec<&str> = step.split(' ').collect();
        let kind = match words[0] {
            "d" => StepKind::Folder,
            "l" => StepKind::Symlink,
            _ => StepKind::File,
        };
        let members: Option<Box<[u32]>> = match group {
            "private" => Some([US].into()),
            "shared" => Some([US, STRANGER].into()),
            _ => None,
        };
        let mount = match mount.split_once('=') {
            Some((_, name)) => MountKind::Fuse(user(name)),
            None if mount == "proc" => MountKind::Kernel,
            None => MountKind::Ordinary,
        };
        let at = path.join(if kind == StepKind::Symlink { "link" } else { "x" });
        if kind == StepKind::Folder {
            path.clone_from(&at);
        }
        let mode = words.get(2).map_or(0o777, |mode| u32::from_str_radix(mode, 8).unwrap());
        PathStep {
            path: at.into(),
            kind,
            uid: user(words[1]).unwrap(),
            gid: 7,
            mode,
            members,
            has_acl: group == "acl",
            mount,
        }
    });
    steps.collect()
}

/// Makes the files of a row below `start`, and returns the path that leads to the last.
fn make(steps: &[PathStep], start: &Path) -> PathBuf {
    let mut here = start.to_owned();
    let mut path = start.to_owned();
    let mut is_behind_link = false;
    for (number, step) in steps.iter().enumerate() {
        let made = here.join(format!("{number}"));
        match step.kind {
            StepKind::Folder => fs::create_dir(&made).unwrap(),
            StepKind::Symlink => symlink(format!("{}", number + 1), &made).unwrap(),
            StepKind::File => fs::write(&made, "x").unwrap(),
        }
        if !is_behind_link {
            path.push(made.file_name().unwrap());
        }
        is_behind_link = step.kind == StepKind::Symlink;
        if step.kind == StepKind::Folder {
            here = made;
        }
    }
    // From the end: a folder of another mode may refuse its entries.
    let mut here = start.to_owned();
    for (number, step) in steps.iter().enumerate() {
        let made = here.join(format!("{number}"));
        lchown(&made, Some(step.uid), Some(7)).unwrap();
        if step.kind != StepKind::Symlink {
            fs::set_permissions(&made, fs::Permissions::from_mode(step.mode)).unwrap();
        }
        if step.kind == StepKind::Folder {
            here = made;
        }
    }
    path
}

fn assert_judged(judged: Result<(), TrustError>, expected: &str, row: &str) {
    match judged {
        Ok(()) => assert_eq!(expected, "", "{row}"),
        Err(error) => {
            let error = error.to_string();
            assert!(!expected.is_empty() && error.starts_with(expected), "{row}: {error}");
        }
    }
}

#[test]
fn invented_paths_are_judged_by_the_table() {
    assert!(ROWS.len() >= 80, "{}", ROWS.len());
    for (row, expected) in ROWS {
        let start = Path::new("/start");
        let (policy, rest) = policy(row, start);
        let facts = PathFacts(steps(&rest, start).into());
        assert_judged(facts.trusted(&policy), expected.trim_start_matches('!'), row);
        assert_eq!(facts.foreign_symlink(US, policy.overflow).is_some(), expected.starts_with('!'), "{row}");
    }
}

#[test]
fn real_paths_are_judged_by_the_table() {
    if !rustix::process::geteuid().is_root() {
        assert!(testkit::harness::skip("only root can make files of several users"));
        return;
    }
    let mut count = 0;
    for (row, expected) in ROWS.iter().filter(|(row, _)| !row.contains([':', '@'])) {
        let start = tempfile::tempdir().unwrap();
        fs::set_permissions(start.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (policy, rest) = policy(row, start.path());
        let path = make(&steps(&rest, start.path()), start.path());
        let facts = walk(&path).unwrap().facts;
        assert_judged(facts.trusted(&policy), expected.trim_start_matches('!'), row);
        assert_eq!(facts.foreign_symlink(US, policy.overflow).is_some(), expected.starts_with('!'), "{row}");
        count += 1;
    }
    assert!(count >= 60, "{count}");
}

#[test]
fn kernel_files_are_not_trusted_and_foreign_links_not_followed() {
    let policy = TrustPolicy::default();
    let reads = |path: &Path| FileReader::default().read(path, SMALL).map(|read| read.facts.trusted(&policy));
    for path in ["/proc/self/cmdline", "/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"] {
        if Path::new(path).exists() {
            let error = reads(Path::new(path)).unwrap().unwrap_err().to_string();
            assert!(error.contains("procfs or sysfs"), "{path}: {error}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    symlink(format!("/proc/{}/cmdline", std::process::id()), &link).unwrap();
    assert!(reads(&link).unwrap().is_err());
    if rustix::process::geteuid().is_root() {
        lchown(&link, Some(STRANGER), None).unwrap();
        let error = reads(&link).unwrap_err().to_string();
        assert!(error.contains("of user 64002 leads to a file of user 0, so it is not followed"), "{error}");
    }
}

#[test]
fn foreign_links_lead_to_no_open_file_of_this_process() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, link) = (folder.path().join("secret"), folder.path().join("link"));
    fs::write(&secret, "hush").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let open = fs::File::open(&secret).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&open);
    for descriptor in ["/proc/self/fd", "/dev/fd"] {
        let path = format!("{descriptor}/{number}");
        let read = FileReader::default().read(Path::new(&path), SMALL).unwrap();
        assert_eq!((read.facts.0.len(), read.facts.trusted(&TrustPolicy::default()).is_ok()), (1, true), "{path}");
        let _ = fs::remove_file(&link);
        symlink(&path, &link).unwrap();
        assert!(FileReader::default().read(&link, SMALL).is_ok(), "a symlink of this user, {path}");
        if rustix::process::geteuid().is_root() {
            lchown(&link, Some(STRANGER), None).unwrap();
            let error = FileReader::default().read(&link, SMALL).unwrap_err().to_string();
            assert!(error.contains("of user 64002 leads to a file of user 0"), "{path}: {error}");
        }
    }
}

#[test]
fn group_bits_of_an_acl_do_not_count_as_a_private_group() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "x").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
    // Version 2, then tag, permissions and id of each entry (linux/posix_acl_xattr.h): user 64002 may write.
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 6, STRANGER), (4, 6, u32::MAX), (0x10, 6, u32::MAX), (0x20, 4, u32::MAX)];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend([&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&path, "system.posix_acl_access", &acl, flags).is_err() {
        assert!(testkit::harness::skip("the file system of temporary files has no ACLs"));
        return;
    }
    let error = walk(&path).unwrap().facts.trusted(&TrustPolicy::default()).unwrap_err().to_string();
    assert!(error.starts_with("may be written by users that its ACL names"), "{error}");
}

#[test]
fn symlinks_cannot_make_a_path_of_any_length() {
    let folder = tempfile::tempdir().unwrap();
    let mut here = folder.path().to_owned();
    for _ in 0..400 {
        here.push("x");
    }
    fs::create_dir_all(&here).unwrap();
    let inside = "x/".repeat(400);
    symlink(format!("{inside}b"), folder.path().join("a")).unwrap();
    symlink(folder.path().join("c"), here.join("b")).unwrap();
    symlink(format!("{inside}d"), folder.path().join("c")).unwrap();
    fs::write(here.join("d"), "x").unwrap();
    let error = FileReader::default().read(&folder.path().join("a"), SMALL).unwrap_err().to_string();
    assert!(error.to_lowercase().contains("name too long"), "{error}");
}
