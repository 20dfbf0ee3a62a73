"""boto3 lists buckets, once for every line on standard input, with one client."""

import sys

import boto3
import botocore


def words(error: BaseException) -> str:
    """What a traceback would show, in one line."""
    chain = []
    while error is not None:
        chain.append(f"{type(error).__module__}.{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return " ".join(" <- ".join(chain).split())[:2000]


def main() -> None:
    if "--version" in sys.argv[1:]:
        print(f"boto3 {boto3.__version__} (botocore {botocore.__version__}, Python {sys.version.split()[0]})")
        return
    client = None
    for _line in sys.stdin:
        try:
            # boto3 asks for credentials when a client is made.
            client = client or boto3.client("s3")
            print("listed:", *[bucket["Name"] for bucket in client.list_buckets()["Buckets"]], flush=True)
        except Exception as error:  # noqa: BLE001: whatever its user would see
            print("error:", words(error), flush=True)


if __name__ == "__main__":
    main()
