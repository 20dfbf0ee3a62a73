use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::os::files::*;

const SOON: Duration = Duration::from_secs(5);

/// A folder with watched files, and the task that watches them.
struct WatchedFolder {
    root: PathBuf,
    files: Files,
    _folder: tempfile::TempDir,
    watching: tokio::task::JoinHandle<()>,
}

impl Drop for WatchedFolder {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

#[allow(clippy::disallowed_methods, reason = "aborted when the folder is dropped")]
fn watched_folder_with(adapt: impl FnOnce(Watcher) -> Watcher) -> WatchedFolder {
    let folder = tempfile::tempdir().unwrap();
    let (files, watcher) = Files::watched();
    let watching = tokio::spawn(adapt(watcher).run());
    WatchedFolder { root: folder.path().canonicalize().unwrap(), files, _folder: folder, watching }
}

fn watched_folder() -> WatchedFolder {
    watched_folder_with(|watcher| watcher)
}

impl WatchedFolder {
    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), text).unwrap();
    }

    /// Reads the file as a load does.
    async fn load(&self, name: &str) -> Option<String> {
        self.files.forget();
        let contents = self.files.read(&self.at(name)).await.ok()?;
        Some(String::from_utf8(contents.bytes.to_vec()).unwrap())
    }

    async fn changes(&self) -> bool {
        tokio::time::timeout(SOON, self.files.changed()).await.is_ok()
    }

    async fn stays(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(600), self.files.changed()).await.is_err()
    }
}

