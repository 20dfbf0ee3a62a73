"""A client of the matrix as its folder describes it: its names, its installation, and the cells that cannot work."""

import os
import shutil
import subprocess
import sysconfig
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from ways import WAYS

HERE = Path(__file__).resolve().parent
FOLDERS = HERE / "clients"
CACHES = HERE.parent.parent.parent / ".cache" / "clients"
INSTALL_DEADLINE = 1500.0
# Seconds. Long enough for a slow start on a busy machine, short enough to wait for. Nearly every client requests again
# before the end of so short a lease, most of them at each call. Clients that keep keys for a fixed time on some way name
# a longer lease for it under `lease`.
LEASE = 12.0
KEYS = {"title", "six", "kind", "needs", "run", "version", "token", "imds", "lease", "sts", "grants", "na"}

KINDS = ("loop", "once")
# The variables that name the auth token; `credenza exec` sets both.
TOKENS = ("file", "variable", "both")
# AWS_EC2_METADATA_SERVICE_ENDPOINT is honoured, or only 169.254.169.254 is used, with or without session tokens.
ADDRESSES = ("endpoint", "address", "address-v1")


class Missing(Exception):
    """A command that the client needs is not installed."""


class NotInstalled(Exception):
    """The installation failed; the message is its output."""


@dataclass(frozen=True)
class Reason:
    """An entry of `[na]`."""

    key: str
    text: str


@dataclass
class Client:
    """`clients/NAME/client.toml`, read and checked."""

    name: str
    title: str
    kind: str
    run: list[str]
    version_command: list[str]
    six: bool = False
    needs: list[str] = field(default_factory=list)
    token: str = "file"
    imds: str = "endpoint"
    lease: dict[str, float] = field(default_factory=dict)
    # The way on which it calls STS, if it can.
    sts: str | None = None
    # The way on which it gets and puts objects, under session policies and with grants, if it can.
    grants: str | None = None
    na: dict[str, str] = field(default_factory=dict)
    version: str = ""

    @property
    def here(self) -> Path:
        return FOLDERS / self.name

    @property
    def cache(self) -> Path:
        return CACHES / self.name

    def reason(self, way: str, column: str) -> "Reason | None":
        """Returns the reason why a cell does not work: of a whole way, of this cell, or of a whole column."""
        for key in (f"{way}/*", f"{way}/{column}", f"*/{column}"):
            if key in self.na:
                return Reason(key, self.na[key])
        return None

    def install(self, log: Path) -> float:
        """Runs install.sh, or installs requirements.txt, and runs the version command; returns the seconds."""
        began = time.monotonic()
        missing = [need for need in self.needs if shutil.which(need) is None]
        if missing:
            raise Missing(" ".join(missing))
        self.cache.mkdir(parents=True, exist_ok=True)
        script, requirements = self.here / "install.sh", self.here / "requirements.txt"
        if script.exists():
            self._run([str(script), str(self.cache)], log, INSTALL_DEADLINE)
        elif requirements.exists():
            self._run([str(HERE / "python/venv.sh"), str(self.cache), str(requirements)], log, INSTALL_DEADLINE)
        said = self._run(self.version_command, log, 120.0).strip()
        self.version = said.splitlines()[0] if said else "?"
        return time.monotonic() - began

    def _run(self, command: list[str], log: Path, seconds: float) -> str:
        # The Python of our virtual environment comes first, as it does for the clients.
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "/usr/bin:/bin")])
        try:
            done = subprocess.run(
                command,
                cwd=self.here,
                env=os.environ | {"PATH": path},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotInstalled(f"{command[0]}: {error}") from None
        with log.open("a") as file:
            file.write(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}\n")
        if done.returncode != 0:
            raise NotInstalled(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-600:]} (all of it: {log})")
        return done.stdout or done.stderr


def load(name: str) -> Client:
    file = FOLDERS / name / "client.toml"
    written = tomllib.loads(file.read_text())
    if unknown := written.keys() - KEYS:
        raise ValueError(f"{file}: no such keys: {', '.join(sorted(unknown))}")
    places = {"cache": str(CACHES / name), "here": str(FOLDERS / name)}
    client = Client(
        name=name,
        title=written["title"],
        kind=written["kind"],
        run=[word.format(**places) for word in written["run"]],
        version_command=[word.format(**places) for word in written["version"]],
        six=written.get("six", False),
        needs=written.get("needs", []),
        token=written.get("token", "file"),
        imds=written.get("imds", "endpoint"),
        lease=written.get("lease", {}),
        sts=written.get("sts"),
        grants=written.get("grants"),
        na=written.get("na", {}),
    )
    for word, known in ((client.kind, KINDS), (client.token, TOKENS), (client.imds, ADDRESSES)):
        if word not in known:
            raise ValueError(f"{file}: {word} is none of {', '.join(known)}")
    for what, way in (("sts", client.sts), ("grants", client.grants)):
        if way is not None and way not in WAYS:
            raise ValueError(f"{file}: {what} on {way}, which is none of {', '.join(WAYS)}")
    if unknown := client.lease.keys() - WAYS.keys():
        raise ValueError(f"{file}: a lease for no such ways: {', '.join(sorted(unknown))}")
    return client


def names() -> list[str]:
    """The folders that describe a client."""
    found = sorted(path.parent.name for path in FOLDERS.glob("*/client.toml"))
    if not found:
        raise ValueError(f"{FOLDERS}: no client at all")
    return found
