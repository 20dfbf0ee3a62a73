"""Runs the shipped Pod and compose file: a boto3 program of another user gets its credentials from the broker.

`Pair` has the requirements of both; the two fixtures start it from the shipped files.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import composed
import kubelet
import program
import pytest
import yaml
from conftest import BUCKET, IMAGE
from engine import Engine
from programs import Client, until
from seaweedfs import Key, SeaweedFS, new_key
from test_manifests import COMPOSE, SIDECAR

LISTED = f"buckets: {BUCKET}"
TOKEN = "/shared/credenza/token"
SHOW = "import os; print(os.getuid(), oct(os.stat('{0}').st_mode & 0o777), len(open('{0}').read()))"


@dataclass
class Pair:
    """A broker and the program beside it, both running, and the broker ready."""

    engine: Engine
    broker: str
    program: str
    user: str
    rotate: Callable[[Key], None]

    def client(self) -> Client:
        """A long-running boto3 in the program's container, as its user."""
        return Client(self._exec("--interactive", self.program, *program.LIST), self.engine.variables, self.engine.directory)

    def python(self, code: str, *flags: str):
        return self.engine.podman("exec", *flags, self.program, program.COMMAND[0], "-c", code, check=False)

    def status(self) -> dict:
        said = self.engine.podman("exec", self.broker, "/usr/bin/credenza", "status", "--json").stdout
        return json.loads(said)["identities"]["default"]

    def logs(self) -> str:
        return self.engine.logs(self.broker)

    def _exec(self, *arguments: str) -> list[str]:
        return self.engine.podman_command("exec", *arguments)


@pytest.fixture
def compose_pair(engine: Engine, seaweedfs: SeaweedFS, network: str, tmp_path: Path):
    """config/compose.yaml in Docker Compose's order: the broker, its health, then the program."""
    (tmp_path / "compose.yaml").write_text(COMPOSE.read_text())
    keys = tmp_path / "keys"
    keys.mkdir()
    kubelet.own(keys, 0o750, 10000)
    file = composed.resolve(tmp_path / "compose.yaml")
    names = []

    def run(name: str, image: str, where: str, *more: str, command: list[str] | None = None) -> str:
        service = file["services"][name] | {"image": image}
        service["command"] = command or service["command"]
        names.append(name)
        engine.podman("run", "--detach", "--name", name, "--no-healthcheck", *more, *composed.run_arguments(service, where))
        return name

    def write(key: Key) -> None:
        """Saves like an editor: a new file replaces the old one."""
        aside = keys / ".credentials.new"
        aside.write_text(key.section())
        kubelet.own(aside, 0o640, 10000)
        aside.replace(keys / "credentials")

    for name, volume in file["volumes"].items():
        engine.podman("volume", "create", *composed.create_arguments(volume), name)
    try:
        broker = run("credenza", IMAGE, network)
        health = composed.health_command(file["services"]["credenza"])
        until("it serves", lambda: "ready to answer" in engine.logs(broker))
        early = engine.podman("exec", broker, *health, check=False)
        assert early.returncode == 1, f"there are no keys yet, the program has to wait: {early}"
        write(seaweedfs.keys[0])
        until("the keys that came are noticed", lambda: engine.podman("exec", broker, *health, check=False).returncode == 0)
        mounts = [f"--volume={mount}:{mount}:ro" for mount in program.mounts()]
        variables = program.VARIABLES | {"AWS_ENDPOINT_URL_S3": seaweedfs.endpoint}
        beside = run(
            "program", program.IMAGE, f"container:{broker}", *mounts,
            *(f"--env={name}={value}" for name, value in variables.items()), command=program.COMMAND,
        )  # fmt: skip
        yield Pair(engine, broker, beside, file["services"]["program"]["user"].split(":")[0], write)
    finally:
        for name in reversed(names):
            print(f"--- what {name} logged\n{engine.logs(name)}")
            engine.podman("rm", "--force", "--time", "1", name, check=False)
        for name in file["volumes"]:
            engine.podman("volume", "rm", "--force", name, check=False)