#[tokio::test]
async fn foreign_file_is_parsed_once_a_second() {
    if !rustix::process::geteuid().is_root() {
        assert!(testkit::harness::skip("only root can give a file to another user"));
        return;
    }
    let folder = watched_folder();
    let key = [FileRequest { path: folder.at("f"), required: true }];
    let parses = Arc::new(AtomicUsize::new(0));
    for (owner, is_paused) in [(0, false), (64002, true)] {
        folder.write("f", "0");
        std::os::unix::fs::chown(folder.at("f"), Some(owner), None).unwrap();
        let before = parses.load(Ordering::SeqCst);
        let began = std::time::Instant::now();
        let mut number = 0;
        while began.elapsed() < Duration::from_millis(1500) {
            number += 1;
            folder.write("f", &number.to_string());
            let parses = Arc::clone(&parses);
            let parse = move |_: Vec<Result<FileContents, FileError>>| parses.fetch_add(1, Ordering::SeqCst);
            folder.files.parsed(&key, parse, |_| 0).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let parses = parses.load(Ordering::SeqCst) - before;
        assert_eq!(parses <= 3, is_paused, "{parses} parses of a file of user {owner}");
    }
}

type Change = fn(&WatchedFolder);

#[tokio::test]
async fn notices_every_kind_of_change() {
    let table: &[(&str, Change, Change, Option<&str>)] = &[
        ("in place", |s| s.write("d/f", "1"), |s| s.write("d/f", "2"), Some("2")),
        (
            "write and rename",
            |s| s.write("d/f", "1"),
            |s| {
                s.write("d/new", "2");
                fs::rename(s.at("d/new"), s.at("d/f")).unwrap();
            },
            Some("2"),
        ),
        ("removed", |s| s.write("d/f", "1"), |s| fs::remove_file(s.at("d/f")).unwrap(), None),
        (
            "removed, then made",
            |s| s.write("d/f", "1"),
            |s| {
                fs::remove_file(s.at("d/f")).unwrap();
                s.write("d/f", "2");
            },
            Some("2"),
        ),
        ("appears", |s| fs::create_dir(s.at("d")).unwrap(), |s| s.write("d/f", "2"), Some("2")),
        ("appears with its folders", |_| {}, |s| s.write("d/f", "2"), Some("2")),
        (
            "folder replaced",
            |s| s.write("d/f", "1"),
            |s| {
                s.write("e/f", "2");
                fs::rename(s.at("d"), s.at("old")).unwrap();
                fs::rename(s.at("e"), s.at("d")).unwrap();
            },
            Some("2"),
        ),
        (
            "folder removed and made",
            |s| s.write("d/f", "1"),
            |s| {
                fs::remove_dir_all(s.at("d")).unwrap();
                s.write("d/f", "2");
            },
            Some("2"),
        ),
        (
            "link re-pointed",
            |s| {
                s.write("d/x", "1");
                s.write("e/y", "2");
                symlink(s.at("d/x"), s.at("d/f")).unwrap();
            },
            |s| {
                symlink(s.at("e/y"), s.at("d/tmp")).unwrap();
                fs::rename(s.at("d/tmp"), s.at("d/f")).unwrap();
            },
            Some("2"),
        ),
        (
            "behind a link",
            |s| {
                s.write("e/y", "1");
                fs::create_dir(s.at("d")).unwrap();
                symlink("../e/y", s.at("d/f")).unwrap();
            },
            |s| s.write("e/y", "2"),
            Some("2"),
        ),
        (
            "a volume of Kubernetes",
            |s| {
                s.write("d/v1/f", "1");
                s.write("d/v2/f", "2");
                symlink("v1", s.at("d/..data")).unwrap();
                symlink("..data/f", s.at("d/f")).unwrap();
            },
            |s| {
                symlink("v2", s.at("d/..tmp")).unwrap();
                fs::rename(s.at("d/..tmp"), s.at("d/..data")).unwrap();
                fs::remove_dir_all(s.at("d/v1")).unwrap();
            },
            Some("2"),
        ),
    ];
    for (name, before, after, expected) in table {
        let folder = watched_folder();
        before(&folder);
        folder.load("d/f").await;
        assert!(
            tokio::time::timeout(Duration::from_millis(50), folder.files.changed()).await.is_err(),
            "{name}: too soon"
        );
        after(&folder);
        assert!(folder.changes().await, "{name}");
        // One change may wake twice.
        while folder.load("d/f").await.as_deref() != *expected {
            assert!(folder.changes().await, "{name}");
        }
        // Later changes are noticed, too.
        folder.write("d/f", "3");
        assert!(folder.changes().await, "{name}, once more");
        assert_eq!(folder.load("d/f").await.as_deref(), Some("3"), "{name}");
    }
}

#[tokio::test]
async fn same_content_does_not_wake_readers() {
    let folder = watched_folder();
    folder.write("f", "1");
    folder.load("f").await;
    fs::read(folder.at("f")).unwrap();
    folder.write("f", "1");
    folder.write("other", "x");
    File::open(folder.at("f")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap_or_default();
    assert!(folder.stays().await);
}

#[tokio::test]
async fn burst_of_writes_is_one_change() {
    let folder = watched_folder();
    folder.write("f", "1");
    folder.load("f").await;
    for number in 0..100 {
        folder.write("f", &format!("x{number}"));
    }
    let mut loads = 0;
    while tokio::time::timeout(Duration::from_millis(800), folder.files.changed()).await.is_ok() {
        folder.load("f").await;
        loads += 1;
    }
    assert!((1..=2).contains(&loads), "{loads}");
    assert_eq!(folder.load("f").await.as_deref(), Some("x99"));
}

#[tokio::test]
async fn change_between_read_and_wait_is_not_lost() {
    for number in 0..20 {
        let folder = watched_folder();
        folder.write("f", "1");
        folder.load("f").await;
        folder.write("f", &format!("2{number}"));
        tokio::time::sleep(Duration::from_millis(number * 15)).await;
        assert!(folder.changes().await, "{number}");
    }
}

#[tokio::test]
async fn polling_notices_changes_without_events() {
    let folder = watched_folder_with(|watcher| watcher.polling(Duration::from_millis(100)).deaf());
    folder.write("d/f", "1");
    folder.load("d/f").await;
    folder.write("d/f", "22");
    assert!(folder.changes().await);
    assert_eq!(folder.load("d/f").await.as_deref(), Some("22"));
}

#[tokio::test]
async fn thousand_readers_share_a_parse_and_wake_for_their_part() {
    let folder = watched_folder();
    folder.write("f", "a=1 b=1");
    let parses = Arc::new(AtomicUsize::new(0));
    let key = [FileRequest { path: folder.at("f"), required: false }];
    let digest_of =
        |part: usize| move |text: &String| u64::try_from(text.split(' ').nth(part).map_or(0, str::len)).unwrap();
    let read = async |files: &Files, part: usize| {
        let counter = Arc::clone(&parses);
        let parse = move |contents: Vec<Result<FileContents, FileError>>| {
            counter.fetch_add(1, Ordering::SeqCst);
            contents.into_iter().map(|contents| String::from_utf8(contents.unwrap().bytes.to_vec()).unwrap()).collect()
        };
        files.forget();
        files.parsed::<String, _, _>(&key, parse, digest_of(part)).await
    };
    let readers: Vec<Files> = (0..1000).map(|_| folder.files.fresh()).collect();
    for (number, reader) in readers.iter().enumerate() {
        assert_eq!(*read(reader, number % 2).await, "a=1 b=1");
    }
    assert_eq!(parses.load(Ordering::SeqCst), 1);
    folder.write("f", "a=1 b=222");
    let mut woken = 0;
    for (number, reader) in readers.iter().enumerate() {
        let wait = if number % 2 == 1 { SOON } else { Duration::from_millis(if number == 0 { 600 } else { 1 }) };
        let changed = tokio::time::timeout(wait, reader.changed()).await.is_ok();
        assert_eq!(changed, number % 2 == 1, "{number}");
        woken += usize::from(changed);
    }
    assert_eq!((woken, parses.load(Ordering::SeqCst)), (500, 2));
    assert_eq!(*read(&readers[0], 0).await, "a=1 b=222");
    assert_eq!(parses.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn default_reaches_no_file() {
    let files = Files::default();
    assert_eq!(*files.read(Path::new("/dev/null")).await.unwrap_err().reason(), FileErrorReason::Unreachable);
    assert!(tokio::time::timeout(Duration::from_millis(10), files.changed()).await.is_err());
}
