"""One API server for all tests: it starts pytest as its command."""

import json
import os
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "clients"))

from programs import until  # noqa: E402
from seaweedfs import free_ports  # noqa: E402


class ApiServer:
    """Sends requests as the cluster's administrator."""

    def __init__(self, address: str, certificate: str, token: str):
        self._address, self._token = address, token
        self._trust = ssl.create_default_context(cafile=certificate)

    def ask(self, method: str, path: str, document: dict | None = None) -> tuple[int, dict]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self._address + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._trust) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.loads(refusal.read())


@pytest.fixture(scope="session")
def api():
    """A cluster with only the namespace `default` and its service account, which a controller would create."""
    with tempfile.TemporaryDirectory(prefix="credenza-kubernetes-") as folder:
        # It prints its address, and then waits for the end of its input.
        say = 'echo "$KUBE_API $KUBE_CA $KUBE_ADMIN_TOKEN"; read -r _ || true'
        process = subprocess.Popen(
            [str(HERE / "apiserver.sh"), "run", folder, "bash", "-c", say],
            env=os.environ | {"KUBE_PORT": str(_port())}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            words = process.stdout.readline().split()
            assert len(words) == 3, "the API server did not start; what it said stands above"
            server = ApiServer(*words)
            until("the namespace is there", lambda: server.ask("GET", "/api/v1/namespaces/default")[0] == 200)
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            code, said = server.ask("POST", "/api/v1/namespaces/default/serviceaccounts", account)
            assert code == 201, said
            yield server
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait(60)


def _port() -> int:
    """The first of three consecutive ports without a listener."""
    import socket

    for port in free_ports(20):
        probes = [socket.socket() for _ in range(3)]
        try:
            for number, probe in enumerate(probes):
                probe.bind(("127.0.0.1", port + number))
            return port
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
    raise RuntimeError("no three free ports in a row on loopback")
