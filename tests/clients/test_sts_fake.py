"""boto3 uses the strict STS of the Rust tests: it parses every answer and every refusal, and signs each request its own way.

The fake holds the limits that AWS documents, so that the program's requests are as narrow as AWS demands.
"""

import json
from datetime import datetime, timedelta, timezone

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from seaweedfs import Key

REGION, ACCOUNT = "eu-west-1", "123456789012"
READ_ONLY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]}
# With spaces, a plus sign and characters beyond ASCII, which an encoding of forms has to keep.
POLICY = json.dumps(READ_ONLY | {"Id": "a+b & ü=%41"}, indent=2, ensure_ascii=False) + "\n"
MANAGED = {"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}


class Sts:
    """Makes boto3 clients of the fake. They check no parameter themselves and never retry."""

    def __init__(self, told: dict):
        self.url, self.account = told["sts"], told["account"]
        self.user, self.root = (Key(*self.account[name]) for name in ("user", "root"))

    def role(self, name: str) -> str:
        return self.account["roles"] + name

    def client(self, key: Key | None, region: str = REGION):
        given = {} if key is None else {
            "aws_access_key_id": key.access_key_id,
            "aws_secret_access_key": key.secret_access_key,
            "aws_session_token": key.token,
        }  # fmt: skip
        config = Config(parameter_validation=False, retries={"total_max_attempts": 1})
        return boto3.client("sts", endpoint_url=self.url, region_name=region, config=config, **given)

    def assume(self, key: Key | None = None, role: str = "Plain", **more) -> dict:
        given = {"RoleArn": self.role(role), "RoleSessionName": "test"} | more
        return self.client(key or self.user).assume_role(**given)

    def web_identity(self, **more) -> dict:
        given = {"RoleArn": self.role("Plain"), "RoleSessionName": "test", "WebIdentityToken": self.account["web_token"]}
        return self.client(None).assume_role_with_web_identity(**given | more)

    def federate(self, key: Key | None = None, **more) -> dict:
        return self.client(key or self.user).get_federation_token(**{"Name": "test", "Policy": POLICY} | more)

    def session(self, key: Key | None = None, **more) -> dict:
        return self.client(key or self.user).get_session_token(**more)

    def arn(self, key: Key) -> str:
        identity = self.client(key).get_caller_identity()
        assert identity["Account"] == ACCOUNT and identity["UserId"]
        return identity["Arn"]


@pytest.fixture
def sts(sso: dict) -> Sts:
    return Sts(sso)


def issued(answer: dict, seconds: int) -> Key:
    """Returns the keys of an answer. They end after so many seconds."""
    found = answer["Credentials"]
    left = found["Expiration"] - datetime.now(timezone.utc)
    assert abs(left - timedelta(seconds=seconds)) < timedelta(seconds=30), left
    return Key(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])


def refusal(call, *arguments, **parameters) -> tuple[int, str, str]:
    """Returns status, code and message of a refusal as boto3 shows them."""
    with pytest.raises(ClientError) as raised:
        call(*arguments, **parameters)
    response = raised.value.response
    assert response["Error"]["Type"] == "Sender" and response["ResponseMetadata"]["RequestId"]
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


def test_assumes_a_role_with_every_parameter(sts: Sts):
    answer = sts.assume(
        Policy=POLICY,
        PolicyArns=[MANAGED],
        Tags=[{"Key": "team", "Value": "a b"}, {"Key": "empty", "Value": ""}],
        SourceIdentity="me@example.com",
        DurationSeconds=900,
    )
    key = issued(answer, 900)
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/Plain/test"
    assert answer["AssumedRoleUser"]["Arn"] == arn == sts.arn(key)
    assert answer["AssumedRoleUser"]["AssumedRoleId"].endswith(":test")
    assert answer["SourceIdentity"] == "me@example.com" and 0 < answer["PackedPolicySize"] < 100
    plain = sts.assume()
    issued(plain, 3600)
    assert "PackedPolicySize" not in plain and "SourceIdentity" not in plain
    issued(sts.assume(DurationSeconds=43_200), 43_200)
    issued(sts.assume(role="Guarded", ExternalId="ex"), 3600)
    issued(sts.assume(role="Short", DurationSeconds=3600), 3600)


