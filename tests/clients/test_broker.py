"""Real clients list buckets on a real S3 with the credentials of the broker."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from conftest import BUCKET, as_role
from programs import boto3_command, environment, once, until, write
from seaweedfs import Key, SeaweedFS, new_key

LISTED = f"buckets: {BUCKET}"
WRONG_TOKEN = "not-the-token-" + "x" * 40


def shared_credentials(path: Path, key: Key, profile: str = "default") -> Path:
    return write(path, key.section(profile))


def signer(request: dict[str, str]) -> str:
    """The access key id a request was signed with."""
    return re.search(r"Credential=([^/]+)/", request["authorization"])[1]


def aws_default_profile(home: Path, key: Key) -> None:
    """A typical ~/.aws: a default profile in both files."""
    shared_credentials(home / ".aws" / "credentials", key)
    write(home / ".aws" / "config", "[default]\nregion = eu-west-3\noutput = text\n")


# Long-lived keys from a shared credentials file.


def test_long_lived_keys_of_a_shared_file(seaweedfs: SeaweedFS, sdk, home, credenza, client):
    file = shared_credentials(home / "keys", seaweedfs.keys[0])
    broker = credenza("--credentials-file", str(file))
    assert client(sdk, broker.variables_for_clients()).list() == LISTED


def test_long_lived_keys_are_signed_without_a_token(seaweedfs: SeaweedFS, home, credenza, client, relay):
    broker = credenza("--credentials-file", str(shared_credentials(home / "keys", seaweedfs.keys[0])))
    assert client(boto3_command(), broker.variables_for_clients(), relay.endpoint).list() == LISTED
    (request,) = relay.requests()
    assert signer(request) == seaweedfs.keys[0].access_key_id
    assert "x-amz-security-token" not in request


def test_rust_sdk_signs_an_empty_token_with_long_lived_keys(seaweedfs: SeaweedFS, rust_command, home, credenza, client, relay):
    """A fact about that SDK, which the documentation states: SeaweedFS accepts the empty header, AWS refuses it.

    If this fails because the header is gone, the SDK was corrected, and the documentation has to follow.
    """
    broker = credenza("--credentials-file", str(shared_credentials(home / "keys", seaweedfs.keys[0])))
    assert client(rust_command, broker.variables_for_clients(), relay.endpoint).list() == LISTED
    (request,) = relay.requests()
    assert request.get("x-amz-security-token") == ""


def test_a_profile_of_the_shared_file(seaweedfs: SeaweedFS, home, credenza, client):
    file = shared_credentials(home / "keys", seaweedfs.keys[0], profile="team/dev")
    broker = credenza("--credentials-file", str(file), "--profile", "team/dev")
    assert client(boto3_command(), broker.variables_for_clients()).list() == LISTED


# A URL with key and secret.


def url_with(key: Key, endpoint: str) -> str:
    user = f"{quote(key.access_key_id, safe='')}:{quote(key.secret_access_key, safe='')}"
    return endpoint.replace("://", f"://{user}@")


def test_a_url_serves_its_key(seaweedfs: SeaweedFS, sdk, home, credenza, client):
    broker = credenza(CREDENZA_URL=url_with(seaweedfs.keys[0], seaweedfs.endpoint))
    assert client(sdk, broker.variables_for_clients()).list() == LISTED


def test_exec_with_a_url_names_the_endpoint_too(seaweedfs: SeaweedFS, sdk, binary, home):
    """The client has only the variables of `exec`."""
    file = write(home / "url", url_with(seaweedfs.keys[0], seaweedfs.endpoint) + "\n")
    listed = once([str(binary), "exec", "--url-file", str(file), "--", *sdk], environment(home), home)
    assert listed.stdout.strip() == LISTED, listed


def test_get_with_a_url_prints_lines_for_a_shell(seaweedfs: SeaweedFS, binary, home):
    script = (
        'set -eu; settings=$("$0" get --format env); eval "$settings"; '
        'export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_ENDPOINT_URL_S3; exec aws s3 ls'
    )
    variables = environment(home, CREDENZA_URL=url_with(seaweedfs.keys[0], seaweedfs.endpoint))
    listed = once(["sh", "-c", script, str(binary)], variables, home)
    assert BUCKET in listed.stdout, listed


def test_get_is_a_credential_process(seaweedfs: SeaweedFS, binary, home):
    file = shared_credentials(home / "keys", seaweedfs.keys[0])
    ask = f"{binary} get --format process --credentials-file {file}"
    write(home / ".aws" / "config", f"[default]\ncredential_process = {ask}\n")
    listed = once(boto3_command(), environment(home, AWS_ENDPOINT_URL_S3=seaweedfs.endpoint), home)
    assert listed.stdout.strip() == LISTED, listed


# Temporary keys from the instance metadata service.


def test_temporary_keys_of_an_instance_role(seaweedfs: SeaweedFS, sdk, home, credenza, client, imds, relay):
    broker = credenza(AWS_EC2_METADATA_DISABLED="false", AWS_EC2_METADATA_SERVICE_ENDPOINT=imds.endpoint)
    assert client(sdk, broker.variables_for_clients(), relay.endpoint).list() == LISTED
    (request,) = relay.requests()
    assert request["x-amz-security-token"], "temporary keys are signed with their token"
    assert broker.ask()[1]["AccessKeyId"] == signer(request)


def test_imds_is_asked_once_for_many_clients(seaweedfs: SeaweedFS, sdk, credenza, client, imds):
    broker = credenza(AWS_EC2_METADATA_DISABLED="false", AWS_EC2_METADATA_SERVICE_ENDPOINT=imds.endpoint)
    variables = broker.variables_for_clients()
    assert [client(sdk, variables).list() for _ in range(3)] == [LISTED] * 3
    assert len([request for request in imds.seen("GET") if request.path.endswith("/instance-role")]) == 1


def test_keeps_the_lease_while_imds_fails(seaweedfs: SeaweedFS, credenza, client, imds):
    broker = credenza(AWS_EC2_METADATA_DISABLED="false", AWS_EC2_METADATA_SERVICE_ENDPOINT=imds.endpoint)
    running = client(boto3_command(), broker.variables_for_clients())
    assert running.list() == LISTED
    imds.fail(503, times=None)
    asked = len(imds.requests)
    broker.reload()
    until("the broker asked the broken service", lambda: len(imds.requests) > asked)
    assert running.list("fresh") == LISTED


def test_waits_for_a_slow_imds(seaweedfs: SeaweedFS, sdk, credenza, client, imds):
    """The first request arrives during the load, and waits for its end."""
    imds.delay(0.8, prefix="/latest/meta-data/iam")
    broker = credenza(AWS_EC2_METADATA_DISABLED="false", AWS_EC2_METADATA_SERVICE_ENDPOINT=imds.endpoint)
    assert client(sdk, broker.variables_for_clients()).list() == LISTED


# Around one command.


def test_exec_runs_the_aws_cli_in_any_home(seaweedfs: SeaweedFS, binary, home):
    aws_default_profile(home, new_key())
    file = shared_credentials(home / "keys", seaweedfs.keys[0])
    wrong = new_key()
    variables = environment(
        home,
        AWS_ENDPOINT_URL_S3=seaweedfs.endpoint,
        AWS_ACCESS_KEY_ID=wrong.access_key_id,
        AWS_SECRET_ACCESS_KEY=wrong.secret_access_key,
    )
    alone = once(["aws", "s3", "ls"], variables, home)
    assert alone.returncode != 0, f"without the broker the keys at hand are the wrong ones: {alone}"
    listed = once([str(binary), "exec", "--credentials-file", str(file), "--", "aws", "s3", "ls"], variables, home)
    assert listed.returncode == 0 and BUCKET in listed.stdout, listed


@pytest.mark.parametrize("profile", ["default", "team"])
def test_exec_serves_a_profile_of_the_home(seaweedfs: SeaweedFS, sdk, binary, home, profile):
    """The broker reads the named profile and hides it from the client, which would look for it as well."""
    shared_credentials(home / ".aws" / "credentials", seaweedfs.keys[0], profile)
    variables = environment(home, AWS_ENDPOINT_URL_S3=seaweedfs.endpoint, AWS_PROFILE=profile)
    listed = once([str(binary), "exec", "--", *sdk], variables, home)
    assert listed.stdout.strip() == LISTED, listed


# Error messages that users see.


def test_sdks_show_that_the_token_is_wrong(sdk, seaweedfs: SeaweedFS, home, credenza, client):
    broker = credenza("--credentials-file", str(shared_credentials(home / "keys", seaweedfs.keys[0])))
    variables = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{broker.address}/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": WRONG_TOKEN,
    }
    said = client(sdk, variables).list()
    assert said.startswith("error:") and "401" in said, said
    if sdk == boto3_command():
        assert "InvalidAuthorizationToken" in said and broker.ask(token=WRONG_TOKEN)[1]["message"] in said, said


def test_boto3_shows_which_source_failed(home, credenza, client):
    """A named file is missing: the user reads its name in the output of the client."""
    missing = home / "no-such-file"
    broker = credenza("--credentials-file", str(missing))
    said = client(boto3_command(), broker.variables_for_clients()).list()
    assert said.startswith("error:") and str(missing) in said, said


def test_no_secret_reaches_the_log(seaweedfs: SeaweedFS, home, credenza, client, imds):
    session = seaweedfs.session()
    imds.rotate(as_role(session))
    variables = {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint}
    broker = credenza("--log-level", "trace", **variables)
    assert client(boto3_command(), broker.variables_for_clients()).list() == LISTED
    logged = broker.log.read_text(errors="replace")
    assert session.access_key_id in json.dumps(broker.ask()[1])
    for secret in (session.secret_access_key, session.token, broker.token_file.read_text()):
        assert secret not in logged
