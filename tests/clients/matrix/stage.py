"""The parts around one cell: a home, an upstream, a broker, a relay before S3, and the client."""

import hashlib
import json
import re
import secrets
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from client import LEASE, Client
from imds import Credentials, Imds, in_seconds
from programs import Credenza, Held, environment, write
from relay import Relay
from seaweedfs import ROLE, Key, free_ports
from session import Loop, Once, Said, Session
from ways import Way

SSO_PROFILE = """\
[sso-session work]
sso_start_url = https://example.awsapps.com/start
sso_region = us-east-1
[profile dev]
sso_session = work
sso_account_id = 123456789012
sso_role_name = Dev
"""


class Wrong(Exception):
    """The cell failed; the message says how."""


class EmptyToken(Exception):
    """The client signed an empty X-Amz-Security-Token."""


@dataclass(frozen=True)
class Rolling(Credentials):
    """Credentials that always expire soon: each document says in this many seconds."""

    seconds: float = 3600.0
    told: list = field(default_factory=list, compare=False)

    def document(self) -> dict:
        end = in_seconds(self.seconds)
        self.told.append(end)
        return super().document() | {"Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ")}


@dataclass(frozen=True)
class Grant:
    """A grant with its token in a file; `ends` is a time of the clock."""

    name: str
    token_file: Path
    ends: float


def lent(key: Key, seconds: float) -> Rolling:
    return Rolling(key.access_key_id, key.secret_access_key, key.token, in_seconds(seconds), seconds)


