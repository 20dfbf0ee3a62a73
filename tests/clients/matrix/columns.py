"""The columns: the behaviour of a client that each cell tests. A column takes a stage and returns its outcome."""

import time
from dataclasses import dataclass

from programs import until
from seaweedfs import Key
from session import Hung, Said, Session
from stage import Stage, Wrong, lent

GOOD = 3600.0
PAUSE = 0.3
REFUSAL = 120.0
PATIENCE = 20.0
# A little more than the broker's longest pause after a failure.
BACKOFF = 75.0


@dataclass(frozen=True)
class Seen:
    """The outcome of a cell that works: a remark for the table, and the error messages that a user saw."""

    remark: str = ""
    said: str = ""


def long_lived(stage: Stage, key: Key) -> Seen:
    stage.over_keys(key)
    session = stage.session()
    for _ in range(2):
        stage.works_with(session.call(stage.patience), key)
    return Seen()


def temporary(stage: Stage, key: Key) -> Seen:
    stage.over_instance_role(key, GOOD)
    session = stage.session()
    for _ in range(2):
        stage.works_with(session.call(stage.patience), key)
    return Seen()


def rotation(stage: Stage, old: Key, new: Key) -> Seen:
    stage.over_instance_role(old, stage.lease)
    session = _started_with(stage, old)
    stage.upstream.rotate(lent(new, GOOD))
    return _goes_over(stage, session, old, new)


def restart(stage: Stage, old: Key, new: Key) -> Seen:
    stage.over_instance_role(old, stage.lease)
    session = _started_with(stage, old)
    stage.broker.stop()
    stage.upstream.rotate(lent(new, GOOD))
    stage.broker.start(stage.broker.address.removeprefix("http://"))
    return _goes_over(stage, session, old, new)


def healed(stage: Stage, old: Key, new: Key) -> Seen:
    stage.over_instance_role(old, stage.lease)
    session = _started_with(stage, old)
    stage.upstream.fail(503, times=None)
    until("the broker's lease has ended", lambda: stage.broker.served_key() is None, stage.lease + PATIENCE)
    session.ask()
    said = session.answer(PATIENCE)
    remark = ""
    if said is None:
        remark = "the call waits until there are credentials again"
    elif said.listed:
        if stage.works_with(said, old):
            remark = "goes on with the keys that have ended until there are others"
    else:
        stage.beware_of_keys()
    stage.upstream.clear()
    stage.upstream.rotate(lent(new, GOOD))
    until("the broker serves the new keys", lambda: stage.broker.served_key() == new.access_key_id, BACKOFF)
    if said is None:
        waited = session.answer(REFUSAL)
        if waited is None or not waited.listed:
            remark = "a call that began before there were credentials fails"
        if waited is None:
            raise Wrong(f"the call never ended, {REFUSAL:g} s after there were credentials again")
        stage.signers()
    _recovers(stage, session, old if said is not None and said.listed else new, new)
    return Seen(remark, "" if said is None or said.listed else said.text)


def wrong_token(stage: Stage, key: Key) -> Seen:
    stage.over_instance_role(key, GOOD)
    return _refused(stage, stage.session(stage.wrong_token_file()))


def login_required(stage: Stage) -> Seen:
    stage.over_an_ended_log_in()
    return _refused(stage, stage.session())


# Each with the number of temporary keys that it uses.
COLUMNS = {
    "long-lived": (long_lived, 0),
    "temporary": (temporary, 1),
    "rotation": (rotation, 2),
    "restart": (restart, 2),
    "healed": (healed, 2),
    "wrong-token": (wrong_token, 1),
    "login-required": (login_required, 0),
}


def _started_with(stage: Stage, key: Key) -> Session:
    session = stage.session()
    stage.works_with(session.call(stage.patience), key)
    return session


def _goes_over(stage: Stage, session: Session, old: Key, new: Key) -> Seen:
    """Calls with hardly a pause, none of which may fail, until the new key is used; the old one must not be used too long."""
    end = time.monotonic() + stage.lease + 1
    calls = 0
    while True:
        began = time.monotonic()
        calls += 1
        if stage.works_with(session.call(stage.patience), old, new) is new:
            break
        if began > end:
            raise Wrong(f"still signs with the old keys {began - end + 1:.0f} s after their end")
        time.sleep(PAUSE)
    stage.works_with(session.call(stage.patience), new)
    return Seen(f"{calls} calls until the new keys")


def _recovers(stage: Stage, session: Session, *keys: Key) -> None:
    end = time.monotonic() + PATIENCE + stage.lease
    while True:
        said = session.call(stage.patience)
        if said.listed:
            stage.works_with(said, *keys)
            return
        stage.signers()
        if time.monotonic() > end:
            raise Wrong(f"still fails {PATIENCE + stage.lease:g} s after the broker serves again: {said.text}")
        time.sleep(PAUSE)


def _refused(stage: Stage, session: Session) -> Seen:
    try:
        said: Said = session.call(REFUSAL)
    except Hung as hung:
        raise Wrong(str(hung)) from None
    if said.listed:
        raise Wrong(f"was served: {said.text}")
    return Seen(stage.beware_of_keys(), said.text)
