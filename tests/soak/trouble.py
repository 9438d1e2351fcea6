"""What goes wrong while the soak runs: a Redis that stands still for two seconds, and garbage on the bus, in turn."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from types import TracebackType
from typing import Final, Self

from redis import Redis
from redis.exceptions import RedisError

from tests.servers import RedisServer

__all__ = ["Trouble"]

FREEZE_SECONDS: Final = 2.0
LISTEN_SECONDS: Final = 0.5

GARBAGE: Final = (
    b"",
    b"\x00\xff\xfe\xc1",
    b"garbage" * 2_000,
    json.dumps({"type": "no.such.type"}).encode(),
    json.dumps({"type": "tick", "symbol": 7, "price": []}).encode(),
    b"\x81\xa4type\xacno.such.type",  # msgpack: the format in which Channels' own messages travel
    b"\x93\x01\x02\x03",
)


class Trouble:
    """Makes trouble every ``interval`` seconds while its context lasts."""

    def __init__(self, redis: RedisServer, interval: float) -> None:
        self._redis = redis
        self._interval = interval
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trouble", daemon=True)
        self.freezes = 0
        self.garbage = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        for make in itertools.cycle((self._freeze, self._litter)):
            if self._stopped.wait(self._interval):
                return
            make()

    def _freeze(self) -> None:
        self._redis.pause()
        try:
            self._stopped.wait(FREEZE_SECONDS)
        finally:
            self._redis.resume()
        self.freezes += 1

    def _litter(self) -> None:
        """On every channel that ticks travel on."""
        with contextlib.suppress(RedisError), Redis(port=self._redis.port, socket_timeout=5.0) as client:
            for channel, message in itertools.product(_channels(client), GARBAGE):
                client.publish(channel, message)
                self.garbage += 1


def _channels(client: Redis) -> set[bytes]:
    """What something was published on within a moment, whoever listens and however."""
    seen = set()
    end = time.monotonic() + LISTEN_SECONDS
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call] # it has no types
        pubsub.psubscribe("*")
        while time.monotonic() < end:
            if message := pubsub.get_message(timeout=0.1):
                seen.add(message["channel"])
    return seen
