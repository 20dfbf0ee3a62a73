"""The same `~/.aws`, resolved by boto3 and by `credenza get`. The cases and their format are in `profiles/`."""

import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from hashlib import sha1
from pathlib import Path

import pytest

from imds import Credentials, Imds, in_seconds
from programs import HERE, environment, once
from serving import ContainerEndpoint
from sts import ACCOUNT, STAMP, Issued, Sts, issue, principal, secret_of

NOBODY = "nobody"
CONTAINER_TOKEN = "open-sesame"
PRINT_KEYS = """\
import boto3, json, sys
keys = boto3.Session(profile_name=sys.argv[1] if sys.argv[1:] else None).get_credentials()
if keys is None:
    sys.exit("no credentials")
print(json.dumps(keys.get_frozen_credentials()[:3]))
"""


@dataclass
class Case:
    """Files, an environment, and the expected principal."""

    name: str
    shows: str
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def profile(self) -> str | None:
        named = self.parts.get("profile", "dev").strip()
        return None if named == "-" or "AWS_PROFILE=" in self.parts.get("env", "") else named

    @property
    def answers(self) -> tuple[str, str]:
        """The results of boto3 and of the program."""
        if "answer" in self.parts:
            return self.parts["answer"].strip(), self.parts["answer"].strip()
        assert self.parts["because"].strip()
        return self.parts["boto3"].strip(), self.parts["credenza"].strip()


class Stage:
    """The services around both programs, and a home for each."""

    def __init__(self, services: dict[str, str], home: Path):
        self.services, self.home = services, home

    def fill(self, text: str) -> str:
        now = datetime.now(timezone.utc)
        words = self.services | {
            "HOME": str(self.home),
            "SOON": (now + timedelta(hours=2)).strftime(STAMP),
            "PAST": (now - timedelta(hours=2)).strftime(STAMP),
        }
        text = re.sub(r"@([A-Z_]+)@", lambda word: words[word[1]], text)
        pair = r"aws_access_key_id = \1\naws_secret_access_key = secret(\1)"
        text = re.sub(r"keys\((\w+)\)", pair, text)
        return re.sub(r"secret\((\w+)\)", lambda key: secret_of(key[1]), text)

    def set(self, case: Case) -> dict[str, str]:
        """Writes the files; returns the environment."""
        variables = environment(
            self.home,
            AWS_ENDPOINT_URL_STS=self.services["STS"],
            AWS_ENDPOINT_URL_SSO=self.services["PORTAL"],
            AWS_ENDPOINT_URL_SSO_OIDC=self.services["OIDC"],
        )
        for part, text in case.parts.items():
            text = self.fill(text)
            match part.split():
                case ["config" | "credentials" as name]:
                    self.write(f".aws/{name}", text)
                case ["credentials", "crlf"]:
                    self.write(".aws/credentials", text.replace("\n", "\r\n"))
                case ["file", name]:
                    self.write(name, text)
                case ["log-in", *names]:
                    self.log_in(self.fill(" ".join(names)), text.strip())
                case ["env"]:
                    for line in text.split("\n"):
                        name, is_set, value = line.partition("=")
                        if is_set:
                            variables[name] = value
                        elif name:
                            del variables[name.removeprefix("-")]
                case ["profile" | "answer" | "boto3" | "credenza" | "because"]:
                    pass
                case _:
                    raise ValueError(f"{case.name}: there is no part {part!r}")
        return variables

    def write(self, name: str, text: str) -> None:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, newline="")
        path.chmod(0o700 if text.startswith("#!") else 0o600)

    def log_in(self, session: str, expires: str) -> None:
        """The files of `aws sso login`: a token that the portal accepts, and with a session the means to refresh it."""
        has_refresh = "://" not in session
        scopes = ["sso:account:access"] if has_refresh else []
        client = self.oidc("/client/register", clientName="table", clientType="public", scopes=scopes)
        known = {"clientId": client["clientId"], "clientSecret": client["clientSecret"]}
        device = self.oidc("/device_authorization", startUrl=self.services["START_URL"], **known)
        grant = {"grantType": "urn:ietf:params:oauth:grant-type:device_code", "deviceCode": device["deviceCode"]}
        with pytest.raises(urllib.error.HTTPError):
            self.oidc("/token", **known, **grant)
        token = self.oidc("/token", **known, **grant)
        cache = {
            "startUrl": self.services["START_URL"],
            "region": "eu-west-1",
            "accessToken": token["accessToken"],
            "expiresAt": expires,
        }
        if has_refresh:
            cache |= known | {
                "refreshToken": token["refreshToken"],
                "registrationExpiresAt": self.fill("@SOON@"),
            }
        self.write(f".aws/sso/cache/{sha1(session.encode()).hexdigest()}.json", json.dumps(cache))

    def oidc(self, path: str, **body) -> dict:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.services["OIDC"] + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())


