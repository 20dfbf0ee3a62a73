//! Reads audit logs: the file, its rotated and compressed predecessors, and the lines of one that was cut off.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::bufread::MultiGzDecoder;
use serde_json::{Map, Value};

use crate::model::time::parse_timestamp;

/// The maximum length of a line in bytes. The log writes at most a few thousand.
const LONGEST_LINE: u64 = 64 * 1024;

/// An event as a reader of the log sees it. Unknown fields stay: a later version may have written it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AuditRecord {
    pub(crate) time: SystemTime,
    pub(crate) fields: Map<String, Value>,
}

impl AuditRecord {
    /// Parses a line. Returns `None` if it is no event.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(line) else { return None };
        let time = parse_timestamp(fields.get("time")?.as_str()?).ok()?;
        fields.get("event")?.as_str()?;
        Some(Self { time, fields })
    }

    /// Returns a field that is a text, or an empty text.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn event(&self) -> &str {
        self.text("event")
    }

    /// Returns the number of equal events behind the line.
    pub(crate) fn count(&self) -> u64 {
        self.fields.get("count").and_then(Value::as_u64).unwrap_or(1)
    }

    /// Returns the expiration that the client was told.
    pub(crate) fn expiration(&self) -> Option<SystemTime> {
        parse_timestamp(self.text("expiration")).ok()
    }

    /// Returns the HTTP status, or an empty text.
    pub(crate) fn status(&self) -> String {
        self.fields.get("status").and_then(Value::as_u64).map_or_else(String::new, |status| status.to_string())
    }
}

/// The events that a reader wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditFilter {
    pub(crate) since: Option<SystemTime>,
    pub(crate) until: Option<SystemTime>,
    pub(crate) client: Option<String>,
    pub(crate) identity: Option<String>,
}

impl AuditFilter {
    /// Returns true if the reader wants this event. An identity also means the one that a client named.
    pub(crate) fn wants(&self, record: &AuditRecord) -> bool {
        let is = |wanted: &Option<String>, names: &[&str]| {
            wanted.as_ref().is_none_or(|wanted| names.iter().any(|name| record.text(name) == wanted))
        };
        self.since.is_none_or(|since| since <= record.time)
            && self.until.is_none_or(|until| record.time < until)
            && is(&self.client, &["client"])
            && is(&self.identity, &["identity", "requested"])
    }
}

/// Returns the file and its rotated predecessors (`NAME.1`, `NAME.2.gz`, `NAME-20261123`), oldest first.
///
/// # Errors
/// If the folder cannot be read, or there is none of the files.
pub(crate) fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut rotated = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let other = entry.file_name().to_string_lossy().into_owned();
        let is_rotated = other.strip_prefix(&name).is_some_and(|rest| rest.starts_with(['.', '-']));
        let stat = entry.metadata()?;
        if is_rotated && stat.is_file() {
            rotated.push((stat.modified()?, entry.path()));
        }
    }
    rotated.sort();
    let mut files: Vec<_> = rotated.into_iter().map(|(_, path)| path).collect();
    if path.exists() || files.is_empty() {
        files.push(path.to_owned());
    }
    Ok(files)
}

/// Opens a file, and decompresses it if its content is gzip.
///
/// # Errors
/// If it cannot be read, or is compressed by another program.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::new(File::open(path)?);
    let head = file.fill_buf()?;
    if head.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(file))));
    }
    for (magic, program) in
        [(&[0xfd, b'7', b'z', b'X', b'Z'][..], "xz"), (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"), (b"BZh", "bzip2")]
    {
        if head.starts_with(magic) {
            let advice = format!("it is compressed with {program}; pipe it: {program} -dc FILE | credenza audit -");
            return Err(io::Error::new(io::ErrorKind::Unsupported, advice));
        }
    }
    Ok(Box::new(file))
}

/// Reads all lines. Returns the number of lines that are no event.
///
/// # Errors
/// If the reader fails.
pub(crate) fn read(mut reader: impl BufRead, mut visit: impl FnMut(AuditRecord)) -> io::Result<u64> {
    let mut unreadable = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(unreadable);
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == LONGEST_LINE {
            skip_line(&mut reader)?;
            unreadable += 1;
            continue;
        }
        match AuditRecord::parse(&line) {
            Some(record) => visit(record),
            None if line.trim_ascii().is_empty() => {}
            None => unreadable += 1,
        }
    }
}

