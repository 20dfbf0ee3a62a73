"""The ways: how a client finds the broker, and the part of the broker that it uses."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stage import Stage

CONTAINER, POD, METADATA = "169.254.170.2", "169.254.170.23", "169.254.169.254"
FED = 'settings=$("$0" get --from-daemon --format env --listen "$1" --token-file "$2") || exit; shift 2; eval "$settings"; exec "$@"'


@dataclass
class Approach:
    """A way for one client: its variables, and for some ways a command around every call."""

    variables: dict[str, str] = field(default_factory=dict)
    around: list[str] = field(default_factory=list)


class Way:
    """The full URI on loopback, which the other ways differ from."""

    name = "full-uri"
    # The addresses of the broker beside a port of its own on loopback.
    address: str | None = None
    # True if the user passes an auth token on this way, which may be wrong.
    token = True

    def listen(self) -> list[str]:
        return ["--listen", f"{self.address}:80"] if self.address else []

    def settings(self, stage: "Stage") -> str:
        """Lines of credenza.toml."""
        return ""

    def approach(self, stage: "Stage", token_file: Path) -> Approach:
        return Approach(self.uri(stage) | _token(stage, token_file))

    def uri(self, stage: "Stage") -> dict[str, str]:
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{stage.address}/credentials"}


class RelativeUri(Way):
    name, address = "relative-uri", CONTAINER

    def uri(self, stage: "Stage") -> dict[str, str]:
        return {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/default"}


class PodIdentity(Way):
    name, address = "pod-identity", POD

    def uri(self, stage: "Stage") -> dict[str, str]:
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{POD}/credentials"}


class Imds(Way):
    name, token = "imds", False

    def settings(self, stage: "Stage") -> str:
        listen = f"{METADATA}:80" if _by_heart(stage.client.imds) else f"127.0.0.1:{stage.port}"
        first = "allow_v1 = true\n" if stage.client.imds == "address-v1" else ""
        return f'[imds]\n{first}listen = "{listen}"\nidentity = "default"\n'

    def approach(self, stage: "Stage", token_file: Path) -> Approach:
        if _by_heart(stage.client.imds):
            return Approach({})
        return Approach({"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{stage.port}/"})


class Process(Way):
    name = "process"

    def approach(self, stage: "Stage", token_file: Path) -> Approach:
        ask = [str(stage.binary), "get", "--format", "process", "--from-daemon"]
        ask += ["--listen", stage.broker.address.removeprefix("http://"), "--token-file", str(token_file)]
        folder = stage.home / ".aws"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "config").write_text(f"[default]\ncredential_process = {shlex.join(ask)}\n")
        return Approach()


class Environment(Way):
    name = "env"

    def approach(self, stage: "Stage", token_file: Path) -> Approach:
        listen = stage.broker.address.removeprefix("http://")
        return Approach(around=["sh", "-c", FED, str(stage.binary), listen, str(token_file)])


WAYS = {way.name: way for way in (Way(), RelativeUri(), PodIdentity(), Imds(), Process(), Environment())}


def needs_address(way: Way, imds: str) -> bool:
    """Returns true if the row has a well-known address, and so needs a network namespace."""
    return way.address is not None or (way.name == "imds" and _by_heart(imds))


def _by_heart(imds: str) -> bool:
    return imds.startswith("address")


def _token(stage: "Stage", file: Path) -> dict[str, str]:
    variables = {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file)} if stage.client.token != "variable" else {}
    if stage.client.token != "file":
        variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = file.read_text()
    return variables
