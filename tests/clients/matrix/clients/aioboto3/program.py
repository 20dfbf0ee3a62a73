"""aioboto3 lists buckets, once for every line on standard input, with one client in one event loop."""

import asyncio
import sys
from pathlib import Path

import aioboto3

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from answers import serve  # noqa: E402

client = None


async def list_buckets() -> list[str]:
    global client
    if client is None:
        # Like boto3 it asks for credentials when a client is made. It is closed with the process.
        client = await aioboto3.Session().client("s3").__aenter__()
    return [bucket["Name"] for bucket in (await client.list_buckets())["Buckets"]]


if __name__ == "__main__":
    with asyncio.Runner() as runner:
        serve(lambda: runner.run(list_buckets()), "aioboto3", "aiobotocore", "botocore")
