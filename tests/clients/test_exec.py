"""The files and variables of `credenza exec`, read by boto3 and by the AWS CLI."""

import json
import sys
from pathlib import Path

from programs import environment, once

KEYS = "aws_access_key_id = {0}\naws_secret_access_key = hush-{0}\n"
SHOWN = """\
import boto3, json, sys
session = boto3.Session(profile_name=sys.argv[1] if sys.argv[1:] else None)
keys = session.get_credentials()
config = session._session.get_scoped_config()
found = {"key": keys.access_key, "method": keys.method, "config": config}
print(json.dumps(found | {"profiles": session.available_profiles}))
"""
HOSTILE = (
    "[default]\nregion = eu-west-1\nretry_mode = standard\rcredential_process = touch evil; exit 1\n"
    "endpoint_url:http://evil.example = x\ncli_pager = touch evil\nmax_attempts = 5\n"
    "s3 =\n  addressing_style = path\n  multipart_chunksize = 16MB\n"
)


def write(home: Path, name: str, text: str, mode: int = 0o600) -> None:
    path = home / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(text, newline="")
    path.chmod(mode)


def shown(binary: Path, home: Path, *arguments: str, profile: str = "") -> dict:
    """What boto3 finds under `exec`."""
    program = [sys.executable, "-c", SHOWN, *filter(None, [profile])]
    ended = once([str(binary), "exec", *arguments, "--", *program], environment(home), home)
    assert ended.returncode == 0, ended
    return json.loads(ended.stdout)


def test_hostile_config_gives_boto3_checked_settings_only(binary, home):
    write(home, ".aws/credentials", "[default]\n" + KEYS.format("AKIAFILE"))
    write(home, ".aws/config", HOSTILE, 0o666)
    found = shown(binary, home)
    s3 = {"addressing_style": "path", "multipart_chunksize": "16MB"}
    assert found["config"] == {"region": "eu-west-1", "max_attempts": "5", "s3": s3}, found
    assert (found["key"], found["method"]) == ("AKIAFILE", "container-role")
    assert not (home / "evil").exists()


def test_hostile_config_gives_the_aws_cli_no_program(binary, home):
    write(home, ".aws/credentials", "[default]\n" + KEYS.format("AKIAFILE"))
    write(home, ".aws/config", HOSTILE, 0o666)
    command = [str(binary), "exec", "--", "aws", "configure"]
    listed = once([*command, "list"], environment(home), home)
    assert listed.returncode == 0 and "container-role" in listed.stdout, listed
    attempts = once([*command, "get", "max_attempts"], environment(home), home)
    assert attempts.stdout.strip() == "5", attempts
    assert once([*command, "get", "cli_pager"], environment(home), home).stdout == ""
    assert not (home / "evil").exists()


def test_kept_profiles_are_found_by_their_names(binary, home):
    names = ("default", "dev", "other")
    write(home, ".aws/credentials", "".join(f"[{name}]\n{KEYS.format('AKIA' + name.upper())}" for name in names))
    chain = "[profile chain]\nrole_arn = r\nsource_profile = default\n"
    write(home, ".aws/config", "[profile dev]\nregion = eu-west-3\n" + chain)
    kept = ("--profile", "dev", "--keep-profiles")
    broker = shown(binary, home, *kept)
    assert (broker["key"], broker["method"]) == ("AKIADEV", "container-role")
    assert set(broker["profiles"]) == {"default", "dev", "other", "chain", "credenza-default"}
    other = shown(binary, home, *kept, profile="other")
    assert (other["key"], other["method"]) == ("AKIAOTHER", "shared-credentials-file")
    default = shown(binary, home, *kept, profile="credenza-default")
    assert (default["key"], default["method"]) == ("AKIADEFAULT", "shared-credentials-file")
    nested = (*kept, "--", str(binary), "exec", "--keep-profiles")
    assert shown(binary, home, *nested, profile="other")["key"] == "AKIAOTHER"
    command = [str(binary), "exec", *kept, "--", "aws", "configure", "list", "--profile", "other"]
    listed = once(command, environment(home), home)
    assert "shared-credentials-file" in listed.stdout, listed


def test_keys_of_boto_2_are_hidden(binary, home):
    """boto3 reads ~/.boto before the container endpoint."""
    write(home, ".aws/credentials", "[dev]\n" + KEYS.format("AKIADEV"))
    write(home, ".boto", "[Credentials]\n" + KEYS.format("AKIABOTO"))
    found = shown(binary, home, "--profile", "dev")
    assert (found["key"], found["method"]) == ("AKIADEV", "container-role")
