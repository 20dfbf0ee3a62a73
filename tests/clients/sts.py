"""A strict STS on loopback. Its answers describe the request, so that two clients can be compared.

It checks the signature of AssumeRole and GetSessionToken with code that shares nothing with the program or botocore.
It has no state and derives its answer from the request: the same request of the same caller gets the same keys. Their
token spells the request (see `principal`), so that a test reads caller, role and parameters from the keys.

* a long-lived key is any `AKIA…` with the secret `secret_of` it;
* a temporary key was issued here; AssumeRole by such a caller lasts an hour at most, as on AWS;
* every role may be assumed, except `Denied…`, and `Guarded…` without the external id `ex`;
* a web identity token is any text that starts with `token-of-`; `expired-token` is refused as expired.

A path before the root, `/here`, names an endpoint of its own, and is part of the spelled token.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape

from serving import Handler, HttpService
from signature import Refusal, signer

ACCOUNT = "123456789012"
DEFAULT_REGION = "us-east-1"
STAMP = "%Y-%m-%dT%H:%M:%SZ"
SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}")
# AWS's ARNs, those of Dell's ECS, which has an STS as well, and those of a store that accepts any word, like MinIO.
ROLE = re.compile(r"(arn:aws[\w-]*:iam::\d{12}|urn:ecs:iam::\w+):role/[\w+=,.@/-]+|of-another-store[\w-]+/\w+")
POLICY_ARN = re.compile(r"PolicyArns\.member\.\d+\.arn")
DEFAULT_NAME = re.compile(r"botocore-session-\d+|credenza-[\w.-]+")


@dataclass(frozen=True)
class Issued:
    """A key pair, with a token if it is temporary."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


def secret_of(access_key_id: str) -> str:
    """The secret of a long-lived key, with characters that parsers and URLs often get wrong."""
    return f"of/{access_key_id}+="


def issue(principal: str) -> Issued:
    """The temporary keys of this principal."""
    digest = hashlib.sha256(principal.encode()).hexdigest()
    spelled = base64.urlsafe_b64encode(principal.encode()).decode()
    return Issued("ASIA" + digest[:16].upper(), digest[16:48] + "/+", f"{spelled}.{digest[48:]}")


def principal(token: str) -> str | None:
    """Returns the request that a token spells: `AKIABASE > Role(external=ex)`; None for a foreign token."""
    try:
        spelled = base64.urlsafe_b64decode(token.partition(".")[0]).decode()
    except ValueError:
        return None
    return spelled if issue(spelled).token == token else None


class Sts(HttpService):
    """A context manager: it listens inside `with`.

    `others` gives the caller and the secret for foreign keys and tokens; `session_token` gives the answer of
    GetSessionToken instead of keys of our own.
    """

    def __init__(
        self,
        others: Callable[[str, str | None], tuple[str, str] | None] = lambda _key, _token: None,
        session_token: Callable[[], Issued] | None = None,
    ):
        self.others = others
        self.session_token = session_token
        self.calls: list[tuple[str, str]] = []
        super().__init__(_Handler)

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[str, Issued, int]:
        """Action, keys, and their lifetime in seconds."""
        form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        action, version = form.pop("Action", ""), form.pop("Version", "")
        if version != "2011-06-15" or action not in PARAMETERS:
            raise Refusal(400, "InvalidAction", f"Could not find operation {action} for version {version}")
        policy_arns = [form.pop(name) for name in sorted(form) if action != "GetSessionToken" and POLICY_ARN.fullmatch(name)]
        if unknown := form.keys() - PARAMETERS[action]:
            raise Refusal(400, "ValidationError", f"no such parameter: {sorted(unknown)}")
        details = [f"policy={arn.rpartition('/')[2]}" for arn in policy_arns]
        if action == "AssumeRoleWithWebIdentity":
            if "authorization" in headers:
                raise Refusal(400, "ValidationError", "this operation is not signed")
            caller = f"web {_token(form)}"
        else:
            caller, region = signer("sts", "POST", path, headers, body, self._known)
            details += [f"region={region}"] if region != DEFAULT_REGION else []
        self.calls.append((action, caller))
        details += [f"at={path.strip('/')}"] if path.strip("/") else []
        if action == "GetSessionToken":
            seconds = int(form.get("DurationSeconds", 43200))
            if _is_temporary(caller) or not 900 <= seconds <= 129600:
                raise Refusal(403, "AccessDenied", "Cannot call GetSessionToken with session credentials, or for so long")
            return action, self.session_token() if self.session_token else issue(f"{caller} > session"), seconds
        return self._role(action, caller, form, details)

    def _role(self, action: str, caller: str, form: dict[str, str], details: list[str]) -> tuple[str, Issued, int]:
        arn, name = form.get("RoleArn", ""), form.get("RoleSessionName", "")
        if not ROLE.fullmatch(arn) or not SESSION_NAME.fullmatch(name):
            raise Refusal(400, "ValidationError", f"{arn!r} is no role or {name!r} no session name")
        role, seconds = arn.rpartition("/")[2], int(form.get("DurationSeconds", 3600))
        is_guarded = role.startswith("Guarded")
        if role.startswith("Denied") or (is_guarded and form.get("ExternalId") != "ex"):
            raise Refusal(403, "AccessDenied", f"{caller} is not authorized to perform: sts:{action} on {arn}")
        if not 900 <= seconds <= (3600 if _is_temporary(caller) else 43200):
            raise Refusal(400, "ValidationError", "The requested DurationSeconds exceeds what is allowed")
        told = {
            "external": form.get("ExternalId"),
            "name": None if DEFAULT_NAME.fullmatch(name) else name,
            "seconds": None if seconds == 3600 else seconds,
        }
        details = [f"{word}={value}" for word, value in told.items() if value is not None] + details
        suffix = f"({', '.join(details)})" if details else ""
        return action, issue(f"{caller} > {role}{suffix}"), seconds

    def _known(self, key: str, token: str | None) -> tuple[str, str]:
        return self.others(key, token) or known(key, token)


