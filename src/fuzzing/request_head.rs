//! Reads a request head from fuzzed bytes.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Uri};

/// Returns the request that the lines describe: the first is `METHOD TARGET`, each other one a header. Skips lines that
/// are not headers. `fill` gets each header value and returns the bytes to send.
pub(crate) fn parse(data: &[u8], fill: impl Fn(&[u8]) -> Vec<u8>) -> Option<Parts> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let (method, target) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let (mut request, ()) = http::Request::new(()).into_parts();
    (request.method, request.uri) = (method.parse().ok()?, target.parse::<Uri>().ok()?);
    for line in lines.take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(&fill(line[colon + 1..].trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers.append(name, value);
        }
    }
    Some(request)
}
