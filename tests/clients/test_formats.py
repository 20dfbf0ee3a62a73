"""Programs that support no container endpoint read the output of `get` and `env`: a process, a `.env` file, a shell."""

import random
from io import StringIO

import pytest
from dotenv import dotenv_values

from programs import boto3_command, environment, once, write
from seaweedfs import SeaweedFS
from test_broker import LISTED, url_with


def test_one_line_in_the_config_file_makes_boto3_use_the_daemon(seaweedfs: SeaweedFS, binary, home, credenza):
    broker = credenza(CREDENZA_URL=url_with(seaweedfs.keys[0], seaweedfs.endpoint))
    ask = f"{binary} get --from-daemon --listen {broker.address.removeprefix('http://')} --token-file {broker.token_file}"
    write(home / ".aws" / "config", f"[default]\ncredential_process = {ask}\n")
    variables = environment(home, AWS_ENDPOINT_URL_S3=seaweedfs.endpoint)
    listed = once(boto3_command(), variables, home)
    assert listed.stdout.strip() == LISTED, listed
    broker.stop()
    listed = once(boto3_command(), variables, home)
    assert "no daemon answers at" in listed.stdout + listed.stderr, "boto3 shows what we say"


def test_eval_env_points_every_sdk_to_the_daemon(seaweedfs: SeaweedFS, sdk, binary, home, credenza):
    broker = credenza(CREDENZA_URL=url_with(seaweedfs.keys[0], seaweedfs.endpoint))
    script = 'settings=$("$0" env) || exit; eval "$settings"; exec "$@"'
    variables = environment(
        home,
        AWS_ENDPOINT_URL_S3=seaweedfs.endpoint,
        CREDENZA_LISTEN=broker.address.removeprefix("http://"),
        CREDENZA_TOKEN_FILE=str(broker.token_file),
        AWS_ACCESS_KEY_ID="AKIASTALE",
        AWS_SECRET_ACCESS_KEY="stale",
        AWS_PROFILE="gone",
    )
    listed = once(["sh", "-c", script, str(binary), *sdk], variables, home)
    assert listed.stdout.strip() == LISTED, listed


@pytest.mark.parametrize("seed", range(12))
def test_python_dotenv_reads_every_written_file(binary, home, seed):
    """Secrets full of special characters of one reader or another; a refusal has a reason."""
    draw = random.Random(seed)
    secret = "".join(draw.choices("ab0/+= #'\"\\${}`!~|", k=draw.randint(1, 24)))
    secret = f"x{secret}x" if seed % 2 else f"{secret.strip()}#"
    variables = environment(home, AWS_ACCESS_KEY_ID="AKIA", AWS_SECRET_ACCESS_KEY=secret)
    printed = once([str(binary), "get", "--format", "dotenv"], variables, home)
    if printed.returncode != 0:
        assert "AWS_SECRET_ACCESS_KEY cannot be written" in printed.stderr and printed.stdout == "", printed
        assert "${" in secret or ("\\" in secret and set(secret) & set(" #'\"$`")), secret
        return
    read = dotenv_values(stream=StringIO(printed.stdout))
    assert (read["AWS_SECRET_ACCESS_KEY"], read["AWS_SESSION_TOKEN"]) == (secret, "")
