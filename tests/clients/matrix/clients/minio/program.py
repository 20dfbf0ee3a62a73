"""minio-py lists buckets, once for every line on standard input, with one client."""

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from minio import Minio
from minio.credentials import AWSConfigProvider, ChainedProvider, EnvAWSProvider, IamAwsProvider

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from answers import serve  # noqa: E402

# The user lists the providers of its chain. IamAwsProvider is last: without a container and a metadata service it raises
# an error that ends the chain.
chain = ChainedProvider([EnvAWSProvider(), AWSConfigProvider(), IamAwsProvider()])
endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL_S3", "https://s3.amazonaws.com"))
client = Minio(endpoint.netloc, secure=endpoint.scheme == "https", region=os.environ.get("AWS_REGION"), credentials=chain)


def call() -> list[str]:
    return [bucket.name for bucket in client.list_buckets()]


if __name__ == "__main__":
    serve(call, "minio", "urllib3")
