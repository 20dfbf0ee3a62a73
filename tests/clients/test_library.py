"""examples/aws-sdk: the AWS SDK for Rust with the credentials of a chain, without a daemon."""

import shutil

import pytest

from conftest import IN_CI
from programs import build_rust_example, environment, once, write
from seaweedfs import SeaweedFS, new_key
from test_broker import LISTED, url_with


@pytest.fixture(scope="module")
def example() -> list[str]:
    if shutil.which("cargo") is None:
        (pytest.fail if IN_CI else pytest.skip)("no cargo: the example cannot be built")
    return [str(build_rust_example())]


def test_a_url_gives_keys_and_endpoint(seaweedfs: SeaweedFS, example, home):
    listed = once(example, environment(home, S3_URL=url_with(seaweedfs.keys[0], seaweedfs.endpoint)), home)
    assert listed.stdout.strip() == LISTED, listed


def test_a_session_of_a_profile_is_signed_with_its_token(seaweedfs: SeaweedFS, example, home):
    write(home / ".aws" / "credentials", seaweedfs.session().section())
    listed = once(example, environment(home, AWS_ENDPOINT_URL_S3=seaweedfs.endpoint), home)
    assert listed.stdout.strip() == LISTED, listed


def test_a_wrong_key_is_refused_by_the_store(seaweedfs: SeaweedFS, example, home):
    """Shows that the store checks what the provider gives."""
    refused = once(example, environment(home, S3_URL=url_with(new_key(), seaweedfs.endpoint)), home)
    assert refused.returncode == 1 and "InvalidAccessKeyId" in refused.stderr, refused


def test_an_error_of_a_source_reaches_the_user_without_secrets(seaweedfs: SeaweedFS, example, home):
    program = write(home / "program", "#!/bin/sh\necho hush-hush >&2\nexit 3\n")
    program.chmod(0o700)
    write(home / ".aws" / "config", f"[default]\ncredential_process = {program}\n")
    refused = once(example, environment(home), home)
    assert refused.returncode == 1 and "source profile" in refused.stderr, refused
    assert "hush-hush" not in refused.stderr + refused.stdout, refused
    nothing = once(example, environment(home, AWS_CONFIG_FILE=str(home / "none")), home)
    assert nothing.returncode == 1 and "no source is configured" in nothing.stderr, nothing