def read() -> list[Case]:
    cases = []
    for file in sorted((HERE / "profiles").glob("*.txt")):
        for text in file.read_text().split("==== ")[1:]:
            head, *parts = re.split(r"^---- ", text, flags=re.MULTILINE)
            case = Case(*(word.strip() for word in head.split(":", 1)))
            for part in parts:
                name, _, content = part.partition("\n")
                case.parts[name] = content
            # The empty line before the next case is not part of a file.
            last = list(case.parts)[-1]
            case.parts[last] = case.parts[last].rstrip("\n") + "\n"
            cases.append(case)
    return cases


CASES = read()


@pytest.fixture(scope="module")
def services(sso: dict) -> Iterator[dict[str, str]]:
    """The placeholders of `Stage.fill` that are addresses."""
    instance, keys = issue("instance"), issue("container")
    credentials = Credentials(instance.access_key_id, instance.secret_access_key, instance.token, in_seconds(6 * 3600))
    container = ContainerEndpoint(keys.access_key_id, keys.secret_access_key, keys.token, CONTAINER_TOKEN)
    with Sts(others=of_the_portal) as sts, Imds(credentials) as imds, container:
        yield {
            "STS": sts.endpoint,
            "IMDS": imds.endpoint,
            "CONTAINER": container.url,
            "OIDC": sso["oidc"],
            "PORTAL": sso["portal"],
            "START_URL": sso["start_url"],
        }


def of_the_portal(key: str, token: str | None) -> tuple[str, str] | None:
    """Returns the role and the secret of a key from the fake of the SSO portal."""
    given = re.fullmatch(rf"ASIA{ACCOUNT}(\D+)(\d+)", key)
    return (f"sso {given[1]}", f"hush-secret-{given[2]}") if given and token == f"hush-session-{given[2]}" else None


def who(keys: Issued | None) -> str:
    """The result in the syntax of the cases."""
    if keys is None:
        return NOBODY
    if spelled := principal(keys.token or ""):
        assert keys == issue(spelled), "the parts do not belong together"
        return spelled
    if portal := of_the_portal(keys.access_key_id, keys.token):
        role, secret = portal
        assert keys.secret_access_key == secret, "the parts do not belong together"
        return role
    secret = "" if keys.secret_access_key == secret_of(keys.access_key_id) else f"/{keys.secret_access_key}"
    return f"{keys.access_key_id}{secret}{'+' + keys.token if keys.token else ''}"


def boto3(case: Case, stage: Stage) -> tuple[Issued | None, str]:
    named = [case.profile] if case.profile else []
    done = once([sys.executable, "-c", PRINT_KEYS, *named], stage.set(case), stage.home)
    return Issued(*json.loads(done.stdout)) if done.returncode == 0 else None, done.stderr


def credenza(binary: Path, case: Case, stage: Stage) -> tuple[Issued | None, str]:
    named = ["--profile", case.profile] if case.profile else []
    done = once([str(binary), "get", *named], stage.set(case), stage.home)
    if done.returncode != 0:
        assert (done.returncode, done.stdout) == (1, "") and done.stderr, done
        return None, done.stderr
    told = json.loads(done.stdout)
    return Issued(told["AccessKeyId"], told["SecretAccessKey"], told.get("SessionToken")), done.stderr


def test_the_table_is_there():
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_profile_resolves_as_in_boto3(case: Case, services: dict[str, str], binary: Path, tmp_path: Path):
    homes = [tmp_path / "boto3", tmp_path / "credenza"]
    for home in homes:
        home.mkdir(mode=0o700)
    (theirs, why), (ours, our_why) = boto3(case, Stage(services, homes[0])), credenza(binary, case, Stage(services, homes[1]))
    assert (who(theirs), who(ours)) == case.answers, f"{case.shows}\n--- boto3\n{why}\n--- credenza\n{our_why}"
    if "answer" in case.parts and not (ours and of_the_portal(ours.access_key_id, ours.token)):
        assert theirs == ours
    secrets = re.findall(r"of/AKIA\w+\+=|hush-[\w-]+", our_why)
    assert not secrets, "no secret in a message"
