"""The streams of a bus that is one process's memory: sequence, last values, history, idempotency keys."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bus.contract import Packet, Position, Since
from ticks.idempotency import Idempotency, IdempotencyConflict

__all__ = ["Streams"]


@dataclass
class _Stream:
    seq: int = 0
    message: Any = None
    # When it was published, the seq of its first message, and its messages.
    history: deque[tuple[float, int, Sequence[Any]]] = field(default_factory=deque)


class Streams:
    """What the scripts in gateway/lua keep in Redis, for any thread of one process. Seconds are those of ``clock``."""

    def __init__(self, history_ticks: int, history_seconds: float, clock: Callable[[], float]) -> None:
        self._history_ticks = history_ticks if history_seconds > 0 else 0
        self._history_seconds = history_seconds
        self._clock = clock
        self._lock = threading.RLock()
        self.clear()

    def clear(self) -> None:
        """Begins a new epoch."""
        with self._lock:
            self.epoch = secrets.token_hex(6)
            self._streams: dict[str, _Stream] = {}
            self._keys: dict[str, tuple[str, float]] = {}

    def publish(
        self,
        batch: Mapping[str, Sequence[Any]],
        idempotency: Idempotency | None,
        then: Callable[[list[Packet]], None],
    ) -> bool:
        """Takes in the messages of each group, and hands ``then`` the packets before another batch can come.

        False if they came before, :class:`~ticks.idempotency.IdempotencyConflict` if others came under that key.
        """
        with self._lock:
            now = self._clock()
            if idempotency is not None and not self._is_first(idempotency, now):
                return False
            then([self._append(group, messages, now) for group, messages in batch.items()])
        return True

    def groups(self) -> list[str]:
        with self._lock:
            return list(self._streams)

    def position(self, group: str) -> Position:
        with self._lock:
            stream = self._streams.get(group)
            return Position(self.epoch, 0, None) if stream is None else Position(self.epoch, stream.seq, stream.message)

    def missed(self, group: str, since: Since) -> list[Packet] | None:
        """The packets after ``since``, or None if they are not all there."""
        with self._lock:
            newest = self.position(group).seq
            if since.epoch != self.epoch or since.seq > newest:
                return None
            if since.seq == newest:
                return []
            oldest = self._clock() - self._history_seconds
            entries = [
                (time, max(seq, since.seq + 1), messages[max(0, since.seq + 1 - seq) :])
                for time, seq, messages in self._streams[group].history
                if seq + len(messages) > since.seq + 1
            ]
            if not entries or entries[0][1] != since.seq + 1 or entries[0][0] < oldest:
                return None
            return [Packet(group, self.epoch, seq, messages) for _, seq, messages in entries]

    def _is_first(self, idempotency: Idempotency, now: float) -> bool:
        for key, (_, expiry) in list(self._keys.items()):
            if expiry > now:
                break  # all keys live equally long, so the oldest come first
            del self._keys[key]
        known = self._keys.get(idempotency.key)
        if known is None:
            self._keys[idempotency.key] = (idempotency.digest, now + idempotency.seconds)
            return True
        if known[0] != idempotency.digest:
            raise IdempotencyConflict
        return False

    def _append(self, group: str, messages: Sequence[Any], now: float) -> Packet:
        stream = self._streams.get(group)
        if stream is None:
            stream = self._streams[group] = _Stream()
        first = stream.seq + 1
        stream.seq += len(messages)
        stream.message = messages[-1]
        if self._history_ticks:
            stream.history.append((now, first, messages))
            while stream.seq - stream.history[0][1] - len(stream.history[0][2]) + 1 >= self._history_ticks:
                stream.history.popleft()
        return Packet(group, self.epoch, first, messages)
