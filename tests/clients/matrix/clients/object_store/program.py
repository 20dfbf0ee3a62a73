"""object_store of Rust, by its binding obstore, lists a bucket, once for every line on standard input, with one store."""

import os
import sys
from functools import cache
from pathlib import Path

from obstore.store import S3Store

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from answers import serve  # noqa: E402


@cache
def store() -> S3Store:
    # Nearly everything comes from the environment. Its variable for the metadata service differs from that of the SDKs
    # (AWS_METADATA_ENDPOINT), and plain HTTP to the S3 of the tests has to be allowed.
    metadata = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
    config = {} if metadata is None else {"metadata_endpoint": metadata}
    return S3Store(os.environ["MATRIX_BUCKET"], config=config, client_options={"allow_http": True})


def call() -> list[str]:
    return [entry["path"] for entries in store().list() for entry in entries]


if __name__ == "__main__":
    serve(call, "obstore")