def test_a_chain_is_short_and_keeps_its_source_identity(sts: Sts):
    first = issued(sts.assume(SourceIdentity="me"), 3600)
    for more in ({}, {"SourceIdentity": "me"}):
        answer = sts.assume(first, "Guarded", ExternalId="ex", **more)
        assert answer["SourceIdentity"] == "me"
        issued(answer, 3600)
    code, message = refusal(sts.assume, first, SourceIdentity="you")[1:]
    assert code == "AccessDenied" and "sts:SetSourceIdentity" in message
    status, code, message = refusal(sts.assume, first, DurationSeconds=3601)
    assert (status, code) == (400, "ValidationError") and "1 hour session limit for roles assumed by role chaining" in message
    for call, operation in ((sts.federate, "GetFederationToken"), (sts.session, "GetSessionToken")):
        assert refusal(call, first) == (403, "AccessDenied", f"Cannot call {operation} with session credentials")


def test_exchanges_a_web_identity_unsigned(sts: Sts):
    answer = sts.web_identity(Policy=POLICY, PolicyArns=[MANAGED], DurationSeconds=900)
    key = issued(answer, 900)
    assert answer["SubjectFromWebIdentityToken"] and answer["Provider"] and answer["Audience"]
    assert answer["AssumedRoleUser"]["Arn"] == sts.arn(key)
    wrong = sts.client(None).exceptions.InvalidIdentityTokenException
    with pytest.raises(wrong):
        sts.web_identity(WebIdentityToken="another")
    assert refusal(sts.web_identity, RoleArn=sts.role("Unknown"))[:2] == (403, "AccessDenied")
    assert refusal(sts.web_identity, RoleSessionName="a b")[1] == "ValidationError"


def test_federates_users_and_root_only(sts: Sts):
    answer = sts.federate(PolicyArns=[MANAGED], Tags=[{"Key": "team", "Value": "a"}], DurationSeconds=129_600)
    key = issued(answer, 129_600)
    arn = f"arn:aws:sts::{ACCOUNT}:federated-user/test"
    assert answer["FederatedUser"] == {"Arn": arn, "FederatedUserId": f"{ACCOUNT}:test"} and sts.arn(key) == arn
    assert answer["PackedPolicySize"] > 0
    issued(sts.federate(), 43_200)
    # AWS shortens the session of the root user without an error.
    for given in ({}, {"DurationSeconds": 129_600}):
        issued(sts.federate(sts.root, **given), 3600)
        issued(sts.session(sts.root, **given), 3600)
    for call in (sts.assume, sts.federate, sts.session):
        assert refusal(call, key)[:2] == (403, "AccessDenied")


def test_a_session_proves_its_mfa_device(sts: Sts):
    serial, code = sts.account["device"]
    plain = issued(sts.session(), 43_200)
    assert refusal(sts.assume, plain, "Mfa")[1] == "AccessDenied"
    for given, words in (
        ({"SerialNumber": serial}, "must provide both MFA serial number and one time pass code."),
        ({"TokenCode": code}, "must provide both MFA serial number and one time pass code."),
        ({"SerialNumber": serial, "TokenCode": "654321"}, "with invalid MFA one time pass code."),
        ({"SerialNumber": f"{serial}x", "TokenCode": code}, "unable to validate MFA code."),
    ):
        status, error, message = refusal(sts.session, **given)
        assert (status, error) == (403, "AccessDenied") and message.startswith("MultiFactorAuthentication failed"), message
        assert words in message
    for wrong in ("12345", "1234567", "12345x"):
        status, error, message = refusal(sts.session, SerialNumber=serial, TokenCode=wrong)
        assert (status, error) == (400, "ValidationError") and f"Value '{wrong}' at 'tokenCode'" in message
    proven = issued(sts.session(SerialNumber=serial, TokenCode=code, DurationSeconds=900), 900)
    assert sts.arn(proven) == f"arn:aws:iam::{ACCOUNT}:user/me"
    # It is no role's session: it may assume a role for longer than an hour.
    issued(sts.assume(proven, "Mfa", DurationSeconds=43_200), 43_200)
    assert "one time" in refusal(sts.session, SerialNumber=serial, TokenCode=code)[2], "a code is valid once"
    for call in (sts.federate, sts.session):
        assert refusal(call, proven)[1] == "AccessDenied"


