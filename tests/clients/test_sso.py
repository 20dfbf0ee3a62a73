"""The AWS SDKs use the login of `credenza login`, and boto3 accepts our fakes of SSO."""

import json
import sys
from pathlib import Path

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config

from programs import environment, once

WORK = ".aws/sso/cache/e274eeff768c6396088ec6eb091f4bf4d47ab1e0.json"
ACCOUNT = "123456789012"
PROFILES = """\
[sso-session work]
sso_start_url = {url}
sso_region = eu-west-1
[profile dev]
sso_session = work
sso_account_id = 123456789012
sso_role_name = Dev
[profile old]
sso_start_url = {url}
sso_region = eu-west-1
sso_account_id = 123456789012
sso_role_name = Old
"""
PRINT_KEYS = """\
import boto3, json, sys
keys = boto3.Session(profile_name=sys.argv[1]).get_credentials().get_frozen_credentials()
print(json.dumps(keys._asdict()))
"""


@pytest.fixture
def variables(sso: dict, home: Path) -> dict[str, str]:
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text(PROFILES.format(url=sso["start_url"]))
    return environment(home, AWS_ENDPOINT_URL_SSO=sso["portal"], AWS_ENDPOINT_URL_SSO_OIDC=sso["oidc"])


def keys(profile: str, variables: dict[str, str], home: Path) -> dict:
    done = once([sys.executable, "-c", PRINT_KEYS, profile], variables, home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("profile", "role"), [("dev", "Dev"), ("old", "Old")])
def test_boto3_uses_the_login(binary: Path, home: Path, variables: dict[str, str], profile: str, role: str):
    done = once([str(binary), "login", "--profile", profile, "--no-browser"], variables, home)
    assert done.returncode == 0, done.stderr
    assert keys(profile, variables, home)["access_key"].startswith(f"ASIA{ACCOUNT}{role}")


def test_boto3_refreshes_the_login(binary: Path, home: Path, variables: dict[str, str]):
    assert once([str(binary), "login", "--all", "--no-browser"], variables, home).returncode == 0
    file = home / WORK
    written = json.loads(file.read_text())
    file.write_text(json.dumps(written | {"expiresAt": "2020-01-01T00:00:00Z"}))
    assert keys("dev", variables, home)["access_key"].startswith(f"ASIA{ACCOUNT}Dev")
    refreshed = json.loads(file.read_text())
    assert refreshed["accessToken"] != written["accessToken"]
    assert refreshed.keys() == written.keys(), "botocore writes the fields that we write"
    assert refreshed["registrationExpiresAt"] == written["registrationExpiresAt"]


def test_boto3_accepts_the_fake_oidc(sso: dict):
    oidc = boto3.client("sso-oidc", "eu-west-1", endpoint_url=sso["oidc"], config=Config(signature_version=UNSIGNED))
    client = oidc.register_client(clientName="x", clientType="public", scopes=["sso:account:access"])
    known = {"clientId": client["clientId"], "clientSecret": client["clientSecret"]}
    device = oidc.start_device_authorization(startUrl=sso["start_url"], **known)
    grant = {"grantType": "urn:ietf:params:oauth:grant-type:device_code", "deviceCode": device["deviceCode"]}
    with pytest.raises(oidc.exceptions.AuthorizationPendingException):
        oidc.create_token(**known, **grant)
    token = oidc.create_token(**known, **grant)
    with pytest.raises(oidc.exceptions.InvalidGrantException):
        oidc.create_token(**known, grantType="refresh_token", refreshToken="wrong")
    with pytest.raises(oidc.exceptions.InvalidClientException):
        oidc.create_token(clientId="x", clientSecret="y", grantType="refresh_token", refreshToken=token["refreshToken"])
    with pytest.raises(oidc.exceptions.InvalidRequestException):
        oidc.start_device_authorization(startUrl="https://other", **known)
    portal = boto3.client("sso", "eu-west-1", endpoint_url=sso["portal"], config=Config(signature_version=UNSIGNED))
    role = {"accountId": ACCOUNT, "roleName": "Dev"}
    assert portal.get_role_credentials(accessToken=token["accessToken"], **role)["roleCredentials"]["sessionToken"]
    with pytest.raises(portal.exceptions.UnauthorizedException):
        portal.get_role_credentials(accessToken="wrong", **role)
    accounts = list(portal.get_paginator("list_accounts").paginate(accessToken=token["accessToken"], maxResults=100))
    assert [account["accountId"] for page in accounts for account in page["accountList"]] == [ACCOUNT]
    pages = list(portal.get_paginator("list_account_roles").paginate(accessToken=token["accessToken"], accountId=ACCOUNT))
    assert len(pages) == 2
    assert sorted(role["roleName"] for page in pages for role in page["roleList"]) == ["Admin", "Dev", "ReadOnly"]
    with pytest.raises(portal.exceptions.UnauthorizedException):
        portal.list_accounts(accessToken="wrong")


def test_boto3_uses_the_profiles_that_are_written(binary: Path, home: Path, variables: dict[str, str]):
    assert once([str(binary), "login", "--sso-session", "work", "--no-browser"], variables, home).returncode == 0
    done = once([str(binary), "profiles", "--from-sso", "--write", "--yes", "--template", "w-{role}"], variables, home)
    assert done.returncode == 0, done.stderr
    assert keys("w-Admin", variables, home)["access_key"].startswith(f"ASIA{ACCOUNT}Admin")
    bare = {name: value for name, value in variables.items() if name != "XDG_RUNTIME_DIR"} | {"PATH": "/usr/bin:/bin"}
    setup = [str(binary), "setup", "profile", "ide", "--profile", "w-ReadOnly", "--yes"]
    assert once(setup, variables, home).returncode == 0
    assert keys("ide", bare, home)["access_key"].startswith(f"ASIA{ACCOUNT}ReadOnly")
