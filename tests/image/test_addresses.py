"""The well-known addresses, owned by the tests' network: boto3 finds the broker there without a port in any variable."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from programs import until

ADDRESSES = ["169.254.170.2/32", "169.254.170.23/32", "169.254.169.254/32", "fd00:ec2::254/128", "fd00:ec2::23/128"]
PRINT = "import boto3; c = boto3.Session().get_credentials(); print(c and (c.method, c.get_frozen_credentials().access_key))"
CONFIGURATION = """
[server]
listen = ["127.0.0.1:0", "169.254.170.2:80", "169.254.170.23:80", "[fd00:ec2::23]:80"]
token_file = "{home}/run/token"

[imds]
listen = ["169.254.169.254:80", "[fd00:ec2::254]:80"]
"""


@pytest.fixture(scope="module")
def broker(binary: Path, tmp_path_factory: pytest.TempPathFactory):
    """The home folder of a broker at all addresses, with temporary keys in its environment."""
    for address in ADDRESSES:
        subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
    home = tmp_path_factory.mktemp("addresses")
    configuration = home / "credenza.toml"
    configuration.write_text(CONFIGURATION.format(home=home))
    keys = {"AWS_ACCESS_KEY_ID": "ASIAHERE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
    command = [str(binary), "serve", "--config", str(configuration)]
    with (home / "log").open("wb") as log, subprocess.Popen(command, env=keys, cwd=home, stdout=log, stderr=log) as running:
        until("the broker has credentials", lambda: b"lease renewed" in (home / "log").read_bytes())
        yield home
        running.terminate()


TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"


@pytest.mark.parametrize(
    ("variables", "method"),
    [
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/default", TOKEN_FILE: "run/token"}, "container-role"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/credentials", TOKEN_FILE: "run/token"}, "container-role"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://[fd00:ec2::23]/credentials", TOKEN_FILE: "run/token"}, "container-role"),
        ({}, "iam-role"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, "iam-role"),
    ],
    ids=["relative-uri", "pod-identity", "pod-identity-ipv6", "imds", "imds-ipv6"],
)
def test_boto3_finds_the_broker(broker: Path, variables: dict[str, str], method: str):
    environment = {"PATH": os.environ["PATH"], "HOME": str(broker)} | variables
    ended = subprocess.run([sys.executable, "-c", PRINT], env=environment, cwd=broker, capture_output=True, text=True)
    assert ended.stdout.strip() == str((method, "ASIAHERE")), ended


HOPS = {"169.254.169.254": 1, "169.254.170.2": 1, "169.254.170.23": 1, "fd00:ec2::254": 1, "fd00:ec2::23": 1, "127.0.0.1": 64}


@pytest.mark.parametrize(("address", "hops"), HOPS.items())
def test_responses_of_known_addresses_have_a_ttl_of_one(broker: Path, address: str, hops: int):
    """The time to live of the broker's packets on the wire."""
    port = 80 if hops == 1 else int((broker / "log").read_text().split("listening on http://127.0.0.1:")[1].split()[0])
    six = ":" in address
    ethertype = 0x86DD if six else 0x0800
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ethertype)) as wire:
        wire.bind(("lo", ethertype))
        wire.settimeout(5)
        with socket.create_connection((address, port)) as asking:
            asking.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert asking.recv(100).startswith(b"HTTP/1.1 401")
            ours = asking.getsockname()[1]
        seen = set()
        while not seen:
            packet = wire.recv(65536)
            head = 40 if six else (packet[0] & 15) * 4
            # Protocol 6 is TCP; from the broker's port to ours, with the response.
            if packet[6 if six else 9] == 6 and packet[head : head + 4] == port.to_bytes(2) + ours.to_bytes(2) and b"HTTP/1.1 401" in packet:
                seen.add(packet[7 if six else 8])
    assert seen == {hops}
