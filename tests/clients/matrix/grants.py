"""The columns `narrowed`, `revoked` and `ended`: a client with fewer rights, and one whose grant is revoked or ends.

The broker assumes a role at the STS of SeaweedFS, whose S3 applies the session policy. A relay before the broker counts the
requests for credentials.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from client import Client
from columns import PAUSE, REFUSAL, Seen
from seaweedfs import Key
from session import Hung, Said, Session
from stage import Grant, Stage, Wrong

NARROWED, REVOKED, ENDED = "narrowed", "revoked", "ended"
READ_ONLY = """{
  "Version": "2012-10-17",
  "Statement": [{ "Effect": "Allow", "Action": ["s3:ListAllMyBuckets", "s3:GetObject"], "Resource": "*" }]
}
"""
# Minutes. Clients renew their keys at a multiple of five before the end, at 15 the earliest, and every minute is tried from
# there.
STEP, LONGEST = 5, 20
# Calls after a revocation: a client may renew its keys beside the first one.
CALLS = 2
# Seconds; long enough for a slow start and a call on a busy machine.
SHORT = 12
# Expirations have no fractions of a second.
ROUNDING = 1.0


def has_grants(client: Client, way: str) -> bool:
    return client.grants == way


def narrowed(stage: Stage, key: Key) -> Seen:
    """A client of the table and a grant, each with a session policy; another client of the same role may put."""
    policy = stage.write("read-only.json", READ_ONLY)
    stage.over_s3_role(key, {"whole": "", "reader": f', policy_file = "{policy}"'})
    _does(stage, stage.session(stage.client_token("whole")), "put")
    said = _only_gets(stage, stage.session(stage.client_token("reader")))
    grant = stage.grant("narrowed", LONGEST * 60, "--policy", str(policy), identity="whole")
    also = _only_gets(stage, stage.session(grant.token_file))
    if _words(also) != _words(said):
        raise Wrong(f"a grant with the same policy shows something else: {said.text} / {also.text}")
    return Seen(said=said.text)


def revoked(stage: Stage, key: Key) -> Seen:
    stage.over_s3_role(key)
    tried: dict[int, Revoked] = {}

    def after(minutes: int) -> Revoked:
        if minutes not in tried:
            tried[minutes] = _revoked(stage, minutes)
        return tried[minutes]

    fails = _longest(lambda minutes: after(minutes).failure is not None)
    asks = _longest(lambda minutes: after(minutes).asked > 0)
    if fails == LONGEST:
        remark = "the next call fails"
    else:
        remark = f"goes on with its keys until {f'{fails} min before ' if fails else ''}their `Expiration`"
        if asks > fails:
            remark += f" (asks for others from {asks} min on{_slowly(stage.client, after(asks), ', each call takes ')})"
    last = after(fails) if fails else _revoked_until_the_end(stage)
    times = f"{_times(last.asked)}{_slowly(stage.client, last, ', for ')}"
    return Seen(f"{remark}; the call that fails asks {times}", last.failure.text)


def ended(stage: Stage, key: Key) -> Seen:
    stage.over_s3_role(key)
    grant = stage.grant("ended", SHORT)
    session = stage.session(grant.token_file)
    stage.works_with(session.call(stage.patience))
    said = _until_the_end(stage, session, grant).failure
    if time.time() < grant.ends:
        raise Wrong(f"fails {grant.ends - time.time():.1f} s before the end of its grant: {said.text}")
    if not (again := _call(session)).failed:
        raise Wrong(f"works again after the end of its grant: {again.text}")
    return Seen("the first call fails", said.text)


# Each with the number of temporary keys that it uses.
GRANTS = {NARROWED: (narrowed, 0), REVOKED: (revoked, 0), ENDED: (ended, 0)}


@dataclass(frozen=True)
class Revoked:
    """A client after the revocation of its grant: its requests for credentials, its last call, and the one that failed."""

    asked: int
    last: Said

    @property
    def failure(self) -> Said | None:
        return self.last if self.last.failed else None


def _revoked(stage: Stage, minutes: int) -> Revoked:
    """One call with a grant for so many minutes, and up to CALLS after its revocation."""
    grant = stage.grant(f"for-{minutes}", minutes * 60)
    session = stage.session(grant.token_file)
    stage.works_with(session.call(stage.patience))
    stage.requests()
    stage.revoke(grant)
    asked = 0
    try:
        for _ in range(CALLS):
            said = _call(session)
            asked += stage.requests()
            if said.failed:
                stage.beware_of_keys()
                break
            stage.works_with(said)
            time.sleep(PAUSE)
        return Revoked(asked, said)
    finally:
        session.end()


def _revoked_until_the_end(stage: Stage) -> Revoked:
    grant = stage.grant("soon-over", SHORT)
    session = stage.session(grant.token_file)
    stage.works_with(session.call(stage.patience))
    stage.revoke(grant)
    return _until_the_end(stage, session, grant)


def _until_the_end(stage: Stage, session: Session, grant: Grant) -> Revoked:
    """Calls until one fails. None that begins after the end of the grant may work."""
    while True:
        stage.requests()
        began = time.time()
        said = _call(session)
        if said.failed:
            stage.beware_of_keys()
            return Revoked(stage.requests(), said)
        stage.works_with(said)
        if began > grant.ends + ROUNDING:
            raise Wrong(f"a call {began - grant.ends:.1f} s after the end of its grant works")
        time.sleep(PAUSE)


def _longest(holds: Callable[[int], bool]) -> int:
    """Returns the most minutes, up to LONGEST, that this holds for: it does for all that are fewer."""
    if holds(LONGEST):
        return LONGEST
    low, high = 0, LONGEST // STEP
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle * STEP) else (low, middle)
    minutes = low * STEP
    while holds(minutes + 1):
        minutes += 1
    return minutes


def _only_gets(stage: Stage, session: Session) -> Said:
    """Gets, and cannot put. Returns the refusal."""
    _does(stage, session, "get")
    session.word = "put"
    said = _call(session)
    if not said.failed or "AccessDenied" not in said.text.replace(" ", ""):
        raise Wrong(f"a put under a session policy that allows none: {said.text}")
    stage.signed()
    return said


def _does(stage: Stage, session: Session, word: str) -> None:
    session.word = word
    said = session.call(stage.patience)
    if not said.text.startswith("got: was here" if word == "get" else "put:"):
        raise Wrong(f"a {word} that the policy allows: {said.text}")
    stage.signed()


def _call(session: Session) -> Said:
    try:
        return session.call(REFUSAL)
    except Hung as hung:
        raise Wrong(str(hung)) from None


def _words(said: Said) -> str:
    """The text without the ids of requests."""
    return " ".join(word for word in said.text.split() if not any(character.isdigit() for character in word))


def _times(count: int) -> str:
    # Beyond that there are requests beside the call, in any number.
    return "once" if count == 1 else f"{count} times" if count <= 4 else "more than 4 times"


def _slowly(client: Client, after: Revoked, words: str) -> str:
    """The seconds of a slow call. Those of a program for each call are mostly its start."""
    seconds = after.last.seconds
    return f"{words}about {seconds:.0f} s" if client.kind == "loop" and seconds > 1.5 else ""
