"""boto3 lists buckets, or calls GetCallerIdentity, once for every line on standard input, with one client."""

import sys
from functools import cache
from pathlib import Path

import boto3

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from answers import serve  # noqa: E402

# boto3 requests credentials when a client is created; one client makes all calls.
client = cache(boto3.client)


def call() -> list[str]:
    return [bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]]


def sts() -> str:
    return client("sts").get_caller_identity()["Arn"]


if __name__ == "__main__":
    serve(call, "boto3", "botocore", sts=sts)
