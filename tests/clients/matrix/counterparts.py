"""The services that the rows use: SeaweedFS verifies S3 signatures and session tokens, moto those of STS."""

from contextlib import ExitStack
from pathlib import Path

from bridge import Bridge
from caller_identity import ROLE, STS, begin_to_refuse
from cells import CELLS
from grants import GRANTS
from moto_server import Moto
from seaweedfs import ROLE as S3_ROLE
from seaweedfs import Key, SeaweedFS, new_key

BUCKET = "matrix-was-here"


class Counterparts:
    """A context manager. `s3` and `moto` are sockets in the file system, which rows reach from their namespaces."""

    def __init__(self, folder: Path):
        self._folder = folder
        self.s3, self.moto = folder / "s3", folder / "moto"
        self._stack = ExitStack()

    def __enter__(self) -> "Counterparts":
        with ExitStack() as stack:
            # Starts here; the wait for it follows after the other one has started.
            moto = Moto(self._folder / "moto.log", [ROLE])
            stack.push(moto)
            seaweedfs = stack.enter_context(SeaweedFS(self._folder / "seaweedfs", [new_key()]))
            seaweedfs.s3().create_bucket(Bucket=BUCKET)
            seaweedfs.s3().put_object(Bucket=BUCKET, Key="was-here", Body=b"was here")
            begin_to_refuse(moto.__enter__())
            stack.enter_context(Bridge(self.s3, seaweedfs.endpoint))
            stack.enter_context(Bridge(self.moto, moto.endpoint))
            self._long_lived, self._issuer, self._user = seaweedfs.keys[0], seaweedfs.sts(), moto.key
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exception) -> None:
        self._stack.close()

    def keys(self, column: str) -> list[dict]:
        """Returns the keys for a cell of this column, as JSON."""
        if column == STS:
            return [_told(self._user)]
        if column == "long-lived" or column in GRANTS:
            return [_told(self._long_lived)]
        _run, temporary = CELLS[column]
        return [_told(self._issue()) for _ in range(temporary)]

    def _issue(self) -> Key:
        key = self._issuer.assume_role(RoleArn=S3_ROLE, RoleSessionName="matrix", DurationSeconds=43200)["Credentials"]
        return Key(key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"])


def _told(key: Key) -> dict:
    return {"access_key_id": key.access_key_id, "secret_access_key": key.secret_access_key, "token": key.token}
