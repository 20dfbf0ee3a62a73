"""Checks SigV4 signatures with code that shares nothing with the program or botocore."""

import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

AUTHORIZATION = (
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([\w-]+)/%s/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def signer(
    service: str,
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes,
    known: Callable[[str, str | None], tuple[str, str]],
) -> tuple[str, str]:
    """Returns the caller and the region of a request, or raises a Refusal.

    `known` returns the name and the secret for an access key id and a session token. Header names are in lower case.
    """
    given = re.fullmatch(AUTHORIZATION % service, headers.get("authorization", ""))
    if given is None:
        raise Refusal(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
    key, day, region, signed, signature = given.groups()
    names, token, at = signed.split(";"), headers.get("x-amz-security-token"), headers.get("x-amz-date", "")
    if not {"host", "x-amz-date"} <= set(names) or (token is not None and "x-amz-security-token" not in names):
        raise Refusal(403, "SignatureDoesNotMatch", "host, date and token have to be signed")
    now = datetime.now(timezone.utc)
    if not at.startswith(day) or abs(now - datetime.strptime(at + "+0000", "%Y%m%dT%H%M%SZ%z")) > timedelta(minutes=5):
        raise Refusal(403, "SignatureDoesNotMatch", "Signature expired or not yet current")
    caller, secret = known(key, token)
    parts = urlsplit(target)
    query = "&".join(sorted(word if "=" in word else f"{word}=" for word in parts.query.split("&") if word))
    lines = [f"{name}:{' '.join(headers.get(name, '').split())}" for name in names]
    request = "\n".join([method, parts.path or "/", query, *lines, "", signed, hashlib.sha256(body).hexdigest()])
    scope = f"{day}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", at, scope, hashlib.sha256(request.encode()).hexdigest()])
    signing_key = b"AWS4" + secret.encode()
    for part in (*scope.split("/"), text):
        signing_key = hmac.digest(signing_key, part.encode(), "sha256")
    if not hmac.compare_digest(signing_key.hex(), signature):
        raise Refusal(403, "SignatureDoesNotMatch", "The request signature we calculated does not match")
    return caller, region