class Stage:
    """A context manager; its processes end with it. Their output stays in `folder`."""

    def __init__(self, client: Client, way: Way, folder: Path, binary: Path, s3: Path, moto: Path, bucket: str):
        self.client, self.way, self.folder, self.binary, self.bucket = client, way, folder, binary, bucket
        self.s3, self.moto = s3, moto
        self.home, self.brokers_home = folder / "home", folder / "broker"
        for home in (self.home, self.brokers_home):
            home.mkdir(mode=0o700, parents=True)
        self.relay = Relay(s3)
        (self.port,) = free_ports(1)
        # The deadline of a call that has to succeed.
        self.patience = 60.0
        self.upstream: Imds | None = None
        self.sts: Relay | None = None
        self.broker: Credenza | None = None
        self.front: Relay | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "Stage":
        self._stack.enter_context(self.relay)
        return self

    def __exit__(self, *exception) -> None:
        self._stack.close()

    @property
    def lease(self) -> float:
        """The lifetime of the keys of an instance role in seconds, if they are to expire."""
        return float(self.client.lease.get(self.way.name, LEASE))

    # The broker, over one source or another.

    def over_keys(self, key: Key) -> None:
        """Long-lived keys, with so short a lease that every client requests again."""
        pair = f'access_key_id = "{key.access_key_id}", secret_access_key = "{key.secret_access_key}"'
        self._start(f"[identities.default]\nsources = [{{ {pair} }}]\n")

    def over_instance_role(self, key: Key, seconds: float, held: bool = False) -> None:
        """`held`: behind sockets that outlive the broker."""
        self.upstream = self._stack.enter_context(Imds(lent(key, seconds)))
        self._start(
            '[identities.default]\nsources = ["imds"]\n',
            held,
            AWS_EC2_METADATA_DISABLED="false",
            AWS_EC2_METADATA_SERVICE_ENDPOINT=self.upstream.endpoint,
        )

    def over_role(self, key: Key, arn: str, session_name: str) -> None:
        """A role that the broker assumes at moto, with keys that it never serves."""
        self.sts = self._stack.enter_context(Relay(self.moto))
        pair = f'access_key_id = "{key.access_key_id}", secret_access_key = "{key.secret_access_key}"'
        role = f'role_arn = "{arn}", session_name = "{session_name}", source = {{ {pair} }}'
        self._start(f"[identities.default]\nsources = [{{ {role} }}]\n", AWS_ENDPOINT_URL_STS=self.sts.endpoint)

    def over_s3_role(self, key: Key, clients: dict[str, str] | None = None) -> None:
        """A role that the broker assumes at the STS of SeaweedFS, and a relay that counts the requests for credentials.

        `clients` have an identity and a token each, and more keys for their source.
        """
        issuer = self._stack.enter_context(Relay(self.s3))
        pair = f'access_key_id = "{key.access_key_id}", secret_access_key = "{key.secret_access_key}"'
        config = ""
        for name, more in (clients or {"default": ""}).items():
            role = f'role_arn = "{ROLE}", source = {{ {pair} }}{more}'
            config += f"[identities.{name}]\nsources = [{{ {role} }}]\n"
            if clients is not None:
                token_file = self.write(f"token-of-{name}", secrets.token_hex(32))
                config += f'[clients.{name}]\ntoken_file = "{token_file}"\nidentities = ["{name}"]\n'
        self._start(config, AWS_ENDPOINT_URL_STS=issuer.endpoint)
        self.front = self._stack.enter_context(Relay(self.broker.address))

    def over_an_ended_log_in(self) -> None:
        cache = self.brokers_home / ".aws" / "sso" / "cache"
        cache.mkdir(mode=0o700, parents=True)
        (cache.parent.parent / "config").write_text(SSO_PROFILE)
        log_in = {
            "startUrl": "https://example.awsapps.com/start",
            "region": "us-east-1",
            "accessToken": "ended",
            "expiresAt": "2020-01-01T00:00:00Z",
        }
        (cache / f"{hashlib.sha1(b'work').hexdigest()}.json").write_text(json.dumps(log_in))
        self._start('[identities.default]\nsources = [{ profile = "dev" }]\n')

    @property
    def config(self) -> Path:
        return self.brokers_home / "credenza.toml"

    @property
    def address(self) -> str:
        """The URL of the broker, or of the relay before it."""
        return self.front.endpoint if self.front else self.broker.address

    def write(self, name: str, text: str) -> Path:
        """Writes a file of the broker's owner."""
        return write(self.brokers_home / name, text)

    def client_token(self, name: str) -> Path:
        return self.brokers_home / f"token-of-{name}"

    def grant(self, name: str, seconds: int, *flags: str, identity: str = "default") -> Grant:
        token_file = self.home / f"grant-{name}"
        given = ["--identity", identity, "--for", f"{seconds}s", "--client-file", str(token_file)]
        made = self.broker.command("grant", name, *given, *flags)
        return Grant(name, token_file, datetime.fromisoformat(made["expires"]).timestamp())

    def revoke(self, grant: Grant) -> None:
        self.broker.command("revoke", grant.name)
        status, body = self.broker.ask(token=grant.token_file.read_text())
        if (status, body.get("code")) != (401, "InvalidAuthorizationToken"):
            raise Wrong(f"the broker answers the token of a revoked grant: {status} {body.get('code')}")

    def requests(self) -> int:
        """The number of requests for credentials since the last call."""
        return len(self.front.news())

    def _start(self, config: str, held: bool = False, **variables: str) -> None:
        write(self.config, config + self.way.settings(self))
        given = ["--config", str(self.config), *self.way.listen()]
        if held:
            ports = [0, self.port] if self.way.name == "imds" else [0]
            broker = Held(self.binary, self.brokers_home, ports, *given, **variables)
        else:
            broker = Credenza(self.binary, self.brokers_home, *given, **variables)
        self.broker = self._stack.enter_context(broker)

    # The client.

    def session(self, token_file: Path | None = None, call: str = "list") -> Session:
        approach = self.way.approach(self, token_file or self.broker.token_file)
        variables = environment(self.home, **approach.variables)
        variables |= {"AWS_ENDPOINT_URL_S3": self.relay.endpoint, "MATRIX_BUCKET": self.bucket}
        if self.sts is not None:
            variables["AWS_ENDPOINT_URL_STS"] = self.sts.endpoint
        if self.way.name == "imds":
            del variables["AWS_EC2_METADATA_DISABLED"]
        arguments = ([*approach.around, *self.client.run], variables, self.home, self.folder / "client.err", call)
        if self.client.kind == "once":
            session = Once(*arguments, reads=False)
        elif approach.around:
            session = Once(*arguments, reads=True)
        else:
            session = Loop(*arguments)
        return self._stack.enter_context(session)

    def wrong_token_file(self) -> Path:
        return write(self.home / "wrong-token", "not-the-token-" + "x" * 40)

    # The recorded requests.

    def signers(self) -> list[str | None]:
        """The access key ids of the requests since the last call, unordered; None for an unsigned request."""
        return [_signer(head) for head in self.relay.news()]

    def works_with(self, said: Said, *keys: Key) -> Key | None:
        """Returns the key that a call was signed with; Wrong unless it succeeded, with one of the keys and its token.

        Without keys: with any temporary key.
        """
        heads = self.relay.news()
        if not said.listed:
            raise Wrong(f"a call failed: {said.text}")
        if self.bucket not in said.text and "was-here" not in said.text:
            raise Wrong(f"listed something else: {said.text}")
        if not heads:
            raise Wrong("no request reached S3 through the relay")
        return _signed_with(heads, keys) if keys else _signed_with_a_token(heads)

    def signed(self) -> None:
        """Raises Wrong unless the requests since the last call were signed with temporary keys."""
        _signed_with_a_token(self.relay.news())

    def called_with(self, said: Said, key: Key, arn: str) -> None:
        """Raises Wrong unless STS answered the call, which was signed with this key and its token, with this ARN."""
        heads = self.sts.news()
        if said.called is None:
            raise Wrong(f"a call failed: {said.text}")
        if said.called != arn:
            raise Wrong(f"is {said.called} and not {arn}")
        if not heads:
            raise Wrong("no request reached STS through the relay")
        _signed_with(heads, (key,))

    def beware_of_keys(self) -> str:
        """After a refusal: nothing was signed. Unsigned requests are reported."""
        signers = self.signers()
        if signed := [signer for signer in signers if signer is not None]:
            raise Wrong(f"signed with {signed[0]} although it was given nothing")
        return "sends its request unsigned" if signers else ""


def _signed_with(heads: list[dict[str, str]], keys: tuple[Key, ...]) -> Key | None:
    """Returns the key of the last request; Wrong unless each was signed with one of the keys and its token."""
    used = None
    for head in heads:
        used = next((key for key in keys if key.access_key_id == _signer(head)), None)
        if used is None:
            raise Wrong(f"signed with {_signer(head)}, the broker serves {' and '.join(key.access_key_id for key in keys)}")
        token = head.get("x-amz-security-token")
        if used.token is None and token == "":
            raise EmptyToken
        if token != used.token:
            raise Wrong(f"signed with {'no token' if token is None else 'another token'} than the one of {used.access_key_id}")
    return used


def _signed_with_a_token(heads: list[dict[str, str]]) -> None:
    if not heads:
        raise Wrong("no request reached S3 through the relay")
    for head in heads:
        if _signer(head) is None or not head.get("x-amz-security-token"):
            raise Wrong(f"signed without temporary keys, but with {_signer(head)}")


def _signer(head: dict[str, str]) -> str | None:
    found = re.search(r"Credential=([^/]+)/", head.get("authorization", ""))
    return found[1] if found else None
