//! Where the metadata service is, and how its paths are spelled.

use crate::aws::settings::ConfiguredEndpoint;
use crate::http::url::Url;
use crate::model::error::SourceError;

pub(crate) const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
pub(crate) const V1_DISABLED: &str = "AWS_EC2_METADATA_V1_DISABLED";

pub(crate) const TOKEN: &str = "/latest/api/token";
pub(crate) const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
pub(crate) const IDENTITY: &str = "/latest/dynamic/instance-identity/document";

const EC2: &str = "http://169.254.169.254";

/// IAM allows 64 characters.
const LONGEST_ROLE: usize = 128;

/// The service that somebody configured, or that of EC2.
pub(crate) fn endpoint(configured: ConfiguredEndpoint) -> Result<Url, SourceError> {
    match configured {
        Some(endpoint) => endpoint.map_err(SourceError::misconfigured),
        None => Url::parse(EC2).map_err(|bad| SourceError::misconfigured(bad.to_string())),
    }
}

/// The path of the credentials of the first role in this list; instances have one.
///
/// # Errors
/// When the answer of `tried` names no role that there could be.
pub(crate) fn role_path(list: &[u8], tried: &str) -> Result<String, SourceError> {
    let text = std::str::from_utf8(list).unwrap_or_default();
    let role = text.lines().map(str::trim).find(|role| !role.is_empty()).unwrap_or_default();
    // What IAM allows in the name of a role needs no escapes in a path, and HTML has other characters.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if role.is_empty() || role.len() > LONGEST_ROLE || matches!(role, "." | "..") || !role.chars().all(allowed) {
        return Err(SourceError::unavailable(format!("{tried}: the answer names no role that there could be")));
    }
    Ok(format!("{ROLES}{role}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_stay_one_segment_of_a_path() {
        for (list, role) in
            [("web", "web"), ("\r\nfirst \nsecond\n", "first"), ("a+b=c,d.e@f-g_h", "a+b=c,d.e@f-g_h"), ("...", "...")]
        {
            assert_eq!(role_path(list.as_bytes(), "").unwrap(), format!("{ROLES}{role}"), "{list}");
        }
        let long = "x".repeat(LONGEST_ROLE + 1);
        let odd =
            ["", "\n", "..", ".", "../../x", "a/b", "a b", "a\tb", "a\u{1b}[2Jb", "x?y", "x#z", "a%2Fb", "é", "<html>"];
        for list in odd.iter().map(|list| list.as_bytes()).chain([&b"\xff"[..], long.as_bytes()]) {
            let failure = role_path(list, "GET x").unwrap_err();
            assert_eq!(&*failure.to_string(), "GET x: the answer names no role that there could be");
        }
    }
}
