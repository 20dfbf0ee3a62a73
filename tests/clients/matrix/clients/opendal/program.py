"""OpenDAL lists a bucket, once for every line on standard input, with one operator."""

import os
import sys
from functools import cache
from pathlib import Path

from opendal import Operator

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from answers import serve  # noqa: E402


@cache
def operator() -> Operator:
    # It honours AWS_ENDPOINT_URL, but not the variable of S3. Its keys come from reqsign's own chain.
    return Operator("s3", bucket=os.environ["MATRIX_BUCKET"], endpoint=os.environ["AWS_ENDPOINT_URL_S3"])


def call() -> list[str]:
    return [entry.path for entry in operator().list("")]


if __name__ == "__main__":
    serve(call, "opendal")
