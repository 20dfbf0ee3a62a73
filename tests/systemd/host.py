"""The booted host: its units, its users, and clients of the broker."""

import http.client
import json
import os
import pwd
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

PORT = 9733
TOKEN = Path("/run/credenza/token")
CONFIG = Path("/etc/credenza/credenza.toml")
ENVIRONMENT = Path("/etc/credenza/environment")
HOME = Path("/var/lib/credenza")
SERVICE, SOCKET = "credenza.service", "credenza.socket"
DROPINS = Path("/etc/systemd/system/credenza.service.d")


def run(*command: str, user: str | None = None, fails: bool = False, **options) -> subprocess.CompletedProcess:
    """Runs a command as root, or as a user with all groups of that user, and expects it to succeed, or to fail."""
    if user:
        account = pwd.getpwnam(user)
        groups = os.getgrouplist(user, account.pw_gid)
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups, "cwd": "/"}
    options.setdefault("timeout", 60)
    ended = subprocess.run(command, capture_output=True, text=True, **options)
    if fails == (ended.returncode == 0):
        raise AssertionError(f"{' '.join(command)} ended with {ended.returncode}: {ended.stdout}{ended.stderr}"[-1500:])
    return ended


def systemctl(*arguments: str, **options) -> str:
    return run("systemctl", *arguments, **options).stdout.strip()


def show(unit: str, name: str) -> str:
    """A property of a unit."""
    return systemctl("show", "--property", name, "--value", unit)


def main_pid() -> int:
    return int(show(SERVICE, "MainPID"))


def journal(unit: str = SERVICE) -> str:
    run("journalctl", "--sync")
    return run("journalctl", "--no-pager", "--unit", unit).stdout


def until(what: str, true: Callable[[], object], seconds: float = 15, every: float = 0.05):
    """Repeats the question until the answer is true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (answer := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; the last answer: {answer!r}")
        time.sleep(every)
    return answer


def ask(path: str = "/credentials", token: str | None = None, host: str = "127.0.0.1", seconds: float = 15) -> tuple[int, dict]:
    """Sends one request over a new connection; returns status and body. By default the token is the broker's."""
    connection = http.client.HTTPConnection(host, PORT, timeout=seconds)
    try:
        headers = {"Authorization": TOKEN.read_text() if token is None else token}
        connection.request("GET", path, headers=headers if headers["Authorization"] else {})
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body.startswith(b"{") else {}
    finally:
        connection.close()


def key(identity: str = "default", **options) -> str:
    """Returns the access key of this identity, or the error."""
    status, body = ask(f"/credentials/{identity}", **options)
    return body["AccessKeyId"] if status == 200 else f"{status} {body.get('code')}: {body.get('message')}"


def ask_as(user: str) -> subprocess.CompletedProcess:
    """Acts as a program of this user: reads the auth token from its file and requests credentials."""
    script = (
        'token=$(cat /run/credenza/token) || exit 77\n'
        'printf "Authorization: %s" "$token" | curl -q -sS --fail --max-time 10 -H @- http://127.0.0.1:9733/credentials'
    )
    account = pwd.getpwnam(user)
    groups = os.getgrouplist(user, account.pw_gid)
    return subprocess.run(
        ["sh", "-c", script], user=account.pw_uid, group=account.pw_gid, extra_groups=groups, cwd="/",
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip


def write(path: Path, text: str, mode: int = 0o644, owner: str = "root", group: str = "root") -> None:
    """Writes a new file and renames it, with its owner and mode from the start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(mode)
    run("chown", f"{owner}:{group}", str(new))
    new.rename(path)


@contextmanager
def dropin(name: str, text: str):
    """A drop-in of the service for the duration of the block; the service is not restarted."""
    path = DROPINS / f"{name}.conf"
    write(path, text)
    systemctl("daemon-reload")
    try:
        yield path
    finally:
        path.unlink()
        systemctl("daemon-reload")


class Load:
    """Clients that send requests without a pause: some over a new connection each time, some with curl over a kept one. curl
    does not retry, except on a kept connection that was closed meanwhile (RFC 9110, section 9.2.2)."""

    def __init__(self):
        self.stopping = threading.Event()
        self.answers, self.failures = 0, []
        self.lock = threading.Lock()
        loops = [self.anew] * 4 + [self.kept] * 2
        self.threads = [threading.Thread(target=self.loop, args=(ask,)) for ask in loops]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        until("answers under load", lambda: self.answers > 50)
        return self

    def __exit__(self, *exception) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        if not any(exception) and self.failures:
            raise AssertionError(f"{len(self.failures)} of {self.answers} requests failed: {self.failures[:3]}")

    def loop(self, once: Callable[[], int]) -> None:
        while not self.stopping.is_set():
            try:
                count = once()
                with self.lock:
                    self.answers += count
            except Exception as failure:  # noqa: BLE001: whatever it is, it is what a client would have seen
                with self.lock:
                    self.failures.append(f"{once.__name__}: {type(failure).__name__}: {failure}")

    def anew(self) -> int:
        status, body = ask()
        assert status == 200, f"{status} {body.get('code')}"
        return 1

    def kept(self) -> int:
        times = 20
        command = ["curl", "-q", "-sS", "--fail", "--max-time", "15", "-H", "@-", *["http://127.0.0.1:9733/credentials"] * times]
        ended = subprocess.run(command, input=f"Authorization: {TOKEN.read_text()}", capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0 and ended.stdout.count("AccessKeyId") == times, f"{ended.returncode}: {ended.stderr}"
        return times
