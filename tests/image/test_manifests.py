"""The shipped files are valid, without a cluster or an engine."""

import subprocess
import sys
from pathlib import Path

import composed
import pytest
import yaml
from conftest import REPOSITORY
from kubelet import one

SIDECAR = REPOSITORY / "config" / "kubernetes" / "sidecar.yaml"
COMPOSE = REPOSITORY / "config" / "compose.yaml"
TOOLS = Path(sys.prefix) / "bin"


def version() -> str:
    [line] = [line for line in (REPOSITORY / "Cargo.toml").read_text().splitlines() if line.startswith("version = ")]
    return line.split('"')[1]


def run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)


def test_hadolint_finds_nothing():
    said = run(TOOLS / "hadolint", "--no-color", REPOSITORY / "Dockerfile")
    assert (said.returncode, said.stdout) == (0, ""), said


@pytest.mark.parametrize("kubernetes", ["1.29", "1.37"])
def test_kubernetes_schema(kubernetes: str):
    said = run(TOOLS / "kubernetes-validate", "--strict", "-k", kubernetes, SIDECAR)
    assert said.returncode == 0, said
    assert (said.stdout + said.stderr).count(" passed for resource ") == 3, said


def test_kubernetes_schema_refuses_a_slip(tmp_path: Path):
    """The check can fail: one extra letter in a field of the sidecar."""
    slip = tmp_path / "slip.yaml"
    slip.write_text(SIDECAR.read_text().replace("readOnlyRootFilesystem", "readOnlyRootFileSystem", 1))
    assert run(TOOLS / "kubernetes-validate", "--strict", slip).returncode != 0


def test_the_pod_meets_the_restricted_standard():
    spec = one(list(yaml.safe_load_all(SIDECAR.read_text())), "Pod")["spec"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert not spec["automountServiceAccountToken"]
    containers = spec["initContainers"] + spec["containers"]
    assert [container["name"] for container in containers] == ["credenza", "program"]
    for container in containers:
        context = container["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]} and not context["allowPrivilegeEscalation"]
        assert context["readOnlyRootFilesystem"] and "privileged" not in context
    users = {container["securityContext"]["runAsUser"] for container in containers}
    assert len(users) == 2 and 0 not in users, "two users, so that only the group opens the token"


def test_docker_compose_reads_the_file():
    services = composed.resolve(COMPOSE)["services"]
    program, broker = services["program"], services["credenza"]
    assert program["depends_on"]["credenza"] == {"condition": "service_healthy", "restart": True, "required": True}
    assert program["network_mode"] == "service:credenza"
    for service in (program, broker):
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]


def test_docker_compose_refuses_a_slip(tmp_path: Path):
    slip = tmp_path / "compose.yaml"
    slip.write_text(COMPOSE.read_text().replace("cap_drop", "capdrop", 1))
    with pytest.raises(AssertionError, match="capdrop"):
        composed.resolve(slip)


def test_the_manifests_name_this_version():
    pod = one(list(yaml.safe_load_all(SIDECAR.read_text())), "Pod")
    images = {pod["spec"]["initContainers"][0]["image"], composed.resolve(COMPOSE)["services"]["credenza"]["image"]}
    assert images == {f"credenza:{version()}"}
    assert f"ARG VERSION={version()}\n" in (REPOSITORY / "Dockerfile").read_text()