@pytest.fixture
def pod_pair(engine: Engine, seaweedfs: SeaweedFS, tmp_path: Path):
    """config/kubernetes/sidecar.yaml, with volumes as a kubelet mounts them."""
    documents = list(yaml.safe_load_all(SIDECAR.read_text()))
    kubelet.one(documents, "Secret")["stringData"]["credentials"] = seaweedfs.keys[0].section()
    shipped = kubelet.one(documents, "Pod")
    paths, projected = kubelet.lay_out(documents, tmp_path)
    for mount in program.mounts():
        paths["host" + str(mount).replace("/", "-").lower().replace(".", "-").replace("_", "-")] = mount
    pod = kubelet.for_podman(shipped, paths)
    broker, beside = pod["spec"]["containers"]
    broker["image"], beside["image"], beside["command"] = IMAGE, program.IMAGE, program.COMMAND
    beside["env"] += [{"name": name, "value": value} for name, value in program.VARIABLES.items()]
    beside["env"] += [{"name": "AWS_ENDPOINT_URL_S3", "value": seaweedfs.endpoint}]
    beside["volumeMounts"] += [
        {"name": name, "mountPath": str(path), "readOnly": True} for name, path in paths.items() if name.startswith("host-")
    ]
    play = tmp_path / "pod.yaml"
    play.write_text(yaml.safe_dump(pod))
    names = [f"{pod['metadata']['name']}-{container['name']}" for container in (broker, beside)]
    probe = shipped["spec"]["initContainers"][0]["startupProbe"]["exec"]["command"]
    try:
        engine.podman("kube", "play", str(play))
        until("the startup probe succeeds", lambda: engine.podman("exec", names[0], *probe, check=False).returncode == 0)
        liveness = shipped["spec"]["initContainers"][0]["livenessProbe"]["exec"]["command"]
        engine.podman("exec", names[0], *liveness)
        user = str(beside["securityContext"]["runAsUser"])
        yield Pair(engine, *names, user, lambda key: projected["keys"].swap({"credentials": key.section()}))
    finally:
        for name in names:
            print(f"--- what {name} logged\n{engine.logs(name)}")
        engine.podman("pod", "rm", "--force", "--time", "1", pod["metadata"]["name"], check=False)


@pytest.fixture(params=["compose", "pod"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return request.getfixturevalue(f"{request.param}_pair")


def test_a_program_of_another_user_signs_with_the_lease(pair: Pair, seaweedfs: SeaweedFS):
    shown = pair.python(SHOW.format(TOKEN))
    assert shown.stdout.split() == [pair.user, "0o640", "64"], "another user, and the token is open to the group alone"
    with pair.client() as running:
        assert running.list() == LISTED
    first = pair.status()["access_key_id"]
    assert first == seaweedfs.keys[0].access_key_id
    assert seaweedfs.keys[0].secret_access_key not in pair.logs()


def test_nobody_else_gets_any(pair: Pair):
    """Refused: a user outside the group, a request without the auth token, and the key file to the program."""
    outside = pair.python(SHOW.format(TOKEN), "--user", "10002:10002")
    assert outside.returncode != 0 and "PermissionError" in outside.stderr, outside
    ask = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9733/credentials')"
    refused = pair.python(ask)
    assert refused.returncode != 0 and "401" in refused.stderr, refused
    hidden = pair.python("import os; os.stat('/run/secrets/credenza')")
    assert hidden.returncode != 0 and "FileNotFoundError" in hidden.stderr, hidden
    planted = pair.python(f"import os; os.remove('{TOKEN}')")
    assert planted.returncode != 0 and "Read-only file system" in planted.stderr, planted


def test_a_swapped_key_reaches_the_program(pair: Pair, seaweedfs: SeaweedFS):
    old, new = seaweedfs.keys[0], new_key()
    with pair.client() as running:
        assert running.list() == LISTED
        seaweedfs.set_keys([new])
        pair.rotate(new)
        until("the broker holds the new key", lambda: pair.status()["access_key_id"] == new.access_key_id)
        until("S3 knows the new key alone", lambda: running.list("fresh") == LISTED and _refused(seaweedfs, old))
        assert running.list("fresh") == LISTED
    logged = pair.logs()
    assert not [key for key in (old, new) if key.secret_access_key in logged]


def test_programs_survive_a_stop_and_a_start(pair: Pair):
    with pair.client() as running:
        assert running.list() == LISTED
        pair.engine.podman("stop", "--time", "10", pair.broker)
        assert pair.engine.exit_code(pair.broker) == 0, "killed after the grace period it would be 137"
        assert running.list() == LISTED, "what it holds is good for a while"
        assert running.list("fresh").startswith("error:")
        pair.engine.podman("start", pair.broker)
        until("the same token opens it again", lambda: running.list("fresh") == LISTED)


def _refused(server: SeaweedFS, key: Key) -> bool:
    from botocore.exceptions import ClientError

    try:
        server.s3(key).list_buckets()
    except ClientError:
        return True
    return False
