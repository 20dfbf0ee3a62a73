"""A real API server accepts the shipped manifests unchanged, under the strictest Pod Security Standard."""

from pathlib import Path

import pytest
import yaml

SIDECAR = Path(__file__).parent.parent.parent / "config" / "kubernetes" / "sidecar.yaml"
PATHS = {"Secret": "secrets", "ConfigMap": "configmaps", "Pod": "pods"}
# Nothing is stored, all of admission runs, and an unknown or repeated field is an error.
DRY = "?dryRun=All&fieldValidation=Strict"


@pytest.fixture(scope="session")
def restricted(api) -> str:
    """A namespace that refuses every Pod that is not `restricted`."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "closed", "labels": labels}}
    assert api.ask("POST", "/api/v1/namespaces", namespace)[0] == 201
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    assert api.ask("POST", "/api/v1/namespaces/closed/serviceaccounts", account)[0] == 201
    return "closed"


def documents() -> list[dict]:
    return list(yaml.safe_load_all(SIDECAR.read_text()))


@pytest.mark.parametrize("kind", list(PATHS))
def test_the_server_accepts_and_keeps_every_field(api, restricted: str, kind: str):
    [document] = [one for one in documents() if one["kind"] == kind]
    code, taken = api.ask("POST", f"/api/v1/namespaces/{restricted}/{PATHS[kind]}{DRY}", document)
    assert code == 201, taken
    if kind == "Pod":
        [sidecar] = taken["spec"]["initContainers"]
        assert sidecar["restartPolicy"] == "Always" and sidecar["startupProbe"]["exec"]["command"]
        assert taken["spec"]["securityContext"]["fsGroup"] == 10000


def test_refuses_wrong_manifests(api, restricted: str):
    """The check can fail: a field that does not exist, and a container that may gain privileges."""
    path = f"/api/v1/namespaces/{restricted}/pods{DRY}"
    [pod] = [one for one in documents() if one["kind"] == "Pod"]
    pod["spec"]["initContainers"][0]["restartPolcy"] = "Always"
    code, said = api.ask("POST", path, pod)
    assert code == 400 and "restartPolcy" in said["message"], said
    [pod] = [one for one in documents() if one["kind"] == "Pod"]
    del pod["spec"]["initContainers"][0]["securityContext"]["allowPrivilegeEscalation"]
    code, said = api.ask("POST", path, pod)
    assert code == 403 and "restricted" in said["message"], said
