"""An S3 on loopback that verifies signatures. Its one bucket has the name of the caller, so a listing shows who signed."""

from serving import Handler, HttpService
from signature import Refusal, signer
from sts import known

XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


class NamedBucket(HttpService):
    """A context manager: it listens inside `with`. It knows the callers of `sts.known`."""

    def __init__(self):
        super().__init__(_Handler)


class _Handler(Handler):
    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            caller, _ = signer("s3", "GET", self.path, headers, b"", known)
        except Refusal as refusal:
            body = f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>"
            return self.answer(refusal.status, body, "application/xml")
        bucket = f"<Bucket><Name>{caller.lower()}</Name><CreationDate>2026-01-01T00:00:00Z</CreationDate></Bucket>"
        owner = "<Owner><ID>0</ID></Owner>"
        body = f"<ListAllMyBucketsResult {XMLNS}>{owner}<Buckets>{bucket}</Buckets></ListAllMyBucketsResult>"
        self.answer(200, body, "application/xml")
