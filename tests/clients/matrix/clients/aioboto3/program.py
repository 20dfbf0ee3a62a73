"""aioboto3 lists buckets, or calls GetCallerIdentity, once for every line on standard input, with one client in one loop."""

import asyncio
import sys
from pathlib import Path

import aioboto3

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from answers import serve  # noqa: E402

clients = {}


async def client(service: str):
    if service not in clients:
        # Like boto3 it requests credentials when a client is created. The process closes it.
        clients[service] = await aioboto3.Session().client(service).__aenter__()
    return clients[service]


async def list_buckets() -> list[str]:
    return [bucket["Name"] for bucket in (await (await client("s3")).list_buckets())["Buckets"]]


async def get_caller_identity() -> str:
    return (await (await client("sts")).get_caller_identity())["Arn"]


if __name__ == "__main__":
    with asyncio.Runner() as runner:
        packages = "aioboto3", "aiobotocore", "botocore"
        serve(lambda: runner.run(list_buckets()), *packages, sts=lambda: runner.run(get_caller_identity()))
