"""boto3 lists buckets, gets or puts an object, or calls GetCallerIdentity, once for every line on standard input, with one
client."""

import os
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


def get() -> str:
    return client("s3").get_object(Bucket=os.environ["MATRIX_BUCKET"], Key="was-here")["Body"].read().decode()


def put() -> str:
    return client("s3").put_object(Bucket=os.environ["MATRIX_BUCKET"], Key="put", Body=b"put\n")["ETag"]


if __name__ == "__main__":
    serve(call, "boto3", "botocore", sts=sts, get=get, put=put)
