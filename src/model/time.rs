//! Timestamps as text.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An RFC 3339 timestamp in whole seconds of UTC with `Z`, the form that every SDK reads: `2026-11-23T16:00:00Z`.
///
/// Fractions of a second are cut, so that a served expiration is never later than the real one. RFC 3339 has no year
/// after 9999, so a later moment is printed as the end of 9998.
pub(crate) fn timestamp(at: SystemTime) -> String {
    let seconds = match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis().div_ceil(1000)).unwrap_or(i64::MAX),
    };
    let written = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|at| at.format(&Rfc3339).ok());
    written.unwrap_or_else(|| "9998-12-31T00:00:00Z".into())
}

/// Like [`timestamp`], with milliseconds: `2026-11-23T16:00:00.250Z`.
pub(crate) fn timestamp_in_milliseconds(at: SystemTime) -> String {
    let mut text = timestamp(at);
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    text.truncate(text.len() - 1);
    let _ = write!(text, ".{:03}Z", since.subsec_millis());
    text
}

/// Returns the moment that clients are told as this one, which is no later.
pub(crate) fn truncate_to_seconds(at: SystemTime) -> SystemTime {
    let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs())
}

/// Returns the end of a time that begins now. It is a whole second, as it is told: an answer shortly before it still tells
/// the future. A time of a second or more never ends at once.
pub(crate) fn end_after(now: SystemTime, lifetime: Duration) -> SystemTime {
    truncate_to_seconds(now + lifetime)
}

/// Reads an RFC 3339 timestamp of any offset, also of one without colon (`+0100`), as Python's `%z` writes it.
///
/// # Errors
/// The reason why the text is invalid. A missing time zone is an error, because a wrong guess would serve expired keys
/// for hours.
pub(crate) fn parse_timestamp(text: &str) -> Result<SystemTime, &'static str> {
    const FORM: &str = "is not a timestamp of the form 2026-11-23T16:00:00Z";
    let text = &*with_colon(text.trim());
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return if at.unix_timestamp() < 0 { Err("lies before 1970") } else { Ok(at.into()) };
    }
    match OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339) {
        Ok(_) => Err("has no time zone"),
        Err(_) => Err(FORM),
    }
}

/// Puts the colon into an offset without one.
fn with_colon(text: &str) -> Cow<'_, str> {
    let offset = text.len().checked_sub(5).and_then(|start| text.get(start..)).unwrap_or_default();
    let is_offset = offset.starts_with(['+', '-']) && offset[1..].bytes().all(|byte| byte.is_ascii_digit());
    match text.split_at_checked(text.len().saturating_sub(2)) {
        Some((before, minutes)) if is_offset => format!("{before}:{minutes}").into(),
        _ => text.into(),
    }
}

/// Reads the end of a session as login tools write it: as [`parse_timestamp`], also with a space for the `T`, or `UTC` for
/// the offset; or the seconds or milliseconds since 1970. Without a time zone it is UTC if `is_utc`, else an error.
///
/// # Errors
/// The reason why the text is no moment.
pub(crate) fn parse_session_end(text: &str, is_utc: bool) -> Result<SystemTime, &'static str> {
    /// A number of seconds from here on would be beyond the year 5000, so it counts milliseconds.
    const MILLISECONDS: u64 = 100_000_000_000;
    let text = &*text.trim().replace("+0000 UTC", "+0000");
    if let Ok(number) = text.parse::<u64>() {
        let since = if number < MILLISECONDS { Duration::from_secs(number) } else { Duration::from_millis(number) };
        return SystemTime::UNIX_EPOCH.checked_add(since).ok_or("is too large a number");
    }
    let mut written = text.strip_suffix("UTC").map_or_else(|| text.to_owned(), |text| format!("{}Z", text.trim()));
    if let Some((day, time)) = written.split_once(' ') {
        written = format!("{day}T{}", time.replace(' ', ""));
    }
    match parse_timestamp(&written) {
        Err("has no time zone") if is_utc => parse_timestamp(&format!("{written}Z")),
        moment => moment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn reads_ends_of_sessions_as_login_tools_write_them() {
        for text in [
            "2026-11-23T16:00:00Z",
            "2026-11-23T16:00:00.000Z",
            "2026-11-23T18:00:00+02:00",
            "2026-11-23T09:00:00-0700",
            "2026-11-23 16:00:00+00:00",
            "2026-11-23 16:00:00 +0000",
            "2026-11-23 16:00:00 +0000 UTC",
            "2026-11-23 16:00:00 UTC",
            " 1795449600 ",
            "1795449600000",
        ] {
            assert_eq!(parse_session_end(text, false), Ok(at(1_795_449_600)), "{text}");
        }
        let without_zone = "2026-11-23 16:00:00";
        assert_eq!(parse_session_end(without_zone, true), Ok(at(1_795_449_600)));
        assert_eq!(parse_session_end(without_zone, false), Err("has no time zone"));
        for bad in ["never", "é+0000", "16:00", "2026-11-23", "1e9", "-1", "18446744073709551615000"] {
            assert!(parse_session_end(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn prints_and_parses_timestamps() {
        assert_eq!(timestamp(at(1_795_449_600) + Duration::from_millis(999)), "2026-11-23T16:00:00Z");
        assert_eq!(timestamp(at(0) - Duration::from_millis(1)), "1969-12-31T23:59:59Z");
        assert_eq!(timestamp(at(1 << 40)), "9998-12-31T00:00:00Z");
        for (text, seconds) in [
            ("2026-11-23T16:00:00Z", 1_795_449_600),
            (" 2026-11-23T17:00:00+01:00 ", 1_795_449_600),
            ("2026-11-23T17:00:00+0100", 1_795_449_600),
            ("2026-11-23T16:00:00z", 1_795_449_600),
            ("1970-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(parse_timestamp(text), Ok(at(seconds)), "{text}");
        }
        assert_eq!(parse_timestamp("2026-11-23T16:00:00"), Err("has no time zone"));
        assert_eq!(parse_timestamp("1969-11-23T16:00:00Z"), Err("lies before 1970"));
        for bad in ["", "1795449600", "tomorrow", "2026-13-23T16:00:00Z", "99999-01-01T00:00:00Z"] {
            assert!(parse_timestamp(bad).unwrap_err().starts_with("is not"), "{bad}");
        }
    }
}
