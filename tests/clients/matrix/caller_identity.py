"""The column `sts`: a client with an STS client calls GetCallerIdentity of moto, which verifies signatures.

The broker assumes a role there as well, so that its own source, moto and the client meet in one cell. The client must
get the role that the broker assumed, and only the broker has the key that assumed it.
"""

from botocore.exceptions import ClientError

from client import Client
from columns import Seen
from moto_server import ACCOUNT, Moto
from seaweedfs import Key, new_key
from stage import Stage, Wrong

STS = "sts"
ROLE = "Matrix"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/{ROLE}"


class Unchecked(Exception):
    """moto accepted a request that it has to refuse."""


def has_sts(client: Client, way: str) -> bool:
    return client.sts == way


def begin_to_refuse(moto: Moto) -> None:
    """Switches signature checks on, and tries them with wrong secrets and session tokens, once for all cells."""
    moto.check_signatures()
    secret = new_key().secret_access_key
    issued = moto.client("sts", moto.key).assume_role(RoleArn=ROLE_ARN, RoleSessionName="refused")["Credentials"]
    key = Key(issued["AccessKeyId"], issued["SecretAccessKey"], issued["SessionToken"])
    moto.client("sts", key).get_caller_identity()
    for what, wrong, code in (
        ("a wrong secret of a user", Key(moto.key.access_key_id, secret), "SignatureDoesNotMatch"),
        ("a wrong secret of a role", Key(key.access_key_id, secret, key.token), "SignatureDoesNotMatch"),
        ("another session token", Key(key.access_key_id, key.secret_access_key, f"{key.token}x"), "InvalidClientTokenId"),
        ("no session token", Key(key.access_key_id, key.secret_access_key), "InvalidClientTokenId"),
    ):
        said = "no error"
        try:
            moto.client("sts", wrong).get_caller_identity()
        except ClientError as error:
            said = error.response["Error"]["Code"]
        if said != code:
            raise Unchecked(f"moto answers {what} with {said} and not {code}: the column {STS} would show nothing")


def sts(stage: Stage, key: Key) -> Seen:
    name = stage.client.name
    stage.over_role(key, ROLE_ARN, name)
    status, body = stage.broker.ask()
    if status != 200:
        raise Wrong(f"the broker has not assumed the role: {status} {body}")
    served = Key(body["AccessKeyId"], body["SecretAccessKey"], body["Token"])
    stage.sts.news()  # the broker's own
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE}/{name}"
    session = stage.session(call=STS)
    for _ in range(2):
        stage.called_with(session.call(stage.patience), served, arn)
    return Seen(arn)
