//! The address and the paths of the metadata service.

use crate::aws::settings::ConfiguredEndpoint;
use crate::http::url::Url;
use crate::model::error::SourceError;

pub(crate) const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
pub(crate) const V1_DISABLED: &str = "AWS_EC2_METADATA_V1_DISABLED";

pub(crate) const TOKEN: &str = "/latest/api/token";
pub(crate) const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
pub(crate) const IDENTITY: &str = "/latest/dynamic/instance-identity/document";

const EC2: &str = "http://169.254.169.254";

/// The maximum length of a role name. IAM allows 64 characters, and other services may allow more.
const MAX_ROLE_LENGTH: usize = 128;

/// Returns the configured endpoint, else the endpoint of EC2.
pub(crate) fn endpoint(configured: ConfiguredEndpoint) -> Result<Url, SourceError> {
    match configured {
        Some(endpoint) => endpoint.map_err(SourceError::from),
        None => Url::parse(EC2).map_err(|error| SourceError::misconfigured(error.to_string())),
    }
}

/// Returns the path of the credentials of the first role in this list. Instances have one role.
///
/// # Errors
/// The response to `request` has no valid role name.
pub(crate) fn role_path(list: &[u8], request: &str) -> Result<String, SourceError> {
    let text = std::str::from_utf8(list).unwrap_or_default();
    let role = text.lines().map(str::trim).find(|role| !role.is_empty()).unwrap_or_default();
    // Accept the characters that IAM allows in a role name; they need no escape in a path. An HTML page has other
    // characters.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if role.is_empty() || role.len() > MAX_ROLE_LENGTH || matches!(role, "." | "..") || !role.chars().all(allowed) {
        return Err(SourceError::unavailable(format!("{request}: the answer has no valid role name")));
    }
    Ok(format!("{ROLES}{role}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_role_names_one_path_segment() {
        for (list, role) in
            [("web", "web"), ("\r\nfirst \nsecond\n", "first"), ("a+b=c,d.e@f-g_h", "a+b=c,d.e@f-g_h"), ("...", "...")]
        {
            assert_eq!(role_path(list.as_bytes(), "").unwrap(), format!("{ROLES}{role}"), "{list}");
        }
        let long = "x".repeat(MAX_ROLE_LENGTH + 1);
        let odd =
            ["", "\n", "..", ".", "../../x", "a/b", "a b", "a\tb", "a\u{1b}[2Jb", "x?y", "x#z", "a%2Fb", "é", "<html>"];
        for list in odd.iter().map(|list| list.as_bytes()).chain([&b"\xff"[..], long.as_bytes()]) {
            let error = role_path(list, "GET x").unwrap_err();
            assert_eq!(&*error.to_string(), "GET x: the answer has no valid role name");
        }
    }
}