/// Skips the rest of a line that is too long, without keeping it.
fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let (length, is_end) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), false),
        };
        reader.consume(length);
        if is_end {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn line(second: u32, client: &str) -> String {
        format!(
            "{{\"time\":\"2026-11-23T16:00:{second:02}.000Z\",\"event\":\"served\",\"client\":\"{client}\",\"count\":2}}\n"
        )
    }

    fn seconds(text: &[u8]) -> (Vec<u64>, u64) {
        let mut seen = Vec::new();
        let start = parse_timestamp("2026-11-23T16:00:00Z").unwrap();
        let unreadable = read(text, |record| seen.push(record.time.duration_since(start).unwrap().as_secs())).unwrap();
        (seen, unreadable)
    }

    #[test]
    fn reads_what_is_whole_and_counts_what_is_not() {
        let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(100_000));
        for (text, expected) in [
            (String::new(), (vec![], 0)),
            (line(1, "a") + &line(2, "b"), (vec![1, 2], 0)),
            (line(1, "a") + "{\"time\":\"2026\n\n" + &line(3, "b"), (vec![1, 3], 1)),
            (line(1, "a") + line(2, "b").trim_end(), (vec![1, 2], 0)),
            (line(1, "a") + &line(2, "b")[..30], (vec![1], 1)),
            (long + &line(4, "a"), (vec![4], 1)),
            ("[]\nnull\n{}\n{\"time\":1,\"event\":\"served\"}\n".to_owned() + &line(5, "a"), (vec![5], 4)),
        ] {
            assert_eq!(seconds(text.as_bytes()), expected, "{}", &text[..text.len().min(80)]);
        }
    }

    #[test]
    fn finds_rotated_and_compressed_files_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(line(1, "a").as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        for (age, name, content) in [
            (30, "audit.log.2.gz", &packed[..]),
            (20, "audit.log.1", line(2, "a").as_bytes()),
            (10, "audit.log-20261123", line(3, "a").as_bytes()),
            (40, "audit.logger", b"other"),
            (40, "other.log", b"other"),
            (0, "audit.log", line(4, "a").as_bytes()),
        ] {
            std::fs::write(at(name), content).unwrap();
            let file = File::options().write(true).open(at(name)).unwrap();
            file.set_modified(crate::os::clock::Clock::system().now() - Duration::from_secs(age)).unwrap();
        }
        let mut all = Vec::new();
        for path in files_of(&at("audit.log")).unwrap() {
            read(open(&path).unwrap(), |record| all.push(record.text("time")[17..19].to_owned())).unwrap();
        }
        assert_eq!(all, ["01", "02", "03", "04"]);
        std::fs::write(at("x.xz"), [0xfd, b'7', b'z', b'X', b'Z', 0]).unwrap();
        let Err(error) = open(&at("x.xz")) else { panic!() };
        assert!(error.to_string().contains("xz -dc FILE | credenza audit -"), "{error}");
    }

    #[test]
    fn filters_by_time_client_and_identity() {
        let record = |client: &str, requested: Option<&str>| {
            let mut fields = serde_json::json!({"time": "2026-11-23T16:00:00Z", "event": "served", "client": client, "identity": "prod"});
            if let Some(requested) = requested {
                fields["requested"] = requested.into();
            }
            AuditRecord::parse(fields.to_string().as_bytes()).unwrap()
        };
        let at = |text| parse_timestamp(text).ok();
        let of = |client: Option<&str>, identity: Option<&str>| AuditFilter {
            client: client.map(str::to_owned),
            identity: identity.map(str::to_owned),
            ..AuditFilter::default()
        };
        for (filter, wanted) in [
            (of(None, None), true),
            (of(Some("web"), Some("prod")), true),
            (of(Some("web"), Some("default")), true),
            (of(Some("job"), None), false),
            (of(None, Some("dev")), false),
            (AuditFilter { since: at("2026-11-23T16:00:00Z"), ..AuditFilter::default() }, true),
            (AuditFilter { since: at("2026-11-23T16:00:01Z"), ..AuditFilter::default() }, false),
            (AuditFilter { until: at("2026-11-23T16:00:00Z"), ..AuditFilter::default() }, false),
        ] {
            assert_eq!(filter.wants(&record("web", Some("default"))), wanted, "{filter:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut events = 0;
            let unreadable = read(&bytes[..], |_| events += 1).unwrap();
            prop_assert!(events + unreadable <= bytes.split(|byte| *byte == b'\n').count() as u64);
        }
    }
}
