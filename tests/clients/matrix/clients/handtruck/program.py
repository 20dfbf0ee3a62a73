"""handtruck lists a bucket, once for every line on standard input, with one client in one event loop."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

from anyio.from_thread import start_blocking_portal
from handtruck import S3Client
from handtruck.credentials import MetadataCredentials, collect_credentials
from httpx import AsyncClient

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from answers import serve  # noqa: E402

client = None


def call() -> list[str]:
    global client
    if client is None:
        # By default it uses the environment and the files; the user has to name the metadata service.
        credentials = collect_credentials()
        if not credentials:
            credentials = stack.enter_context(portal.wrap_async_context_manager(MetadataCredentials()))
        client = S3Client(AsyncClient(), os.environ["AWS_ENDPOINT_URL_S3"], credentials=credentials)
    return portal.call(keys, os.environ["MATRIX_BUCKET"])


async def keys(bucket: str) -> list[str]:
    return [found.key async for page in client.list_objects_v2(bucket=bucket) for found in page]


if __name__ == "__main__":
    with start_blocking_portal() as portal, ExitStack() as stack:
        serve(call, "handtruck", "httpx")
