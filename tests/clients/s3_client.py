"""boto3 as a client of the broker: the counterpart of rust/src/main.rs, with the same words.

Prints the buckets in one line (`buckets: a b`) or what went wrong (`error: …`). With `--loop` it does so once for every
line on standard input, with one client, as a long-running program would; `fresh` in a line makes a new session first.
"""

import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError


def new_client():
    return boto3.session.Session().client("s3")


def list_buckets(client) -> tuple[bool, str]:
    try:
        names = [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
    except (BotoCoreError, ClientError) as error:
        return False, "error: " + str(error).replace("\n", " ")
    return True, "buckets: " + " ".join(names)


def main() -> int:
    client = new_client()
    if "--loop" not in sys.argv[1:]:
        listed, line = list_buckets(client)
        print(line)
        return 0 if listed else 1
    for line in sys.stdin:
        if line.strip() == "exit":
            break
        if line.strip() == "fresh":
            client = new_client()
        print(list_buckets(client)[1], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
