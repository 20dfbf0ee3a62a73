"""The program beside the broker: an image of symlinks and empty folders, with this machine's Python mounted into it."""

import sys
from pathlib import Path

from engine import Engine

IMAGE = "localhost/program:test"
CLIENTS = Path(__file__).parent.parent / "clients"
# Idles until a signal; with default dispositions, process 1 would ignore it.
IDLE = "import signal; stop = {signal.SIGTERM}; signal.pthread_sigmask(signal.SIG_BLOCK, stop); signal.sigwait(stop)"
COMMAND = [sys.executable, "-c", IDLE]
LIST = [sys.executable, str(CLIENTS / "s3_client.py")]
VARIABLES = {"HOME": "/", "PYTHONDONTWRITEBYTECODE": "1", "AWS_EC2_METADATA_DISABLED": "true"}


def build(engine: Engine) -> None:
    """Creates the image; a symlink in this machine's root (`/lib`) is one in the image."""
    root = engine.directory / "program" / "root"
    root.mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        if (host := Path("/") / name).is_symlink():
            (root / name).symlink_to(host.readlink())
    for mount in mounts():
        (root / mount.relative_to("/")).mkdir(parents=True, exist_ok=True)
    (root.parent / "Dockerfile").write_text("FROM scratch\nCOPY root/ /\n")
    engine.build(IMAGE, root.parent / "Dockerfile", root.parent)


def mounts() -> list[Path]:
    """The folders that Python and boto3 need, outermost only."""
    wanted = [Path("/usr"), Path("/lib"), Path("/lib64"), Path(sys.base_prefix).resolve(), Path(sys.prefix), CLIENTS]
    folders = sorted({folder for folder in wanted if folder.is_dir() and not folder.is_symlink()})
    return [one for one in folders if not any(other in one.parents for other in folders)]
