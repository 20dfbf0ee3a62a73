"""boto3 lists buckets, or asks STS who it is, once for every line on standard input, with one client."""

import sys
from functools import cache
from pathlib import Path

import boto3

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from answers import serve  # noqa: E402

# boto3 asks for credentials when a client is made, and for all calls there is one.
client = cache(boto3.client)


def call() -> list[str]:
    return [bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]]


def sts() -> str:
    return client("sts").get_caller_identity()["Arn"]


if __name__ == "__main__":
    serve(call, "boto3", "botocore", sts=sts)
