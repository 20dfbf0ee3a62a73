"""The recipe "A CI job" of docs/RECIPES.md, run as printed, around a job that lists buckets on a real S3."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import BUCKET
from programs import Credenza, boto3_command, environment, once, until, write
from recipes import blocks
from seaweedfs import SeaweedFS

LISTED = f"buckets: {BUCKET}"
# A job that leaks its token.
JOB = """#!/bin/sh
touch started
"{python}" "{client}"
cp "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" leaked
echo "$AWS_CONTAINER_CREDENTIALS_FULL_URI" > uri
{end}
"""
FOR_EVER = "exec sleep 600"


@pytest.fixture
def broker(credenza, home: Path, seaweedfs: SeaweedFS) -> Credenza:
    key = seaweedfs.keys[0]
    source = f'{{ access_key_id = "{key.access_key_id}", secret_access_key = "{key.secret_access_key}" }}'
    text = f'[clients.elsewhere]\nusers = [1]\nidentities = ["none"]\n[identities.deploy]\nsources = [{source}]\n'
    return credenza("--config", str(write(home / "credenza.toml", text)))


def start_job(broker: Credenza, home: Path, seaweedfs: SeaweedFS, end: str = "exit 0", job_id: str = "7") -> subprocess.Popen:
    """Runs the block with this end of `deploy.sh`."""
    [script] = blocks("A CI job")["sh"]
    python, client = boto3_command()
    write(home / "deploy.sh", JOB.format(python=python, client=client, end=end)).chmod(0o700)
    (home / "bin").mkdir()
    (home / "bin" / "credenza").symlink_to(broker.binary)
    variables = environment(
        home, CI_JOB_ID=job_id, CREDENZA_TOKEN_FILE=str(broker.token_file), AWS_ENDPOINT_URL_S3=seaweedfs.endpoint
    )
    variables["PATH"] = f"{home / 'bin'}:{variables['PATH']}"
    # A group of its own, which CI systems signal.
    return subprocess.Popen(
        ["sh", "-c", script], cwd=home, env=variables, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.parametrize(("end", "code"), [("exit 0", 0), ("exit 3", 3), (FOR_EVER, 1)], ids=["done", "failed", "cancelled"])
def test_a_job_loses_its_credentials_at_its_end(broker: Credenza, home: Path, seaweedfs: SeaweedFS, end: str, code: int):
    with start_job(broker, home, seaweedfs, end) as job:
        if end == FOR_EVER:
            until("the job works", (home / "uri").exists)
            os.killpg(job.pid, signal.SIGTERM)
        shown, _ = job.communicate(timeout=60)
    assert job.returncode == code, shown
    assert LISTED in shown and "grant ci-7 of identity deploy is revoked" in shown, shown
    token = (home / "leaked").read_text()
    assert token not in shown
    leaked = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": (home / "uri").read_text().strip(),
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        "AWS_ENDPOINT_URL_S3": seaweedfs.endpoint,
    }
    refused = once(boto3_command(), environment(home, **leaked), home)
    assert refused.returncode == 1 and "401" in refused.stdout, refused


def test_a_job_without_a_grant_does_not_start(broker: Credenza, home: Path, seaweedfs: SeaweedFS):
    """There is no deployment with other credentials."""
    with start_job(broker, home, seaweedfs, job_id="not a name") as job:
        shown, _ = job.communicate(timeout=60)
    assert job.returncode != 0 and "not the name of a client" in shown, shown
    assert not (home / "started").exists()
