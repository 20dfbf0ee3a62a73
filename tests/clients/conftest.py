"""Shared fixtures: one SeaweedFS for all tests; a home, keys, brokers and clients for each test."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from identity_provider import IdentityProvider  # noqa: E402
from imds import Credentials, Imds, in_seconds  # noqa: E402
from programs import Client, Credenza, boto3_command, build_rust_client, environment  # noqa: E402
from relay import Relay  # noqa: E402
from seaweedfs import Key, SeaweedFS, new_key  # noqa: E402

BUCKET = "credenza-was-here"
IN_CI = os.environ.get("CI") == "true"


# With pytest-xdist the main process starts SeaweedFS and passes its address to the workers: one server, not one each.
def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    directory = Path(tempfile.mkdtemp(prefix="credenza-clients-"))
    config.identity_provider = IdentityProvider().__enter__()
    config.seaweedfs = SeaweedFS(directory, [new_key()], config.identity_provider.issuer)
    config.seaweedfs.__enter__()
    config.seaweedfs.s3().create_bucket(Bucket=BUCKET)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    server = node.config.seaweedfs
    node.workerinput["seaweedfs"] = json.dumps({"endpoint": server.endpoint, "key": asdict(server.keys[0])})
    provider = node.config.identity_provider
    node.workerinput["identity_provider"] = json.dumps({"issuer": provider.issuer, "key": provider.key})


def pytest_unconfigure(config: pytest.Config) -> None:
    if (server := getattr(config, "seaweedfs", None)) is not None:
        server.stop()
        shutil.rmtree(server.directory, ignore_errors=True)
        config.identity_provider.__exit__()


@pytest.fixture(scope="session")
def seaweedfs(request: pytest.FixtureRequest) -> SeaweedFS:
    """A running server with one long-lived key, which tests must not change, and the bucket BUCKET."""
    if (server := getattr(request.config, "seaweedfs", None)) is not None:
        return server
    told = json.loads(request.config.workerinput["seaweedfs"])
    server = SeaweedFS(Path("/nonexistent"), [Key(**told["key"])])
    server.endpoint = told["endpoint"]
    return server


@pytest.fixture(scope="session")
def identity_provider(request: pytest.FixtureRequest) -> IdentityProvider:
    """The identity provider that SeaweedFS trusts."""
    if (provider := getattr(request.config, "identity_provider", None)) is not None:
        return provider
    return IdentityProvider(**json.loads(request.config.workerinput["identity_provider"]))


@pytest.fixture(scope="session")
def binary() -> Path:
    """The program under test."""
    given = os.environ.get("CREDENZA_BIN")
    if not given:
        _missing("CREDENZA_BIN is not set: it names the credenza binary to test")
    path = Path(given).resolve()
    assert os.access(path, os.X_OK), f"CREDENZA_BIN={given} is not an executable file"
    return path


@pytest.fixture(scope="session")
def rust_command() -> list[str]:
    """The client made of the AWS SDK for Rust."""
    if shutil.which("cargo") is None:
        _missing("no cargo: the client made of the AWS SDK for Rust cannot be built")
    return [str(build_rust_client())]


@pytest.fixture(params=["boto3", "rust"])
def sdk(request: pytest.FixtureRequest) -> list[str]:
    """The command of a client; a test that uses it runs once per SDK."""
    return boto3_command() if request.param == "boto3" else request.getfixturevalue("rust_command")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory without ~/.aws."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def client(home: Path, seaweedfs: SeaweedFS):
    """Starts long-running clients against SeaweedFS, or against a server in front of it; they end with the test."""
    with ExitStack() as running:

        def start(command: list[str], variables: dict[str, str], endpoint: str | None = None) -> Client:
            full = environment(home, **({"AWS_ENDPOINT_URL_S3": endpoint or seaweedfs.endpoint} | variables))
            return running.enter_context(Client(command, full, home))

        yield start


@pytest.fixture
def credenza(binary: Path, home: Path):
    """Starts brokers that end with the test; pytest shows their logs if it fails."""
    with ExitStack() as running:

        def start(*flags: str, **variables: str) -> Credenza:
            broker = Credenza(binary, home, *flags, **variables)
            running.callback(lambda: print(f"--- what it logged\n{broker.log.read_text(errors='replace')}"))
            return running.enter_context(broker)

        yield start


@pytest.fixture(scope="module")
def sso():
    """The addresses of the fakes of the portal, SSO-OIDC and Sign-In."""
    program = os.environ.get("SSO_FAKES", "")
    if not os.access(program, os.X_OK):
        _missing(f"SSO_FAKES={program} is no program: cargo build -p testkit --bin sso-fakes makes it")
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield json.loads(process.stdout.readline())
        process.stdin.close()


@pytest.fixture
def imds(seaweedfs: SeaweedFS):
    """The strict IMDSv2, with temporary keys that SeaweedFS has just issued."""
    with Imds(as_role(seaweedfs.session())) as service:
        yield service


@pytest.fixture
def relay(seaweedfs: SeaweedFS):
    with Relay(seaweedfs.endpoint) as running:
        yield running


def as_role(key: Key, seconds: float | None = None) -> Credentials:
    """Temporary keys as those of an instance role; `seconds` makes the document expire before the keys."""
    end = key.expiration if seconds is None else in_seconds(seconds)
    return Credentials(key.access_key_id, key.secret_access_key, key.token, end)


def _missing(what: str) -> None:
    if IN_CI:
        pytest.fail(what, pytrace=False)
    pytest.skip(what)
