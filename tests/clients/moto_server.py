"""moto as a counterpart: an IAM and an STS that check signatures, for the operations that SeaweedFS lacks."""

import subprocess
import sys
import urllib.request
from pathlib import Path

import boto3

from programs import until
from seaweedfs import Key, free_ports

REGION = "us-east-1"
ACCOUNT = "123456789012"
EVERYTHING = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
ANYBODY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}'
START_DEADLINE = 60.0


class Moto:
    """One server with a user that has a key, and roles that any caller may assume. A context manager."""

    def __init__(self, log: Path, roles: list[str]):
        (port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{port}"
        self._roles = roles
        self._log = log
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def __enter__(self) -> "Moto":
        until("moto answers", self._answers, START_DEADLINE)
        iam = self.client("iam", Key("x", "y"))
        iam.create_user(UserName="user")
        iam.put_user_policy(UserName="user", PolicyName="everything", PolicyDocument=EVERYTHING)
        created = iam.create_access_key(UserName="user")["AccessKey"]
        self.key = Key(created["AccessKeyId"], created["SecretAccessKey"])
        for role in self._roles:
            iam.create_role(RoleName=role, AssumeRolePolicyDocument=ANYBODY)
            iam.put_role_policy(RoleName=role, PolicyName="everything", PolicyDocument=EVERYTHING)
        return self

    def __exit__(self, *_exception) -> None:
        self._process.terminate()
        self._process.wait()

    def check_signatures(self) -> None:
        """From the next request on."""
        headers = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/moto-api/reset-auth", b"0", headers)).close()

    def client(self, service: str, key: Key):
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=key.access_key_id,
            aws_secret_access_key=key.secret_access_key,
            aws_session_token=key.token,
        )

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            urllib.request.urlopen(f"{self.endpoint}/moto-api/data.json", timeout=1).close()
            return True
        except OSError:
            return False
