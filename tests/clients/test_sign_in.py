"""boto3 and the program share one login of `aws login`, and boto3 accepts our fake of Sign-In."""

import hashlib
import json
import sys
from pathlib import Path

import boto3
import pytest
from awscrt.crypto import EC, ECType
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import LoginCredentialFetcher, _build_add_dpop_header_handler

from programs import environment, once

SESSION = "arn:aws:iam::123456789012:user/me"
PROFILE = f"[profile dev]\nregion = us-east-1\nlogin_session = {SESSION}\n"
LONG_AGO = "2020-01-01T00:00:00Z"
PRINT_KEYS = """\
import boto3, json
keys = boto3.Session(profile_name="dev").get_credentials().get_frozen_credentials()
print(json.dumps([keys.access_key, keys.secret_key, keys.token, keys.account_id]))
"""


@pytest.fixture
def variables(sso: dict, home: Path) -> dict[str, str]:
    (home / ".aws/login/cache").mkdir(parents=True)
    (home / ".aws/config").write_text(PROFILE)
    return environment(home, AWS_ENDPOINT_URL_SIGNIN=sso["signin"])


@pytest.fixture
def file(variables: dict[str, str], home: Path) -> Path:
    return home / f".aws/login/cache/{hashlib.sha256(SESSION.encode()).hexdigest()}.json"


def write(file: Path, login: dict) -> None:
    file.touch(mode=0o600)
    file.write_text(json.dumps(login))


def aged(file: Path) -> None:
    login = json.loads(file.read_text())
    login["accessToken"]["expiresAt"] = LONG_AGO
    write(file, login)


def with_boto3(variables: dict[str, str], home: Path) -> list[str]:
    done = once([sys.executable, "-c", PRINT_KEYS], variables, home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def with_credenza(binary: Path, variables: dict[str, str], home: Path) -> list[str]:
    done = once([str(binary), "get", "--profile", "dev"], variables, home)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return [found[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "AccountId")]


def test_both_refresh_one_login_in_turns(binary: Path, home: Path, sso: dict, variables: dict[str, str], file: Path):
    write(file, sso["login"] | {"later": {"kept": [1, None]}})
    before = json.loads(file.read_text())
    seen = set()
    for turn in ("boto3", "credenza", "boto3", "credenza"):
        aged(file)
        by_boto3 = lambda: with_boto3(variables, home)  # noqa: E731
        by_credenza = lambda: with_credenza(binary, variables, home)  # noqa: E731
        first, second = (by_boto3, by_credenza) if turn == "boto3" else (by_credenza, by_boto3)
        refreshed = first()
        assert refreshed[0].startswith("ASIASIGNIN") and refreshed[0] not in seen
        seen.add(refreshed[0])
        written = file.read_bytes()
        assert second() == refreshed, "what one has refreshed the other uses"
        assert file.read_bytes() == written
        after = json.loads(written)
        changed = {"accessToken", "refreshToken"}
        assert {name: after[name] for name in after.keys() - changed} == {
            name: before[name] for name in before.keys() - changed
        }
        assert after["accessToken"].keys() == before["accessToken"].keys()
        assert file.stat().st_mode & 0o777 == 0o600


def test_both_report_a_required_login(binary: Path, home: Path, sso: dict, variables: dict[str, str], file: Path):
    write(file, sso["login"] | {"refreshToken": "not good any more"})
    done = once([sys.executable, "-c", PRINT_KEYS], variables, home)
    assert done.returncode != 0 and "LoginRefreshRequired" in done.stderr, done.stderr
    done = once([str(binary), "get", "--profile", "dev"], variables, home)
    assert done.returncode == 1 and done.stderr.rstrip().endswith("run: aws login --profile dev"), done.stderr


def test_boto3_accepts_the_fake_sign_in(sso: dict):
    def client(key=None):
        config = Config(signature_version=UNSIGNED)
        signin = boto3.client("signin", "eu-west-1", endpoint_url=sso["signin"], config=config)
        if key is not None:
            signin.meta.events.register("before-call.signin.CreateOAuth2Token", _build_add_dpop_header_handler(key))
        return signin

    grant = {"clientId": sso["login"]["clientId"], "grantType": "refresh_token", "refreshToken": "two"}
    unproven, another = client(), client(EC.new_generate(ECType.P_256))
    with pytest.raises(unproven.exceptions.ValidationException):
        unproven.create_o_auth2_token(tokenInput=grant)
    with pytest.raises(another.exceptions.AccessDeniedException) as refused:
        another.create_o_auth2_token(tokenInput=grant)
    assert refused.value.response["error"] == "TOKEN_EXPIRED"
    good = client(LoginCredentialFetcher._load_private_key(sso["login"]))
    with pytest.raises(good.exceptions.ValidationException):
        good.create_o_auth2_token(tokenInput=grant | {"clientId": "arn:aws:signin:::devtools/cross-device"})
    token = good.create_o_auth2_token(tokenInput=grant)["tokenOutput"]
    assert token["accessToken"]["sessionToken"] and token["tokenType"] == "aws_sigv4"
    with pytest.raises(good.exceptions.AccessDeniedException):
        good.create_o_auth2_token(tokenInput=grant)
