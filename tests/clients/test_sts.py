"""Profiles that assume roles at foreign STS implementations: SeaweedFS, with an S3 that checks the keys, and moto."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from conftest import BUCKET
from identity_provider import IdentityProvider
from moto_server import ACCOUNT, Moto
from programs import environment, once, write
from seaweedfs import CHAIN, ROLE, WEB_ROLE, Key, SeaweedFS, new_key
from sts import Issued, Sts

READ_ONLY = """{
  "Version": "2012-10-17",
  "Statement": [{ "Effect": "Allow", "Action": ["s3:ListAllMyBuckets", "s3:ListBucket", "s3:GetObject"], "Resource": "*" }]
}
"""
WHO = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
LISTED = f"buckets: {BUCKET}"
SESSION = '[defaults]\nlong_lived_keys = "session"\nsession_duration = "1h"\n'


def profiles(home: Path, key: Key, provider: IdentityProvider | None = None) -> None:
    """`role` over a key, `chain` of three over it, `web` over a token."""
    write(home / ".aws/credentials", key.section("base"))
    role = "[profile {}]\nrole_arn = {}\nsource_profile = {}\n".format
    first, second, third = CHAIN
    config = role("role", ROLE, "base") + role("first", first, "base") + role("second", second, "first")
    config += role("chain", third, "second")
    if provider is not None:
        token = write(home / "token", provider.token())
        config += f"[profile web]\nrole_arn = {WEB_ROLE}\nweb_identity_token_file = {token}\nrole_session_name = pod\n"
    write(home / ".aws/config", config)


def get(binary: Path, home: Path, endpoint: str, *flags: str):
    return once([str(binary), "get", *flags], environment(home, AWS_ENDPOINT_URL_STS=endpoint), home)


def keys(done) -> Key:
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return Key(told["AccessKeyId"], told["SecretAccessKey"], told["SessionToken"], told["Expiration"])


# SeaweedFS.


@pytest.mark.parametrize("profile", ["role", "chain", "web"])
def test_seaweedfs_accepts_the_keys_of_its_sts(binary, home, seaweedfs, identity_provider, profile):
    profiles(home, seaweedfs.keys[0], identity_provider)
    issued = keys(get(binary, home, seaweedfs.endpoint, "--profile", profile))
    assert issued.access_key_id.startswith("ASIA")
    assert BUCKET in [bucket["Name"] for bucket in seaweedfs.s3(issued).list_buckets()["Buckets"]]


@pytest.mark.parametrize("profile", ["role", "chain", "web"])
def test_sdks_use_a_role_through_the_broker(sdk, home, seaweedfs, identity_provider, credenza, client, relay, profile):
    profiles(home, seaweedfs.keys[0], identity_provider)
    broker = credenza("--profile", profile, AWS_ENDPOINT_URL_STS=seaweedfs.endpoint)
    assert client(sdk, broker.variables_for_clients(), relay.endpoint).list() == LISTED
    (request,) = relay.requests()
    assert request["x-amz-security-token"] and seaweedfs.keys[0].access_key_id not in request["authorization"]


def test_reads_a_rotated_web_identity_token(binary, home, seaweedfs, identity_provider):
    profiles(home, seaweedfs.keys[0], identity_provider)
    for bad in (identity_provider.token(seconds=-60), identity_provider.token() + "x", identity_provider.token(audience="x")):
        write(home / "token", bad)
        refused = get(binary, home, seaweedfs.endpoint, "--profile", "web")
        assert refused.returncode == 1 and f"{home}/.aws/config, line" in refused.stderr, refused
        assert bad not in refused.stderr
    write(home / "token", identity_provider.token())
    keys(get(binary, home, seaweedfs.endpoint, "--profile", "web"))


def test_reports_refusals_of_seaweedfs_with_their_location(binary, home, seaweedfs):
    profiles(home, Key(seaweedfs.keys[0].access_key_id, "another-secret"))
    refused = get(binary, home, seaweedfs.endpoint, "--profile", "role")
    assert refused.returncode == 1 and "SignatureDoesNotMatch" in refused.stderr, refused
    assert f"{home}/.aws/config, line 2: " in refused.stderr, refused
    assert "another-secret" not in refused.stderr


def test_seaweedfs_applies_a_session_policy(binary, home, seaweedfs):
    """The role may do everything, and the session only what the policy allows as well."""
    profiles(home, seaweedfs.keys[0])
    policy = write(home / "read-only.json", READ_ONLY)
    issued = keys(get(binary, home, seaweedfs.endpoint, "--profile", "role", "--policy", str(policy)))
    s3 = seaweedfs.s3(issued)
    assert BUCKET in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.put_object(Bucket=BUCKET, Key="narrowed", Body=b"x")
    whole = keys(get(binary, home, seaweedfs.endpoint, "--profile", "role"))
    seaweedfs.s3(whole).put_object(Bucket=BUCKET, Key="narrowed", Body=b"x")
    seaweedfs.s3(whole).delete_object(Bucket=BUCKET, Key="narrowed")


# moto, which has GetSessionToken and GetFederationToken.


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("moto") / "log", ["S3Role", "First", "Second", "Third"]) as server:
        yield server


def test_moto_gives_roles_and_sessions(binary: Path, home: Path, moto: Moto, tmp_path: Path):
    """First without signature checks, for a web identity, which moto cannot serve with them; then with them."""
    roles = f"arn:aws:iam::{ACCOUNT}:role/"
    token = write(tmp_path / "token", "any-token")
    profiles(home, moto.key)
    file = home / ".aws/config"
    config = file.read_text().replace("arn:aws:iam::role/", roles)
    write(file, config + f"[profile web]\nrole_arn = {roles}First\nweb_identity_token_file = {token}\n")
    assert keys(get(binary, home, moto.endpoint, "--profile", "web")).access_key_id.startswith("ASIA")

    moto.check_signatures()
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        moto.client("sts", Key(moto.key.access_key_id, "another")).get_caller_identity()
    for profile, role in (("role", "S3Role"), ("chain", "Third")):
        issued = keys(get(binary, home, moto.endpoint, "--profile", profile))
        who = moto.client("sts", issued).get_caller_identity()["Arn"]
        assert who.startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/credenza-"), who

    toml = write(home / "credenza.toml", SESSION)
    session = keys(get(binary, home, moto.endpoint, "--config", str(toml), "--profile", "base"))
    assert session.access_key_id != moto.key.access_key_id and session.token

    profiles(home, Key(moto.key.access_key_id, "another"))
    for flags in (["--profile", "role"], ["--profile", "base", "--config", str(toml)]):
        refused = get(binary, home, moto.endpoint, *flags)
        assert refused.returncode == 1 and "SignatureDoesNotMatch" in refused.stderr, refused


def test_moto_narrows_roles_and_users(binary: Path, home: Path, moto: Moto):
    roles = f"arn:aws:iam::{ACCOUNT}:role/"
    profiles(home, moto.key)
    file = home / ".aws/config"
    write(file, file.read_text().replace("arn:aws:iam::role/", roles))
    policy = str(write(home / "read-only.json", READ_ONLY))
    for profile, arn in (("role", "assumed-role/S3Role/credenza-default"), ("base", "federated-user/credenza-default")):
        issued = keys(get(binary, home, moto.endpoint, "--profile", profile, "--policy", policy))
        assert issued.access_key_id != moto.key.access_key_id and issued.token
        if profile == "role":
            assert moto.client("sts", issued).get_caller_identity()["Arn"] == f"arn:aws:sts::{ACCOUNT}:{arn}"
    command = [str(binary), "exec", "--profile", "role", "--policy", policy, "--for", "30m", "--", sys.executable, "-c", WHO]
    ended = once(command, environment(home, AWS_ENDPOINT_URL_STS=moto.endpoint), home)
    assert ended.returncode == 0 and "assumed-role/S3Role/credenza-default" in ended.stdout, ended


# Long-lived keys that never leave the broker.


@pytest.fixture
def session_tokens(seaweedfs: SeaweedFS) -> Iterator[Sts]:
    """GetSessionToken for the long-lived key of SeaweedFS, which lacks the operation: the answer is a session of SeaweedFS,
    so that its S3 can check the keys."""
    key = seaweedfs.keys[0]

    def others(access_key_id: str, token: str | None) -> tuple[str, str] | None:
        known = access_key_id == key.access_key_id and token is None
        return (access_key_id, key.secret_access_key) if known else None

    def session() -> Issued:
        issued = seaweedfs.session()
        return Issued(issued.access_key_id, issued.secret_access_key, issued.token)

    with Sts(others, session) as sts:
        yield sts


def test_sdks_use_a_session_of_long_lived_keys(
    sdk, home, seaweedfs, session_tokens, credenza, client, relay
):
    """The SDK for Rust signs an empty token with long-lived keys, which AWS refuses; here it gets a real token."""
    key = seaweedfs.keys[0]
    profiles(home, key)
    toml = write(home / "credenza.toml", SESSION)
    broker = credenza("--config", str(toml), "--profile", "base", AWS_ENDPOINT_URL_STS=session_tokens.endpoint)
    assert client(sdk, broker.variables_for_clients(), relay.endpoint).list() == LISTED
    assert session_tokens.calls == [("GetSessionToken", key.access_key_id)]
    (request,) = relay.requests()
    assert request["x-amz-security-token"] and key.access_key_id not in request["authorization"]
    served = json.dumps(broker.ask()[1])
    assert key.access_key_id not in served and key.secret_access_key not in served


def test_a_wrong_key_becomes_no_session(home, seaweedfs, session_tokens, credenza):
    profiles(home, Key(seaweedfs.keys[0].access_key_id, new_key().secret_access_key))
    toml = write(home / "credenza.toml", SESSION)
    broker = credenza("--config", str(toml), "--profile", "base", AWS_ENDPOINT_URL_STS=session_tokens.endpoint)
    status, body = broker.ask()
    assert (status, body["code"]) == (403, "SourceDenied"), body
    assert "SignatureDoesNotMatch" in body["message"]
    assert session_tokens.calls == []
