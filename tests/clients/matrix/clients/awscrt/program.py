"""The AWS CRT for Python reads an object, once for every line on standard input, with one client."""

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from awscrt.auth import AwsCredentialsProvider
from awscrt.http import HttpHeaders, HttpRequest
from awscrt.s3 import S3Client, S3RequestTlsMode, S3RequestType, create_default_s3_signing_config

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from answers import serve  # noqa: E402

OBJECT = "was-here"
endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL_S3", ""))
region = os.environ.get("AWS_REGION", "us-east-1")
provider = AwsCredentialsProvider.new_default_chain()
client = S3Client(
    region=region,
    tls_mode=S3RequestTlsMode.ENABLED if endpoint.scheme == "https" else S3RequestTlsMode.DISABLED,
    signing_config=create_default_s3_signing_config(region=region, credential_provider=provider),
)


def call() -> list[str]:
    path = f"/{os.environ['MATRIX_BUCKET']}/{OBJECT}"
    request = HttpRequest("GET", path, HttpHeaders([("Host", endpoint.netloc)]))
    client.make_request(type=S3RequestType.GET_OBJECT, request=request).finished_future.result()
    return [OBJECT]


if __name__ == "__main__":
    serve(call, "awscrt")
