"""The image by itself: its contents, its start, and its stop."""

import json
import platform
import tarfile
from pathlib import Path

import pytest
from conftest import IMAGE
from engine import Engine
from programs import until

KEYS = ["--env=CREDENZA_ACCESS_KEY_ID=AKIATEST", "--env=CREDENZA_SECRET_ACCESS_KEY=not-to-be-logged"]
CLOSED = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"]
READY = ["/usr/bin/credenza", "status", "--ready"]


@pytest.fixture
def shared(engine: Engine):
    """A new volume, as every engine creates it: with owner and mode of the folder in the image."""
    name = engine.podman("volume", "create").stdout.strip()
    yield name
    engine.podman("volume", "rm", "--force", name)


@pytest.fixture
def start(engine: Engine):
    """Runs the image with no network but loopback; removed with the test, the log is shown if it fails."""
    started = []

    def run(*arguments: str, command: tuple[str, ...] = ()) -> str:
        container = engine.podman("run", "--detach", "--network=none", *arguments, IMAGE, *command).stdout.strip()
        started.append(container)
        return container

    yield run
    for container in started:
        print(f"--- what it logged\n{engine.logs(container)}")
        engine.podman("rm", "--force", "--time", "1", container)


def test_contains_only_the_program_and_certificates(engine: Engine, tmp_path: Path, binary: Path):
    container = engine.podman("create", "--network=none", IMAGE).stdout.strip()
    engine.podman("export", "--output", str(tmp_path / "image.tar"), container)
    engine.podman("rm", container)
    made_by_engines = ("dev", "proc", "sys", "run", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab")
    with tarfile.open(tmp_path / "image.tar") as image:
        found = {entry.name.strip("/"): entry for entry in image if not entry.name.startswith(made_by_engines)}
        assert image.extractfile(found["usr/bin/credenza"]).read() == binary.read_bytes()
        assert b"BEGIN CERTIFICATE" in image.extractfile(found["etc/ssl/certs/ca-certificates.crt"]).read()
    files = {name for name, entry in found.items() if not entry.isdir()}
    assert files == {"usr/bin/credenza", "etc/ssl/certs/ca-certificates.crt", "etc/passwd", "etc/group"}
    for name, entry in found.items():
        assert entry.mode & 0o7022 == 0, f"{name}: {entry.mode:o}"
        assert (entry.uid, entry.gid) == ((65532, 65532) if name == "shared" else (0, 0)), name
    assert found["shared"].isdir()


def test_describes_itself_in_labels(engine: Engine):
    [image] = json.loads(engine.podman("image", "inspect", IMAGE).stdout)
    settings = image["Config"]
    assert settings["User"] == "65532:65532"
    assert settings["Entrypoint"] == ["/usr/bin/credenza"] and settings["Cmd"] == ["serve"]
    assert image["Healthcheck"]["Test"] == ["CMD", *READY]
    said = engine.podman("run", "--rm", "--network=none", IMAGE, "--version").stdout.split()
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in settings["Labels"].items()}
    assert labels["version"] == said[1] and labels["title"] == "credenza" and labels["licenses"] == "Apache-2.0"
    assert {"description", "revision"} <= labels.keys()
    assert image["Architecture"] == {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def test_serves_with_minimal_rights_and_stops_on_sigterm(engine: Engine, start, shared: str):
    container = start(*CLOSED, *KEYS, f"--volume={shared}:/shared")
    until("it is healthy", lambda: engine.podman("healthcheck", "run", container, check=False).returncode == 0)
    assert engine.inspect(container, "{{.State.Health.Status}}") == "healthy"
    status = engine.podman("exec", container, "/usr/bin/credenza", "status", "-v").stdout
    assert "AKIATEST from static" in status, status
    # After the grace period it would be killed, with exit code 137.
    engine.podman("stop", "--time", "10", container)
    assert engine.exit_code(container) == 0
    logged = engine.logs(container)
    assert "stopped" in logged and "not-to-be-logged" not in logged


def test_reports_that_it_is_unhealthy(engine: Engine, start, shared: str):
    """No keys yet: it serves, reports it, and is not ready."""
    container = start(*CLOSED, "--env=CREDENZA_CREDENTIALS_FILE=/nowhere/credentials", f"--volume={shared}:/shared")
    until("it serves", lambda: "ready to answer" in engine.logs(container))
    assert engine.podman("healthcheck", "run", container, check=False).returncode == 1
    assert engine.podman("exec", container, *READY, check=False).returncode == 1
    assert "/nowhere/credentials" in engine.podman("exec", container, "/usr/bin/credenza", "status", "-v").stdout


def test_a_restart_keeps_the_token(engine: Engine, start, shared: str):
    container = start(*CLOSED, *KEYS, f"--volume={shared}:/shared")
    token = Path(engine.podman("volume", "inspect", "--format", "{{.Mountpoint}}", shared).stdout.strip()) / "credenza/token"
    until("the token is there", token.exists)
    first = token.read_bytes()
    assert token.stat().st_mode & 0o777 == 0o600 and token.stat().st_uid == 65532
    engine.podman("restart", "--time", "10", container)
    until("it is ready", lambda: engine.podman("exec", container, *READY, check=False).returncode == 0)
    assert token.read_bytes() == first


def test_names_the_remedy_without_a_writable_token_folder(engine: Engine, start):
    container = start(*CLOSED, *KEYS)
    code = int(engine.podman("wait", container).stdout)
    assert code == 1
    said = engine.logs(container)
    assert "/shared/credenza/token" in said and "Read-only file system" in said and "--token-file" in said


def test_exits_78_for_a_bad_configuration(engine: Engine, start, shared: str, tmp_path: Path):
    (tmp_path / "credenza.toml").write_text("[server]\nlisten = 7\n")
    (tmp_path / "credenza.toml").chmod(0o644)
    tmp_path.chmod(0o755)
    container = start(f"--volume={tmp_path}:/etc/credenza:ro", f"--volume={shared}:/shared")
    assert int(engine.podman("wait", container).stdout) == 78
    assert "server.listen" in engine.logs(container)
