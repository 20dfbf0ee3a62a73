"""The counterparts, tested against each other without the broker: a failure of the other tests is then the broker's."""

import http.client
import json
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from conftest import BUCKET, as_role
from imds import Imds, ROLES_PATH, TOKEN_PATH
from programs import environment, once
from seaweedfs import Key, SeaweedFS, new_key

TTL = "X-aws-ec2-metadata-token-ttl-seconds"
SESSION = "X-aws-ec2-metadata-token"


@pytest.fixture
def imds():
    """The fake alone, with invented keys."""
    with Imds(as_role(Key("ASIANOBODY", "secret", "token"), 3600)) as service:
        yield service


def ask(imds: Imds, method: str, path: str, **headers: str) -> tuple[int, dict, str]:
    connection = http.client.HTTPConnection(urlsplit(imds.endpoint).netloc, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.headers.items()), answer.read().decode()
    finally:
        connection.close()


def open_session(imds: Imds, seconds: str = "60") -> str:
    status, headers, token = ask(imds, "PUT", TOKEN_PATH, **{TTL: seconds})
    assert status == 200
    assert headers["X-Aws-Ec2-Metadata-Token-Ttl-Seconds"] == seconds
    return token


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", f"{ROLES_PATH}/", {}, 401),
        ("GET", f"{ROLES_PATH}/", {SESSION: ""}, 401),
        ("GET", f"{ROLES_PATH}/", {SESSION: "never-issued"}, 401),
        ("GET", "/nowhere", {}, 401),
        ("GET", TOKEN_PATH, {TTL: "60"}, 405),
        ("POST", TOKEN_PATH, {TTL: "60"}, 405),
        ("PUT", TOKEN_PATH, {}, 400),
        ("PUT", TOKEN_PATH, {TTL: "0"}, 400),
        ("PUT", TOKEN_PATH, {TTL: "21601"}, 400),
        ("PUT", TOKEN_PATH, {TTL: "-1"}, 400),
        ("PUT", TOKEN_PATH, {TTL: "60s"}, 400),
        ("PUT", TOKEN_PATH, {TTL: "60", "X-Forwarded-For": "192.0.2.1"}, 403),
        ("PUT", f"{ROLES_PATH}/", {TTL: "60"}, 405),
    ],
)
def test_imds_refuses_wrong_requests(imds, method, path, headers, status):
    assert ask(imds, method, path, **headers)[0] == status


def test_imds_serves_its_role_with_a_session_token(imds):
    session = {SESSION: open_session(imds)}
    for path in (f"{ROLES_PATH}/", ROLES_PATH):
        assert ask(imds, "GET", path, **session)[::2] == (200, "instance-role")
    status, _, body = ask(imds, "GET", f"{ROLES_PATH}/instance-role", **session)
    assert status == 200
    document = json.loads(body)
    assert set(document) == {
        "Code", "LastUpdated", "Type", "AccessKeyId", "SecretAccessKey", "Token", "Expiration",
    }  # fmt: skip
    assert document["Code"] == "Success" and document["Expiration"].endswith("Z")
    identity = json.loads(ask(imds, "GET", "/latest/dynamic/instance-identity/document", **session)[2])
    assert (identity["region"], identity["accountId"]) == ("eu-central-1", "123456789012")
    for path in (f"{ROLES_PATH}/another", f"{ROLES_PATH}-extended/", "/latest/meta-data/nothing", "/"):
        assert ask(imds, "GET", path, **session)[0] == 404, path


def test_imds_without_a_role_has_no_list(imds):
    imds.set_role(None)
    assert ask(imds, "GET", f"{ROLES_PATH}/", **{SESSION: open_session(imds)})[0] == 404


def test_imds_forgets_sessions_and_fails_on_request(imds):
    session = {SESSION: open_session(imds)}
    imds.fail(503, times=2, prefix=ROLES_PATH)
    statuses = [ask(imds, "GET", f"{ROLES_PATH}/", **session)[0] for _ in range(3)]
    assert statuses == [503, 503, 200]
    imds.forget_sessions()
    assert ask(imds, "GET", f"{ROLES_PATH}/", **session)[0] == 401


def test_seaweedfs_verifies_signatures_and_session_tokens(seaweedfs: SeaweedFS):
    key, session = seaweedfs.keys[0], seaweedfs.session()
    for good in (key, session):
        assert BUCKET in [bucket["Name"] for bucket in seaweedfs.s3(good).list_buckets()["Buckets"]]
    tampered = session.token[:-6] + ("AAAAAA" if not session.token.endswith("AAAAAA") else "BBBBBB")
    for bad in (
        new_key(),
        Key(key.access_key_id, "another-secret"),
        Key(session.access_key_id, session.secret_access_key),
        Key(session.access_key_id, session.secret_access_key, tampered),
        Key(session.access_key_id, "another-secret", session.token),
    ):
        with pytest.raises(ClientError):
            seaweedfs.s3(bad).list_buckets()


def test_real_sdks_can_use_the_fake_imds(seaweedfs: SeaweedFS, sdk, home):
    """Temporary keys from a real STS, through the fake, into a real S3, without the broker."""
    with Imds(as_role(seaweedfs.session())) as imds:
        variables = environment(
            home,
            AWS_EC2_METADATA_DISABLED="false",
            AWS_EC2_METADATA_SERVICE_ENDPOINT=imds.endpoint,
            AWS_EC2_METADATA_V1_DISABLED="true",
            AWS_ENDPOINT_URL_S3=seaweedfs.endpoint,
        )
        listed = once(sdk, variables, home)
        assert f"buckets: {BUCKET}" in listed.stdout, listed
        assert [request.status for request in imds.seen("PUT")] == [200]
        asked = [request.path for request in imds.seen("GET", ROLES_PATH)]
        assert asked == [f"{ROLES_PATH}/", f"{ROLES_PATH}/instance-role"]


def test_real_sdks_fail_without_a_credential_source(seaweedfs: SeaweedFS, sdk, home):
    """The environment of the clients has no keys of its own."""
    listed = once(sdk, environment(home, AWS_ENDPOINT_URL_S3=seaweedfs.endpoint), home)
    assert listed.returncode != 0 and "buckets:" not in listed.stdout, listed


def test_the_relay_records_signed_headers(seaweedfs: SeaweedFS, sdk, home, relay):
    session = seaweedfs.session()
    variables = environment(
        home,
        AWS_ACCESS_KEY_ID=session.access_key_id,
        AWS_SECRET_ACCESS_KEY=session.secret_access_key,
        AWS_SESSION_TOKEN=session.token,
        AWS_ENDPOINT_URL_S3=relay.endpoint,
    )
    listed = once(sdk, variables, home)
    assert f"buckets: {BUCKET}" in listed.stdout, listed
    (request,) = relay.requests()
    assert request["x-amz-security-token"] == session.token
    assert session.access_key_id in request["authorization"]
