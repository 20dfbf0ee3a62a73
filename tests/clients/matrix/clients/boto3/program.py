"""boto3 lists buckets, once for every line on standard input, with one client."""

import sys
from functools import cache
from pathlib import Path

import boto3

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from answers import serve  # noqa: E402

# boto3 asks for credentials when a client is made, and for all calls there is one.
client = cache(lambda: boto3.client("s3"))


def call() -> list[str]:
    return [bucket["Name"] for bucket in client().list_buckets()["Buckets"]]


if __name__ == "__main__":
    serve(call, "boto3", "botocore")
