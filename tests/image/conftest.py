"""Shared fixtures: an engine, the image around the static program, an S3 that verifies signatures, a network namespace."""

import fcntl
import os
import shutil
import socket
import struct
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]

import program  # noqa: E402
from engine import Engine  # noqa: E402
from seaweedfs import SeaweedFS, new_key  # noqa: E402

IMAGE = "localhost/credenza:test"
BUCKET = "credenza-was-here"
SIOCGIFFLAGS, SIOCSIFFLAGS, UP = 0x8913, 0x8914, 1  # netdevice(7)


def pytest_sessionstart() -> None:
    """Brings loopback up, and refuses the machine's own network, where the broker's port may be in use."""
    others = [name for _, name in socket.if_nameindex() if name != "lo" and _flags(name) & UP]
    if others:
        pytest.exit("these tests want a network namespace of their own: make image, or unshare --net pytest …", 2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _flags("lo") | UP))


def _flags(interface: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return struct.unpack("16sH14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sH14x", interface.encode(), 0)))[1]


@pytest.fixture(scope="session")
def network() -> str:
    """The network namespace of the tests, in the syntax of podman."""
    return f"ns:/proc/{os.getpid()}/ns/net"


@pytest.fixture(scope="session")
def binary() -> Path:
    """The program that the image is made of."""
    given = os.environ.get("CREDENZA_STATIC_BIN")
    assert given and os.access(given, os.X_OK), "CREDENZA_STATIC_BIN names no program; `make image` builds and names one"
    return Path(given)


@pytest.fixture(scope="session")
def engine(binary: Path):
    """An engine with the images of the broker and of a program."""
    with Engine() as running:
        context = running.directory / "context"
        running.run([str(REPOSITORY / "packaging" / "image-root.sh"), str(binary), str(context)])
        running.build(IMAGE, REPOSITORY / "Dockerfile", context, "--target", "prebuilt")
        program.build(running)
        yield running


@pytest.fixture(scope="session")
def seaweedfs():
    """A server with one key, which tests may change, and the bucket BUCKET."""
    directory = Path(tempfile.mkdtemp(prefix="credenza-image-s3-"))
    with SeaweedFS(directory, [new_key()]) as server:
        server.s3().create_bucket(Bucket=BUCKET)
        yield server
    shutil.rmtree(directory, ignore_errors=True)
