"""The program under test and the clients around it, as processes with clean environments."""

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
START_DEADLINE = 20.0
STOP_DEADLINE = 10.0
ANSWER_DEADLINE = 60.0


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of the caller's but the path: no AWS_*, no CREDENZA_*, no proxy, a new home, no request to 169.254."""
    base = {
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "/usr/bin:/bin")]),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return base | more


def until(what: str, true: Callable[[], object], seconds: float = 15.0, every: float = 0.05):
    """Repeats the question until the answer is true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := true():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what} (last answer: {answer!r})")
        time.sleep(every)


def write(path: Path, text: str) -> Path:
    """Replaces a file of the owner alone in one step, as editors and tools do."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.chmod(0o600)
    new.replace(path)
    return path


class Credenza:
    """`credenza serve` with its own auth token file. A context manager."""

    def __init__(self, binary: Path, home: Path, *flags: str, **variables: str):
        self.binary = binary
        self.home = home
        self.flags = flags
        self.variables = {"AWS_EC2_METADATA_DISABLED": "true"} | variables
        self.address = ""
        folder = home / "credenza"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.token_file = folder / "token"
        self.log = folder / "serve.log"
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "Credenza":
        self.start()
        return self

    def __exit__(self, *_exception) -> None:
        self.stop()

    def start(self, listen: str = "127.0.0.1:0") -> None:
        self._start(["--listen", listen])

    def _start(self, listen: list[str], sockets: list[socket.socket] | None = None) -> None:
        command = [str(self.binary), "serve", *listen, "--token-file", str(self.token_file), *self.flags]
        start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                handed_over(sockets, command) if sockets else command,
                pass_fds=[held.fileno() for held in sockets or []],
                cwd=self.home,
                env=environment(self.home, **self.variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

        def address() -> str | None:
            said = self.log.read_bytes()[start:].decode(errors="replace")
            for line in said.splitlines():
                if "listening" in line and "imds" not in line.lower() and (found := ADDRESS.search(line)):
                    return found[0]
            if self._process.poll() is not None:
                raise AssertionError(f"credenza serve ended with {self._process.returncode}:\n{said}")
            return None

        self.address = until("credenza serve says where it listens", address, START_DEADLINE)

    def stop(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        process.terminate()
        try:
            return process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"credenza did not stop within {STOP_DEADLINE:g} s of SIGTERM") from None

    def reload(self) -> None:
        self._process.send_signal(signal.SIGHUP)

    def restart(self) -> None:
        """Stops the daemon and starts it again at the same address."""
        listen = self.address.removeprefix("http://")
        self.stop()
        self.start(listen)

    def command(self, *arguments: str) -> dict:
        """Runs a command of the control socket, and returns its JSON."""
        named = ["--json", "--control-socket", str(self.token_file.with_name("control.sock"))]
        done = once([str(self.binary), *arguments, *named], environment(self.home), self.home)
        assert done.returncode == 0, f"credenza {' '.join(arguments)}: {done.stderr}"
        return json.loads(done.stdout)

    def variables_for_clients(self) -> dict[str, str]:
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.address}/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(self.token_file),
        }

    def ask(self, path: str = "/credentials", token: str | None = None) -> tuple[int, dict]:
        """Returns status and JSON body of one request, with the daemon's auth token by default."""
        headers = {"Authorization": self.token_file.read_text() if token is None else token}
        request = urllib.request.Request(self.address + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.loads(refusal.read() or b"{}")

    def served_key(self) -> str | None:
        """Returns the access key id that it serves now."""
        status, body = self.ask()
        return body.get("AccessKeyId") if status == 200 else None


class Held(Credenza):
    """The same behind sockets that outlive it, like those of credenza.socket: no client is refused while it is down."""

    def __init__(self, binary: Path, home: Path, ports: list[int], *flags: str, **variables: str):
        super().__init__(binary, home, *flags, **variables)
        self._sockets = [socket.create_server(("127.0.0.1", port), backlog=4096) for port in ports]

    def __exit__(self, *_exception) -> None:
        super().__exit__()
        for held in self._sockets:
            held.close()

    def start(self, listen: str = "") -> None:
        self._start([], self._sockets)


def handed_over(sockets: list[socket.socket], command: list[str]) -> list[str]:
    """Returns the command as a service manager starts it, with the sockets from descriptor 3 on: sd_listen_fds(3)."""
    # In this order no descriptor is overwritten before it is moved.
    numbers = sorted(held.fileno() for held in sockets)
    moves = " ".join(f"{to}<&{number}" for to, number in enumerate(numbers, 3))
    return ["bash", "-c", f'exec {moves}; LISTEN_PID=$$ LISTEN_FDS={len(numbers)} exec "$@"', "bash", *command]


class Client:
    """A long-running program that lists buckets with one SDK client on demand."""

    def __init__(self, command: list[str], variables: dict[str, str], home: Path):
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            [*command, "--loop"], cwd=home, env=variables, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_exception) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def list(self, word: str = "list") -> str:
        """Its output: `buckets: …` or `error: …`."""
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        answer = self._answers.get(timeout=ANSWER_DEADLINE)
        assert answer is not None, "the client ended instead of answering"
        return answer

    def _read(self) -> None:
        for line in self._process.stdout:
            self._answers.put(line.strip())
        self._answers.put(None)


def boto3_command() -> list[str]:
    return [sys.executable, str(HERE / "s3_client.py")]


def rust_target() -> Path:
    """The target folder of the Rust client: never the program's own."""
    outer = os.environ.get("CARGO_TARGET_DIR")
    return Path(outer) / "rust-client" if outer else HERE.parent.parent / ".cache" / "rust-client"


def build_rust_client() -> Path:
    """Builds it if needed, and returns its path."""
    return _built(HERE / "rust") / "credenza-rust-client"


def build_rust_example() -> Path:
    """Builds examples/aws-sdk if needed, and returns its path."""
    return _built(HERE.parent.parent / "examples" / "aws-sdk") / "credenza-aws-sdk-example"


def _built(package: Path) -> Path:
    """Builds a package with a lock file of its own, and returns the folder of its programs."""
    target = rust_target()
    subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "--manifest-path", str(package / "Cargo.toml")],
        env=os.environ | {"CARGO_TARGET_DIR": str(target)},
        cwd=package,
        check=True,
    )
    return target / "debug"


def once(command: list[str], variables: dict[str, str], home: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, cwd=home, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ANSWER_DEADLINE
    )
