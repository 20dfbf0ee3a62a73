"""`make demo`: the main job of Credenza on real parts, in half a minute.

SeaweedFS (an S3 that verifies signatures) gets a key. The same key is in a shared credentials file, and Credenza
serves it. A program without any key writes and reads objects through boto3. Meanwhile the key is rotated and the
old one revoked; the program goes on.

With KEEP=1 everything runs until Ctrl-C, and the variables to export are printed. Needs CREDENZA_BIN.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from programs import Credenza, environment, until, write
from seaweedfs import Key, SeaweedFS, new_key

BUCKET = "demo"


class Failed(Exception):
    """A failed step; the message is for the user at the terminal."""


def program() -> None:
    """The program of the demo: one boto3 client for its whole life, which writes and reads an object again and again."""
    used: list[str] = []
    client = boto3.client("s3", config=Config(retries={"total_max_attempts": 1}))
    client.meta.events.register("before-send.s3", lambda request, **_: used.append(_signer(request)))
    number = 0
    while True:
        number += 1
        body = f"object number {number}".encode()
        try:
            client.put_object(Bucket=BUCKET, Key="note", Body=body)
            fine = client.get_object(Bucket=BUCKET, Key="note")["Body"].read() == body
            said = {"number": number, "key": used[-1], "error": None if fine else "read back something else"}
        except (BotoCoreError, ClientError) as error:
            said = {"number": number, "key": used[-1] if used else None, "error": str(error)}
        print(json.dumps(said), flush=True)
        time.sleep(0.25)


def _signer(request) -> str:
    authorization = request.headers["Authorization"]
    text = authorization.decode() if isinstance(authorization, bytes) else authorization
    return re.search(r"Credential=([^/]+)/", text)[1]


class Program:
    """The program as a process, and its output so far."""

    def __init__(self, variables: dict[str, str], home: Path):
        self.said: list[dict] = []
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--program"],
            cwd=home,
            env=variables,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def works_with(self, key: Key, rounds: int = 2) -> dict:
        """Waits until it has written and read this many more objects, each signed with this key."""
        start = len(self.said)

        def enough() -> dict | None:
            self.check()
            with_key = [said for said in self.said[start:] if said["key"] == key.access_key_id]
            return with_key[-1] if len(with_key) >= rounds else None

        try:
            return until(f"the program works with the key {key.access_key_id}", enough, 20)
        except AssertionError as error:
            raise Failed(f"{error}\nthe last things it said: {self.said[-3:]}") from None

    def check(self) -> None:
        for said in self.said:
            if said["error"]:
                raise Failed(f"the program failed at object {said['number']}: {said['error']}")
        if (code := self._process.poll()) is not None:
            raise Failed(f"the program ended with exit code {code}")

    def _read(self) -> None:
        for line in self._process.stdout:
            self.said.append(json.loads(line))


def configure(home: Path, file: Path) -> Path:
    """Long-lived keys are served for 14 minutes; boto3 requests again when less than 15 remain, so at every call."""
    source = f'{{ profile = "default", credentials_file = "{file}" }}'
    text = f'[identities.default]\nsources = [{source}]\nlong_lived_expiration = "14m"\n'
    return write(home / "credenza.toml", text)


def step(what: str) -> None:
    step.number = getattr(step, "number", 0) + 1
    print(_bold(f"\n{step.number}. {what}"), flush=True)


def tell(what: str) -> None:
    print(f"   {what}", flush=True)


def _bold(text: str) -> str:
    return _colour(text, "1")


def _colour(text: str, code: str) -> str:
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain else f"\033[{code}m{text}\033[0m"


def demo(binary: Path, home: Path, stack: ExitStack) -> None:
    old, new = new_key(), new_key()

    step("SeaweedFS starts: an S3 that verifies signatures, with one key")
    seaweedfs = stack.enter_context(SeaweedFS(home / "seaweedfs", [old]))
    seaweedfs.s3().create_bucket(Bucket=BUCKET)
    tell(f"{seaweedfs.endpoint} knows the key {old.access_key_id} and nobody else")

    step("Credenza starts over a shared credentials file with that key")
    file = home / "credentials"
    write(file, old.section())
    broker = stack.enter_context(Credenza(binary, home, "--config", str(configure(home, file))))
    status, answer = broker.ask()
    if status != 200:
        raise Failed(f"Credenza answers {status}: {answer}")
    tell(f"{broker.address} serves {answer['AccessKeyId']} until {answer['Expiration']}")
    refused, reason = broker.ask(token="somebody-else")
    if refused != 401:
        raise Failed(f"Credenza answers {refused} to somebody without the token")
    tell(f"without its token it says {refused}: {reason['message']}")

    step("A program writes and reads objects with boto3; it was given no key, only the address of Credenza")
    exports = broker.variables_for_clients() | {"AWS_ENDPOINT_URL_S3": seaweedfs.endpoint}
    running = Program(environment(home, **exports), home)
    stack.callback(running.stop)
    tell(f"object {running.works_with(old)['number']} written and read, signed with {old.access_key_id}")

    step("The key is rotated while the program works: the new one in SeaweedFS, then in the file")
    seaweedfs.set_keys([old, new])
    until("SeaweedFS takes the new key", lambda: _is_taken(seaweedfs, new))
    began = time.monotonic()
    write(file, new.section())
    until("Credenza serves the new key", lambda: broker.served_key() == new.access_key_id, every=0.01)
    tell(f"Credenza serves {new.access_key_id} {(time.monotonic() - began) * 1000:.0f} ms after the file changed")
    tell(f"object {running.works_with(new)['number']} written and read, signed with {new.access_key_id}")

    step("The old key is revoked")
    seaweedfs.set_keys([new])
    until("SeaweedFS refuses the old key", lambda: not _is_taken(seaweedfs, old))
    tell(f"SeaweedFS refuses {old.access_key_id} now")
    last = running.works_with(new)
    tell(f"object {last['number']} written and read: the same program, never restarted, not one error")

    if os.environ.get("KEEP", "") not in ("", "0"):
        step("Everything stays up until Ctrl-C. In another terminal:")
        for name, value in exports.items():
            tell(f"export {name}={value}")
        tell(f"export AWS_REGION=us-east-1 PATH={Path(sys.executable).parent}:$PATH")
        tell("export AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_CONFIG_FILE=/dev/null   # a default profile would win")
        tell("unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE")
        tell(f"aws s3 ls s3://{BUCKET}          # and edit {file}")
        while True:
            running.check()
            time.sleep(0.5)


def _is_taken(seaweedfs: SeaweedFS, key: Key) -> bool:
    try:
        seaweedfs.s3(key).list_buckets()
        return True
    except ClientError:
        return False


def main() -> int:
    if sys.argv[1:] == ["--program"]:
        with suppress(KeyboardInterrupt):  # Ctrl-C reaches this process as well; the demo stops it
            program()
        return 0
    given = os.environ.get("CREDENZA_BIN", "")
    if not os.access(given, os.X_OK):
        print(f"demo: CREDENZA_BIN={given!r} names no program; run `make demo`", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="credenza-demo-", ignore_cleanup_errors=True) as folder:
        broker_log = Path(folder) / "credenza" / "serve.log"
        try:
            with ExitStack() as stack:
                demo(Path(given).resolve(), Path(folder), stack)
        except KeyboardInterrupt:
            print("\nstopped")
            return 0
        except (Failed, AssertionError, RuntimeError, OSError) as error:
            print(_colour(f"\ndemo failed: {error}", "31"), file=sys.stderr)
            if broker_log.exists():
                print(f"what Credenza logged:\n{broker_log.read_text(errors='replace')[-4000:]}", file=sys.stderr)
            return 1
    print(_colour("\nThat is all of it. Everything is stopped and its folder removed.", "32"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