def test_names_callers(sts: Sts):
    assert sts.arn(sts.user) == f"arn:aws:iam::{ACCOUNT}:user/me"
    assert sts.arn(sts.root) == f"arn:aws:iam::{ACCOUNT}:root"
    root = (403, "AccessDenied", "Roles may not be assumed by root accounts.")
    assert refusal(sts.assume, sts.root) == root
    assert refusal(sts.assume, issued(sts.session(sts.root), 3600)) == root
    for role, more in (("Unknown", {}), ("Guarded", {}), ("Guarded", {"ExternalId": "wrong"}), ("Mfa", {})):
        status, code, message = refusal(sts.assume, role=role, **more)
        said = f"User: {sts.arn(sts.user)} is not authorized to perform: sts:AssumeRole on resource: {sts.role(role)}"
        assert (status, code, message) == (403, "AccessDenied", said)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"DurationSeconds": 899}, "Value '899' at 'durationSeconds' failed to satisfy constraint: Member must have value greater"),
        ({"DurationSeconds": 43_201}, "Member must have value less than or equal to 43200"),
        ({"RoleSessionName": "a"}, "at 'roleSessionName' failed to satisfy constraint: Member must have length greater"),
        ({"RoleSessionName": "a" * 65}, "Member must have length less than or equal to 64"),
        ({"RoleSessionName": "a b"}, r"Member must satisfy regular expression pattern: [\w+=,.@-]*"),
        ({"SourceIdentity": "aws:me"}, "Value 'aws:me' at 'sourceIdentity'"),
        ({"PolicyArns": [MANAGED] * 11}, "'policyArns'"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::1:role/NoPolicy"}]}, "'policyArns'"),
        ({"Policy": POLICY.replace("s3:Get*", "x" * 2048)}, "'policy'"),
        ({"Policy": POLICY.replace("ü", "€")}, "'policy'"),
        ({"Tags": [{"Key": f"k{n}", "Value": "v"} for n in range(51)]}, "'tags'"),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]}, "'tags'"),
        ({"Tags": [{"Key": "aws:a", "Value": "1"}]}, "'tags'"),
        ({"Tags": [{"Key": "a", "Value": "v" * 257}]}, "'tags'"),
        ({"Tags": [{"Key": "a", "Value": "#"}]}, "'tags'"),
    ],
)
def test_refuses_parameters_out_of_their_limits(sts: Sts, given: dict, said: str):
    status, code, message = refusal(sts.assume, **given)
    assert (status, code) == (400, "ValidationError") and said in message, message


def test_refuses_durations_beyond_the_role_or_the_operation(sts: Sts):
    assert "MaxSessionDuration set for this role" in refusal(sts.assume, role="Short", DurationSeconds=3601)[2]
    for call in (sts.federate, sts.session):
        for seconds in (899, 129_601):
            assert f"Value '{seconds}' at 'durationSeconds'" in refusal(call, DurationSeconds=seconds)[2]
    for name in ("a", "a" * 33, "a b"):
        assert f"Value '{name}' at 'name'" in refusal(sts.federate, Name=name)[2]


def test_policy_errors_have_exceptions_of_their_own(sts: Sts):
    exceptions = sts.client(sts.user).exceptions
    for call in (sts.assume, sts.federate, sts.web_identity):
        for broken in ("{", "[]", POLICY.replace("Allow", "allow"), POLICY.replace('"Action"', '"Principal": "*", "Action"')):
            with pytest.raises(exceptions.MalformedPolicyDocumentException):
                call(Policy=broken)
        with pytest.raises(exceptions.PackedPolicyTooLargeException, match="allotted space"):
            call(Policy=POLICY.replace("Get", "TooLarge"))


def test_checks_signatures(sts: Sts):
    session = issued(sts.assume(), 3600)
    for key, code in (
        (Key(sts.user.access_key_id, "wrong"), "SignatureDoesNotMatch"),
        (Key("AKIAUNKNOWN", sts.user.secret_access_key), "InvalidClientTokenId"),
        (Key(session.access_key_id, "wrong", session.token), "SignatureDoesNotMatch"),
        (Key(session.access_key_id, session.secret_access_key), "InvalidClientTokenId"),
        (Key(session.access_key_id, session.secret_access_key, f"{session.token}x"), "InvalidClientTokenId"),
    ):
        for operation in ("get_caller_identity", "get_session_token"):
            assert refusal(getattr(sts.client(key), operation))[:2] == (403, code)
    status, code, message = refusal(sts.client(sts.user, "us-east-1").get_caller_identity)
    assert (status, code) == (403, "SignatureDoesNotMatch") and "valid region, not 'us-east-1'" in message
