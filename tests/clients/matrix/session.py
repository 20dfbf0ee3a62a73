"""A client at work: one call at a time, in one process for all calls or in a process for each."""

import os
import queue
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

LONGEST_LINE = 4000
# The beginnings of a client's answers.
ANSWERS = ("listed:", "called:", "got:", "put:", "error:")


@dataclass(frozen=True)
class Said:
    """The outcome of one call."""

    text: str
    seconds: float = 0.0

    @property
    def listed(self) -> bool:
        return self.text.startswith("listed:")

    @property
    def failed(self) -> bool:
        return self.text.startswith("error:")

    @property
    def called(self) -> str | None:
        """The ARN in the response of STS."""
        return self.text.removeprefix("called:").strip() if self.text.startswith("called:") else None


class Hung(Exception):
    """No response within the deadline of a call."""


class Session:
    """`ask` begins a call, `answer` waits for its end. A context manager; its processes end with it.

    `word` names the next calls: `list`, `sts`, `get` or `put`.
    """

    def __init__(self, command: list[str], variables: dict[str, str], home: Path, errors: Path, word: str):
        self.command, self.variables, self.home, self.errors, self.word = command, variables, home, errors, word
        self.asked = 0.0

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_exception) -> None:
        self.end()

    def call(self, seconds: float) -> Said:
        self.ask()
        said = self.answer(seconds)
        if said is None:
            raise Hung(f"no answer within {seconds:g} s")
        return said

    def start(self) -> None:
        """Runs before the first call, if there is a process to start."""

    def _open(self, stdin: int, *arguments: str) -> subprocess.Popen:
        with self.errors.open("ab") as errors:
            return subprocess.Popen(
                [*self.command, *arguments],
                cwd=self.home,
                env=self.variables,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                errors="replace",
                start_new_session=True,
            )

    def _errors_since(self, position: int) -> str:
        with self.errors.open("rb") as file:
            file.seek(position)
            return " ".join(file.read().decode(errors="replace").split())

    def _position(self) -> int:
        return self.errors.stat().st_size if self.errors.exists() else 0


class Loop(Session):
    """One process that answers every line on its standard input."""

    _process: subprocess.Popen | None = None

    def start(self) -> None:
        if self._process is None:
            self._answers: queue.Queue[str | None] = queue.Queue()
            self._process = self._open(subprocess.PIPE)
            threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    def ask(self) -> None:
        self.start()
        self.asked = time.monotonic()
        try:
            self._process.stdin.write(f"{self.word}\n")
            self._process.stdin.flush()
        except OSError:
            pass  # the process has exited, which `answer` notices

    def answer(self, seconds: float) -> Said | None:
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            return None
        if line is None:
            self._answers.put(None)
            code = self._process.wait()
            line = f"error: the process ended with {code} instead of answering: {self._errors_since(0)[-1500:]}"
        return Said(line, time.monotonic() - self.asked)

    def end(self) -> None:
        if self._process is None:
            return
        try:
            self._process.stdin.close()
        except OSError:
            pass
        _end(self._process, 2.0)

    def _read(self, stream) -> None:
        for line in stream:
            if line.strip():
                self._answers.put(line.strip()[:LONGEST_LINE])
        self._answers.put(None)


class Once(Session):
    """A process for each call. `reads`: the word is on its standard input; else an argument names it unless it is `list`."""

    def __init__(self, *arguments, reads: bool):
        super().__init__(*arguments)
        self.reads = reads
        self._process: subprocess.Popen | None = None

    def ask(self) -> None:
        self.asked = time.monotonic()
        self._said: list[str] = []
        self._from = self._position()
        arguments = [] if self.reads or self.word == "list" else [self.word]
        self._process = self._open(subprocess.PIPE if self.reads else subprocess.DEVNULL, *arguments)
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout, self._said), daemon=True)
        self._reader.start()
        if self.reads:
            try:
                self._process.stdin.write(f"{self.word}\n")
                self._process.stdin.close()
            except OSError:
                pass  # the process does not read its input

    def answer(self, seconds: float) -> Said | None:
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(5)
        took = time.monotonic() - self.asked
        lines = [line for line in self._said if line.startswith(ANSWERS)]
        if lines:
            return Said(lines[-1][:LONGEST_LINE], took)
        rest = " ".join([*self._said, self._errors_since(self._from)])[:LONGEST_LINE]
        return Said(f"error: {rest or f'nothing was said, exit code {code}'}", took)

    def end(self) -> None:
        if self._process is not None:
            _end(self._process, 0.0)

    def _read(self, stream, said: list[str]) -> None:
        said.extend(line.strip() for line in stream if line.strip())


def _end(process: subprocess.Popen, patience: float) -> None:
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)  # its process group has its children
    except ProcessLookupError:
        pass
    process.wait()
