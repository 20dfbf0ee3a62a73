"""boto3 as a client of the broker: the counterpart of rust/src/main.rs, with the same commands.

Prints the buckets in one line (`buckets: a b`) or the error (`error: …`). With `--loop` it does so once for every line
on standard input, with one client, like a long-running program; `fresh` in a line creates a new session first.
"""

import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError


class Program:
    """Keeps one client, created at its first use: boto3 requests credentials when a client is created."""

    def __init__(self):
        self.client = None

    def list(self, fresh: bool = False) -> tuple[bool, str]:
        try:
            if self.client is None or fresh:
                self.client = boto3.session.Session().client("s3")
            names = [bucket["Name"] for bucket in self.client.list_buckets()["Buckets"]]
        except (BotoCoreError, ClientError) as error:
            return False, "error: " + str(error).replace("\n", " ")
        return True, "buckets: " + " ".join(names)


def main() -> int:
    program = Program()
    if "--loop" not in sys.argv[1:]:
        listed, line = program.list()
        print(line)
        return 0 if listed else 1
    for line in sys.stdin:
        if line.strip() == "exit":
            break
        print(program.list(fresh=line.strip() == "fresh")[1], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
