"""`make restarts`: restarts the daemon behind its socket again and again, while eight clients ask without a pause.

The socket's holder does what PID 1 does for credenza.socket: it never closes the socket, and passes it to each daemon.
No request may fail. Four clients are boto3 with a new session each time, two are curl with a new connection each
time, two are curl that keeps its connection. curl does not retry, except on a kept connection that the daemon has
closed meanwhile, as HTTP demands (RFC 9110, section 9.2.2).

RESTARTS=1000 does more than 200 restarts. Needs CREDENZA_BIN and curl.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from programs import Held, environment, until, write
from seaweedfs import Key

KEY = "AKIARESTARTS"
SEED = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
KEPT = 20  # requests over one connection


class Clients:
    """Eight loops; each counts its responses and keeps the text of every failure."""

    def __init__(self, daemon: Held):
        self.daemon = daemon
        self.stopping = threading.Event()
        self.counts: dict[str, int] = {}
        self.failures: list[str] = []
        self.lock = threading.Lock()
        loops = [self.boto3] * 4 + [self.curl] * 2 + [self.keeping_curl] * 2
        self.threads = [threading.Thread(target=self.loop, args=(ask,)) for ask in loops]
        self.header = daemon.home / "header"
        self.header.write_text(f"Authorization: {daemon.token_file.read_text()}")

    def __enter__(self) -> "Clients":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_exception) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def loop(self, ask) -> None:
        while not self.stopping.is_set():
            try:
                asked = ask()
                with self.lock:
                    self.counts[ask.__name__] = self.counts.get(ask.__name__, 0) + asked
            except Exception as failure:  # noqa: BLE001: whatever it is, it is what a user would have seen
                with self.lock:
                    self.failures.append(f"{ask.__name__}: {type(failure).__name__}: {failure}")

    def boto3(self) -> int:
        # One process for many sessions: the start of Python takes longer than ten restarts.
        variables = environment(self.daemon.home, **self.daemon.variables_for_clients())
        program = [sys.executable, __file__, "sessions"]
        ended = subprocess.run(program, env=variables, capture_output=True, text=True, timeout=120)
        if ended.returncode != 0:
            raise AssertionError(ended.stderr[-2000:])
        return int(ended.stdout)

    def curl(self) -> int:
        return self.ask_with_curl(1)

    def keeping_curl(self) -> int:
        return self.ask_with_curl(KEPT)

    def ask_with_curl(self, times: int) -> int:
        url = f"{self.daemon.address}/credentials"
        command = ["curl", "-q", "-sS", "--fail", "--max-time", "10", "--header", f"@{self.header}", *[url] * times]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if ended.returncode != 0 or ended.stdout.count(KEY) != times:
            raise AssertionError(f"exit code {ended.returncode}: {ended.stderr} {ended.stdout[-500:]!r}")
        return times


def sessions() -> None:
    """Requests credentials for a new session, repeatedly for two seconds; prints the count."""
    import botocore.session

    count, end = 0, time.monotonic() + 2
    while time.monotonic() < end:
        credentials = botocore.session.Session().get_credentials()
        assert credentials is not None and credentials.get_frozen_credentials().access_key == KEY
        count += 1
    print(count)


def main() -> int:
    restarts = int(os.environ.get("RESTARTS", "200"))
    chance = random.Random(SEED)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="credenza-restarts-")))
        write(home / ".aws" / "credentials", Key(KEY, "restarts-secret").section())
        daemon = stack.enter_context(Held(Path(os.environ["CREDENZA_BIN"]).resolve(), home, [0]))
        token = daemon.token_file.read_text()
        began, longest = time.monotonic(), 0.0
        with Clients(daemon) as clients:
            for done in range(1, restarts + 1):
                # The next stop comes at a random time between the first connection and some time of work.
                time.sleep(chance.random() * 0.1)
                start = time.monotonic()
                code = daemon.stop()
                assert code == 0, f"a daemon ended with {code}"
                daemon.start()
                until("the daemon has keys", lambda: daemon.log.read_bytes().count(b"lease renewed") > done, every=0.01)
                longest = max(longest, time.monotonic() - start)
                if clients.failures:
                    break
                if sys.stdout.isatty():
                    print(f"\r{done} of {restarts} restarts", end="", flush=True)
        daemon.stop()
        if sys.stdout.isatty():
            print("\r\x1b[K", end="")
        if clients.failures:
            print(daemon.log.read_text(errors="replace")[-3000:])
            print(f"after {done} restarts (SEED={SEED}), {len(clients.failures)} failed:", *clients.failures[:5], sep="\n  ")
            return 1
        assert daemon.token_file.read_text() == token, "the token has changed"
        assert b"restarts-secret" not in daemon.log.read_bytes(), "a secret in the log"
        if len(clients.counts) != 3:
            print(f"some clients never got through: {json.dumps(clients.counts)}")
            return 1
        asked = ", ".join(f"{name} {count}" for name, count in sorted(clients.counts.items()))
        seconds = time.monotonic() - began
        print(f"{restarts} restarts in {seconds:.0f} s, the longest {longest * 1000:.0f} ms; no request failed ({asked})")
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["sessions"]:
        sessions()
    else:
        sys.exit(main())
