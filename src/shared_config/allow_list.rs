//! The settings that a file of another user may give to the child of `exec`. Each has a check of its value.
//!
//! None of them names a program, a file or a host, and none turns off a setting of a trusted file.

use crate::shared_config::allow_list::ValueCheck::{Number, Region, Size, Words};
use crate::shared_config::section::Property;

/// The form of a value.
enum ValueCheck {
    /// One of these words, in upper or lower case.
    Words(&'static [&'static str]),
    Number,
    /// A number with a unit of bytes, or without one: `8MB`.
    Size,
    /// A host label: a region becomes part of host names.
    Region,
}

const BOOLEAN: ValueCheck = Words(&["true", "false"]);
const CHECKSUM: ValueCheck = Words(&["when_required", "when_supported"]);
const LEGACY_OR_REGIONAL: ValueCheck = Words(&["legacy", "regional"]);

const SETTINGS: &[(&str, ValueCheck)] = &[
    ("cli_binary_format", Words(&["base64", "raw-in-base64-out"])),
    ("cli_timestamp_format", Words(&["iso8601", "none", "wire"])),
    ("defaults_mode", Words(&["auto", "cross-region", "in-region", "legacy", "mobile", "standard"])),
    ("disable_request_compression", BOOLEAN),
    ("max_attempts", Number),
    ("output", Words(&["json", "off", "table", "text", "yaml", "yaml-stream"])),
    ("region", Region),
    ("request_checksum_calculation", CHECKSUM),
    ("response_checksum_validation", CHECKSUM),
    ("retry_mode", Words(&["adaptive", "legacy", "standard"])),
    ("s3_disable_multiregion_access_points", BOOLEAN),
    ("s3_us_east_1_regional_endpoint", LEGACY_OR_REGIONAL),
    ("s3_use_arn_region", BOOLEAN),
    ("sts_regional_endpoints", LEGACY_OR_REGIONAL),
    ("tcp_keepalive", BOOLEAN),
    ("use_dualstack_endpoint", BOOLEAN),
    ("use_fips_endpoint", BOOLEAN),
];

/// The sub-properties of `s3`.
const S3_SETTINGS: &[(&str, ValueCheck)] = &[
    ("addressing_style", Words(&["auto", "path", "virtual"])),
    ("max_concurrent_requests", Number),
    ("max_queue_size", Number),
    ("multipart_chunksize", Size),
    ("multipart_threshold", Size),
    ("us_east_1_regional_endpoint", LEGACY_OR_REGIONAL),
    ("use_accelerate_endpoint", BOOLEAN),
    ("use_arn_region", BOOLEAN),
    ("use_dualstack_endpoint", BOOLEAN),
];

/// Returns true if an untrusted file may give this property to the child.
pub(crate) fn allows(name: &str, property: &Property) -> bool {
    let mut below = property.sub_properties().peekable();
    if below.peek().is_none() {
        return is_in(SETTINGS, name, property.value());
    }
    name == "s3" && below.all(|(name, sub_property)| is_in(S3_SETTINGS, name, sub_property.value()))
}

fn is_in(list: &[(&str, ValueCheck)], name: &str, value: &str) -> bool {
    list.iter().any(|(allowed, check)| *allowed == name && check.accepts(value))
}

impl ValueCheck {
    fn accepts(&self, value: &str) -> bool {
        let is_number = |text: &str| (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Words(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
            Number => is_number(value),
            Size => {
                let unit = ["KB", "MB", "GB", "TB"].iter().find_map(|unit| value.strip_suffix(unit));
                is_number(unit.unwrap_or(value))
            }
            Region => {
                (1..=63).contains(&value.len())
                    && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                    && !value.starts_with('-')
                    && !value.ends_with('-')
            }
        }
    }
}
