"""A strict instance metadata service, version 2, on loopback.

No real service offers one outside EC2. This fake refuses the requests that the real one refuses:

* a session token is fetched by PUT with a lifetime of 1 to 21600 seconds (400 otherwise), never through a proxy
  (`X-Forwarded-For`: 403), and the response names that lifetime in its header;
* every GET needs an unexpired token of this service (401 otherwise);
* an unknown path is 404, a wrong method 405.

`test_counterparts.py` tests it with boto3 and the AWS SDK for Rust: both must be able to use it directly.
"""

import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from serving import Handler, HttpService

TOKEN_PATH = "/latest/api/token"
ROLES_PATH = "/latest/meta-data/iam/security-credentials"
LONGEST_SESSION = 21600
REGION = "eu-central-1"
ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Credentials:
    """The contents of a role's document. `expiration` is in UTC."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    token: str = field(repr=False)
    expiration: datetime

    def document(self) -> dict:
        stamp = "%Y-%m-%dT%H:%M:%SZ"
        return {
            "Code": "Success",
            "LastUpdated": datetime.now(timezone.utc).strftime(stamp),
            "Type": "AWS-HMAC",
            "AccessKeyId": self.access_key_id,
            "SecretAccessKey": self.secret_access_key,
            "Token": self.token,
            "Expiration": self.expiration.astimezone(timezone.utc).strftime(stamp),
        }


@dataclass
class Fault:
    """A fault of requests below `prefix`, `times` times (None: until cleared)."""

    prefix: str
    times: int | None
    status: int | None = None
    delay: float = 0.0


@dataclass(frozen=True)
class Request:
    """A request as it was received, and the status of the response."""

    method: str
    path: str
    headers: dict
    status: int


class Imds(HttpService):
    """The service. A context manager: it listens inside `with`."""

    def __init__(self, credentials: Credentials, role: str = "instance-role"):
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._credentials = credentials
        self._role: str | None = role
        self._sessions: dict[str, float] = {}
        self._faults: list[Fault] = []
        super().__init__(_Handler)

    @property
    def endpoint(self) -> str:
        """For AWS_EC2_METADATA_SERVICE_ENDPOINT. Some clients need the final slash, all accept it."""
        return f"{super().endpoint}/"

    def rotate(self, credentials: Credentials) -> None:
        with self._lock:
            self._credentials = credentials

    def set_role(self, role: str | None) -> None:
        with self._lock:
            self._role = role

    def fail(self, status: int, times: int | None = 1, prefix: str = "/") -> None:
        with self._lock:
            self._faults.append(Fault(prefix, times, status=status))

    def delay(self, seconds: float, times: int | None = 1, prefix: str = "/") -> None:
        with self._lock:
            self._faults.append(Fault(prefix, times, delay=seconds))

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def forget_sessions(self) -> None:
        with self._lock:
            self._sessions.clear()

    def seen(self, method: str, prefix: str = "/") -> list[Request]:
        """The requests with this method below this path, in order."""
        with self._lock:
            return [r for r in self.requests if r.method == method and r.path.startswith(prefix)]

    # For the handler.

    def record(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def take_fault(self, path: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if not path.startswith(fault.prefix):
                    continue
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._faults.remove(fault)
                return fault
            return None

    def open_session(self, seconds: int) -> str:
        token = secrets.token_urlsafe(40)
        with self._lock:
            self._sessions[token] = time.monotonic() + seconds
        return token

    def session_is_open(self, token: str | None) -> bool:
        with self._lock:
            return token is not None and self._sessions.get(token, 0.0) > time.monotonic()

    def lookup(self, path: str) -> tuple[str, str] | None:
        """Returns content type and body of a metadata path, or None if it is unknown."""
        with self._lock:
            role, credentials = self._role, self._credentials
        if role is not None and path in (ROLES_PATH, f"{ROLES_PATH}/"):
            return "text/plain", role
        if role is not None and path == f"{ROLES_PATH}/{role}":
            return "text/plain", json.dumps(credentials.document(), indent=2)
        if path == "/latest/dynamic/instance-identity/document":
            document = {
                "accountId": ACCOUNT,
                "architecture": "x86_64",
                "availabilityZone": f"{REGION}a",
                "imageId": "ami-0abcdef1234567890",
                "instanceId": "i-0abcdef1234567890",
                "instanceType": "t3.micro",
                "pendingTime": "2026-01-01T00:00:00Z",
                "privateIp": "10.0.0.10",
                "region": REGION,
                "version": "2017-09-30",
            }
            return "text/plain", json.dumps(document, indent=2)
        if path == "/latest/meta-data/placement/region":
            return "text/plain", REGION
        if path.rstrip("/") == "/latest/meta-data/placement/availability-zone":
            return "text/plain", f"{REGION}a"
        return None


class _Handler(Handler):
    server_version = "EC2ws"
    sys_version = ""

    def do_PUT(self) -> None:
        self._drop_body()
        if self._faulty():
            return
        if self.path != TOKEN_PATH:
            return self._answer(405)
        if self.headers.get("X-Forwarded-For") is not None:
            return self._answer(403)
        lifetime = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not (lifetime.isascii() and lifetime.isdigit() and 1 <= int(lifetime) <= LONGEST_SESSION):
            return self._answer(400)
        token = self.server.service.open_session(int(lifetime))
        return self._answer(200, "text/plain", token, {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": lifetime})

    def do_GET(self) -> None:
        self._drop_body()
        if self._faulty():
            return
        if self.path == TOKEN_PATH:
            return self._answer(405)
        if not self.server.service.session_is_open(self.headers.get("X-aws-ec2-metadata-token")):
            return self._answer(401)
        found = self.server.service.lookup(self.path)
        if found is None:
            return self._answer(404)
        return self._answer(200, *found)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._drop_body()
        self._answer(405)

    do_DELETE = do_PATCH = do_POST

    def _drop_body(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _faulty(self) -> bool:
        fault = self.server.service.take_fault(self.path)
        if fault is None:
            return False
        time.sleep(fault.delay)
        if fault.status is None:
            return False
        self._answer(fault.status)
        return True

    def _answer(self, status: int, kind: str = "text/html", body: str | None = None, headers: dict | None = None) -> None:
        # Recorded before it is sent: a client with the response can see the record.
        self.server.service.record(Request(self.command, self.path, dict(self.headers.items()), status))
        content = f"<html><body><h1>{status}</h1></body></html>" if body is None else body
        try:
            self.answer(status, content, kind, headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has given up, because the service is slow


def in_seconds(seconds: float) -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)
