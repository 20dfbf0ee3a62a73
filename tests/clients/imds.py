"""A strict instance metadata service, version 2, on loopback.

No real service offers one outside EC2. This fake refuses the requests that the real one refuses:

* a session token is fetched by PUT with a lifetime of 1 to 21600 seconds (400 otherwise), never through a proxy
  (`X-Forwarded-For`: 403), and the response names that lifetime in its header;
* every GET needs an unexpired token of this service (401 otherwise);
* an unknown path is 404, a wrong method 405.

`test_counterparts.py` tests it with boto3 and the AWS SDK for Rust: both must be able to use it directly.

By hand:

    python3 tests/clients/imds.py --port 8169 --access-key-id ASIA… --secret-access-key … --token …

prints the variable to set, and then reads one command a line from standard input:

    rotate KEY SECRET TOKEN [SECONDS]    other credentials from now on
    role NAME | role                     the name of the role; without a name the instance has none (404)
    fail STATUS [TIMES] [PATH-PREFIX]    answer with this status, always if TIMES is 0 (default 1)
    delay SECONDS [TIMES] [PATH-PREFIX]  answer late
    clear                                no more faults
    forget                               invalidate all session tokens
"""

import argparse
import json
import secrets
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from serving import Serving

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


class Imds(Serving):
    """The service. A context manager: it listens inside `with`."""

    def __init__(self, credentials: Credentials, role: str = "instance-role", port: int = 0):
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._credentials = credentials
        self._role: str | None = role
        self._sessions: dict[str, float] = {}
        self._faults: list[Fault] = []
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.imds = self
        super().__init__(self._server)

    @property
    def endpoint(self) -> str:
        """For AWS_EC2_METADATA_SERVICE_ENDPOINT. Some clients need the final slash, all accept it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    imds: Imds


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "EC2ws"
    sys_version = ""
    # Head and body are sent in two writes; without this the second waits for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    server: _Server

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
        token = self.server.imds.open_session(int(lifetime))
        return self._answer(200, "text/plain", token, {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": lifetime})

    def do_GET(self) -> None:
        self._drop_body()
        if self._faulty():
            return
        if self.path == TOKEN_PATH:
            return self._answer(405)
        if not self.server.imds.session_is_open(self.headers.get("X-aws-ec2-metadata-token")):
            return self._answer(401)
        found = self.server.imds.lookup(self.path)
        if found is None:
            return self._answer(404)
        return self._answer(200, *found)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._drop_body()
        self._answer(405)

    do_DELETE = do_PATCH = do_POST

    def log_message(self, *_arguments) -> None:
        """The service keeps the requests instead."""

    def _drop_body(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _faulty(self) -> bool:
        fault = self.server.imds.take_fault(self.path)
        if fault is None:
            return False
        time.sleep(fault.delay)
        if fault.status is None:
            return False
        self._answer(fault.status)
        return True

    def _answer(self, status: int, kind: str = "text/html", body: str | None = None, headers: dict | None = None) -> None:
        # Recorded before it is sent: a client with the response can see the record.
        self.server.imds.record(Request(self.command, self.path, dict(self.headers.items()), status))
        content = (f"<html><body><h1>{status}</h1></body></html>" if body is None else body).encode()
        try:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has given up, because the service is slow


def in_seconds(seconds: float) -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


def _obey(imds: Imds, line: str) -> None:
    match line.split():
        case []:
            pass
        case ["rotate", key, secret, token]:
            imds.rotate(Credentials(key, secret, token, in_seconds(6 * 3600)))
        case ["rotate", key, secret, token, seconds]:
            imds.rotate(Credentials(key, secret, token, in_seconds(float(seconds))))
        case ["role"]:
            imds.set_role(None)
        case ["role", name]:
            imds.set_role(name)
        case ["fail", status, *rest]:
            imds.fail(int(status), *_how_often(rest))
        case ["delay", seconds, *rest]:
            imds.delay(float(seconds), *_how_often(rest))
        case ["clear"]:
            imds.clear()
        case ["forget"]:
            imds.forget_sessions()
        case _:
            raise ValueError(f"no such command: {line.strip()}")


def _how_often(rest: list[str]) -> tuple[int | None, str]:
    times = int(rest[0]) if rest else 1
    return (times or None), (rest[1] if len(rest) > 1 else "/")


def main() -> int:
    parser = argparse.ArgumentParser(description="a strict IMDSv2 on loopback", epilog="commands on standard input: see the top of this file")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--role", default="instance-role")
    parser.add_argument("--access-key-id", default="ASIAEXAMPLE000000001")
    parser.add_argument("--secret-access-key", default="example-secret")
    parser.add_argument("--token", default="example-session-token")
    parser.add_argument("--lifetime", type=float, default=6 * 3600, help="seconds until the credentials expire")
    given = parser.parse_args()
    credentials = Credentials(given.access_key_id, given.secret_access_key, given.token, in_seconds(given.lifetime))
    with Imds(credentials, given.role, given.port) as imds:
        print(f"export AWS_EC2_METADATA_SERVICE_ENDPOINT={imds.endpoint}", flush=True)
        try:
            for line in sys.stdin:
                try:
                    _obey(imds, line)
                    print("ok", flush=True)
                except ValueError as error:
                    print(f"error: {error}", flush=True)
            if not sys.stdin.isatty():
                threading.Event().wait()  # started without an input: serve until a signal
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
