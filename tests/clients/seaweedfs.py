"""SeaweedFS as a counterpart: an S3 that verifies signatures and session tokens, and an STS that issues them."""

import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

START_DEADLINE = 60.0
ROLE = "arn:aws:iam::role/S3Role"
CHAIN = ["arn:aws:iam::role/First", "arn:aws:iam::role/Second", "arn:aws:iam::role/Third"]
WEB_ROLE = "arn:aws:iam::role/WebRole"
REGION = "us-east-1"
AUDIENCE = "sts.amazonaws.com"


@dataclass(frozen=True)
class Key:
    """A long-lived key pair, or a temporary one if it has a token."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expiration: datetime | None = None

    def section(self, profile: str = "default") -> str:
        """A profile of the shared credentials file."""
        lines = [f"[{profile}]", f"aws_access_key_id = {self.access_key_id}", f"aws_secret_access_key = {self.secret_access_key}"]
        if self.token is not None:
            lines.append(f"aws_session_token = {self.token}")
        return "\n".join(lines) + "\n"


def new_key(prefix: str = "AKIA") -> Key:
    """A random key. Half of the secret consists of characters that parsers and URLs often get wrong."""
    secret = secrets.token_hex(10) + "/+=" + secrets.token_hex(8) + "+/"
    return Key(prefix + secrets.token_hex(8).upper(), secret)


class SeaweedFS:
    """One `weed server` with its own data, ports and log. A context manager."""

    def __init__(self, directory: Path, keys: list[Key], issuer: str | None = None):
        """Accepts web identity tokens of the issuer, with the keys at its `/jwks`."""
        self.issuer = issuer
        self.directory = directory
        self.keys = list(keys)
        self.endpoint = ""
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "SeaweedFS":
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write_keys()
        (self.directory / "iam.json").write_text(json.dumps(_iam(self.issuer)))
        for _attempt in range(3):
            if self._start():
                return self
        raise RuntimeError(f"SeaweedFS did not start; its log is {self.log}:\n{self.log.read_text()[-3000:]}")

    def __exit__(self, *_exception) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        return self.directory / "weed.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def set_keys(self, keys: list[Key]) -> None:
        """Replaces the long-lived keys; takes effect within a second or so."""
        self.keys = list(keys)
        self._write_keys()
        os.kill(self.pid, signal.SIGHUP)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.kill()  # a graceful stop takes 15 s to save data that is deleted anyway
        process.wait()

    def session(self, duration: int = 3600, key: Key | None = None) -> Key:
        """Returns temporary keys of its STS."""
        issued = self.sts(key).assume_role(RoleArn=ROLE, RoleSessionName="tests", DurationSeconds=duration)["Credentials"]
        return Key(issued["AccessKeyId"], issued["SecretAccessKey"], issued["SessionToken"], issued["Expiration"])

    def sts(self, key: Key | None = None):
        """A boto3 client of its STS."""
        import boto3

        key = key or self.keys[0]
        return boto3.client(
            "sts",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=key.access_key_id,
            aws_secret_access_key=key.secret_access_key,
        )

    def s3(self, key: Key | None = None):
        """A boto3 client with a fixed key, which uses no credential source."""
        import boto3
        from botocore.config import Config

        key = key or self.keys[0]
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=key.access_key_id,
            aws_secret_access_key=key.secret_access_key,
            aws_session_token=key.token,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def _write_keys(self) -> None:
        identities = [
            {
                "name": f"key{number}",
                "credentials": [{"accessKey": key.access_key_id, "secretKey": key.secret_access_key}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
            for number, key in enumerate(self.keys)
        ]
        config = self.directory / "s3.json"
        config.with_suffix(".new").write_text(json.dumps({"identities": identities}))
        config.with_suffix(".new").replace(config)

    def _start(self) -> bool:
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc = free_ports(8)
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        command = [
            weed(), "-logtostderr=true", "server", "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", "-dir", str(data),
            "-master.port", str(master), "-master.port.grpc", str(master_grpc), "-master.volumeSizeLimitMB", "64",
            "-volume.port", str(volume), "-volume.port.grpc", str(volume_grpc), "-volume.preStopSeconds", "0",
            "-filer.port", str(filer), "-filer.port.grpc", str(filer_grpc), "-filer.localSocket", str(self.directory / "filer.sock"),
            "-s3", "-s3.port", str(s3), "-s3.port.grpc", str(s3_grpc), "-s3.localSocket", str(self.directory / "s3.sock"),
            "-s3.config", str(self.directory / "s3.json"), "-s3.iam.config", str(self.directory / "iam.json"),
            "-s3.port.iceberg", "0", "-s3.port.lance", "0",
        ]  # fmt: skip
        # Without AWS_*: the embedded S3 would take such keys for its administrator's.
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(self.directory)}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.endpoint = f"http://127.0.0.1:{s3}"
        deadline = time.monotonic() + START_DEADLINE
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers():
                return True
            time.sleep(0.1)
        self.stop()
        return False

    def _answers(self) -> bool:
        """Returns true if a signed request is served: the port is open some seconds before the filer is."""
        try:
            urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=1).close()
        except urllib.error.HTTPError:
            pass
        except OSError:
            return False
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.s3().list_buckets()
            return True
        except (BotoCoreError, ClientError):
            return False


def weed() -> str:
    """The binary of our virtual environment."""
    return str(Path(sysconfig.get_path("scripts")) / "weed")


def free_ports(count: int) -> list[int]:
    """Ports without a listener, below the range that the kernel uses for outgoing connections."""
    ports: list[int] = []
    for _ in range(2000):
        if len(ports) == count:
            return ports
        port = random.randrange(15000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    raise RuntimeError("no free ports on loopback")


def _iam(issuer: str | None) -> dict:
    everything = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["s3:*", "sts:*"], "Resource": ["*"]}],
    }
    config = {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "issuer": "seaweedfs-sts",
            "signingKey": b64encode(secrets.token_bytes(32)).decode(),
        },
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [{"name": "S3Full", "document": everything}],
        "roles": [_role(role, {"AWS": "*"}, "AssumeRole") for role in [ROLE, *CHAIN]],
    }
    if issuer is not None:
        known = {"issuer": issuer, "clientId": AUDIENCE, "jwksUri": f"{issuer}/jwks"}
        config["providers"] = [{"name": "oidc", "type": "oidc", "enabled": True, "config": known}]
        config["roles"].append(_role(WEB_ROLE, {"Federated": "*"}, "AssumeRoleWithWebIdentity"))
    return config


def _role(arn: str, principal: dict, action: str) -> dict:
    trust = {"Effect": "Allow", "Principal": principal, "Action": [f"sts:{action}"]}
    return {
        "roleName": arn.rpartition("/")[2],
        "roleArn": arn,
        "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
        "attachedPolicies": ["S3Full"],
    }