def known(key: str, token: str | None) -> tuple[str, str]:
    """Returns the caller's name and secret, or raises a Refusal."""
    if token is None and key.startswith("AKIA"):
        return key, secret_of(key)
    spelled = principal(token or "")
    if spelled is None or issue(spelled).access_key_id != key:
        raise Refusal(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
    return spelled, issue(spelled).secret_access_key


PARAMETERS = {
    "AssumeRole": {"RoleArn", "RoleSessionName", "ExternalId", "DurationSeconds", "SerialNumber", "TokenCode"},
    "AssumeRoleWithWebIdentity": {"RoleArn", "RoleSessionName", "WebIdentityToken", "DurationSeconds"},
    "GetSessionToken": {"DurationSeconds", "SerialNumber", "TokenCode"},
}


def _is_temporary(caller: str) -> bool:
    return " > " in caller or not caller.startswith(("AKIA", "web "))


def _token(form: dict[str, str]) -> str:
    token = form.get("WebIdentityToken", "")
    if token.strip() == "expired-token":
        raise Refusal(400, "ExpiredTokenException", "Token expired")
    if not re.fullmatch(r"token-of-\w+", token.strip()):
        raise Refusal(400, "InvalidIdentityToken", "The web identity token that was passed could not be validated")
    return token.strip()


class _Handler(Handler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            action, keys, seconds = self.server.service.answer(urlsplit(self.path).path, headers, body)
        except Refusal as refusal:
            kind = "Sender" if refusal.status < 500 else "Receiver"
            text = f"<Type>{kind}</Type><Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message>"
            return self._send(refusal.status, "ErrorResponse", f"<Error>{text}</Error>")
        end = (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime(STAMP)
        credentials = (
            f"<Credentials><AccessKeyId>{keys.access_key_id}</AccessKeyId>"
            f"<SecretAccessKey>{escape(keys.secret_access_key)}</SecretAccessKey>"
            f"<SessionToken>{escape(keys.token)}</SessionToken><Expiration>{end}</Expiration></Credentials>"
        )
        role = f"arn:aws:sts::{ACCOUNT}:assumed-role/x/y"
        who = "" if action == "GetSessionToken" else (
            f"<AssumedRoleUser><Arn>{role}</Arn><AssumedRoleId>AROAX:y</AssumedRoleId></AssumedRoleUser>"
        )  # fmt: skip
        self._send(200, f"{action}Response", f"<{action}Result>{credentials}{who}</{action}Result>")

    def _send(self, status: int, element: str, content: str) -> None:
        xmlns = 'xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'
        self.answer(status, f"<{element} {xmlns}>{content}</{element}>", "text/xml")
