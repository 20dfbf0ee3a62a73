"""The storm: a client calls without a pause while its broker is restarted, reloaded and cut off from its upstream.

The broker is behind sockets that outlive it, as under systemd, and always has a good lease, which is checked. So no
call may fail, regardless of the events between two calls. SEED repeats the order of events.
"""

import os
import random
import threading
import time

from client import Client
from columns import PATIENCE, Seen
from programs import until
from seaweedfs import Key
from session import Hung
from stage import Stage, Wrong, lent

STORM = "storm"
# The container endpoint, which four of the ways share, and the other protocol.
WAYS = ("full-uri", "imds")
ROUNDS = 2
# In every order, so that a broker meets every event more than once and after every other.
GAP = (0.2, 1.2)
PAUSE = 0.05
BROKEN = "[identities.default\n"


def has_storm(client: Client, way: str) -> bool:
    return client.six and way in WAYS


class Caller(threading.Thread):
    """The client, call after call. `used` are the keys that it signed with; the first failure ends it."""

    def __init__(self, stage: Stage, keys: tuple[Key, ...]):
        super().__init__(daemon=True)
        self.stage, self.keys = stage, keys
        self.used: list[Key] = []
        self.failure: Exception | None = None
        self._over = threading.Event()

    def run(self) -> None:
        session = self.stage.session()
        while not self._over.wait(PAUSE):
            try:
                self.used.append(self.stage.works_with(session.call(self.stage.patience), *self.keys))
            except (Wrong, Hung) as failure:
                self.failure = failure
                return

    def end(self) -> None:
        self._over.set()
        self.join(self.stage.patience + PATIENCE)


class Storm:
    """The events. Each ends when its effect has been observed."""

    def __init__(self, stage: Stage, chance: random.Random):
        self.stage, self.chance = stage, chance
        self.config = stage.config.read_text()
        self.counts = {"restarted": 0, "reloaded": 0, "starved": 0}

    def restarted(self) -> None:
        self.stage.broker.restart()

    def reloaded(self) -> None:
        """Alternates between another valid configuration, which applies, and an unreadable one, which does not."""
        odd = self.counts["reloaded"] % 2
        said = "the earlier one stays in use" if odd else "configuration loaded"
        before = self._log().count(said)
        self.stage.config.write_text(BROKEN if odd else f"{self.config}[identities.another]\nsources = ['environment']\n")
        self.stage.broker.reload()
        until(f"the log says: {said}", lambda: self._log().count(said) > before)
        self.stage.config.write_text(self.config)

    def starved(self) -> None:
        """Its upstream fails from before the next load until after a failed load."""
        upstream = self.stage.upstream
        before = len(upstream.requests)
        upstream.fail(503, times=None)
        until("the broker asks in vain", lambda: any(r.status == 503 for r in upstream.requests[before:]), self.stage.lease)
        time.sleep(self.chance.uniform(*GAP))
        upstream.clear()

    def _log(self) -> str:
        return self.stage.broker.log.read_text(errors="replace")


def storm(stage: Stage, *keys: Key) -> Seen:
    seed = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
    stage.over_instance_role(keys[0], stage.lease, held=True)
    until("the broker has a lease", stage.broker.served_key)
    events = Storm(stage, random.Random(seed))
    names = list(events.counts)
    order = [name for _ in range(ROUNDS) for name in events.chance.sample(names, len(names))]
    caller = Caller(stage, keys)
    caller.start()
    until("a first call", lambda: caller.used or caller.failure, stage.patience)
    newest = keys[0]
    try:
        for number, name in enumerate(order):
            newest = keys[(number + 1) % len(keys)]
            stage.upstream.rotate(lent(newest, stage.lease))
            getattr(events, name)()
            events.counts[name] += 1
            _watch(stage, caller, events.chance.uniform(*GAP), f"{name} (SEED={seed}, {order})")
        if stage.client.reason(stage.way.name, "rotation") is None:
            end = time.monotonic() + stage.lease + PATIENCE
            while caller.used[-1] is not newest:
                _watch(stage, caller, PAUSE, f"the last of {order} (SEED={seed})")
                if time.monotonic() > end:
                    raise Wrong(f"still signs with old keys {stage.lease + PATIENCE:g} s after the last rotation (SEED={seed})")
    finally:
        caller.end()
    _judge(caller, f"the end (SEED={seed})")
    told = ", ".join(f"{name} {count}×" for name, count in events.counts.items() if count)
    return Seen(f"{len(caller.used)} calls, none failed: {told}")


def _watch(stage: Stage, caller: Caller, seconds: float, after: str) -> None:
    """Runs for this long, and at least once, while the client does not fail and the lease is good."""
    end = time.monotonic() + seconds
    while True:
        _judge(caller, after)
        status, body = stage.broker.ask()
        if status != 200:
            raise Wrong(f"the broker itself had no lease after {after}: {status} {body}")
        if time.monotonic() > end:
            return
        time.sleep(PAUSE)


def _judge(caller: Caller, after: str) -> None:
    if caller.failure is not None:
        raise Wrong(f"call {len(caller.used) + 1}, after {after}: {caller.failure}")
