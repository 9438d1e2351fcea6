"""The Python client's books and the JavaScript client's are the same: told the same histories, they say the same."""

from __future__ import annotations

import json
import random
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

from marketmux_client import Conflated, Event, Gap, Snapshot, Tick
from marketmux_client.books import Books
from tests.javascript.node import environment, node

PLAYER = Path(__file__).parent / "books.js"
SYMBOL = "AAPL"
TIME = "2026-05-12T15:04:05Z"
EPOCHS = ("5f3a9c1e", "8d21b7f0")
HISTORIES = 3_000


def history(chance: random.Random) -> list[list[Any]]:
    """What a gateway may send, and what none should: places near each other, so that they meet."""

    def seq() -> int:
        return chance.randint(0, 12)

    def epoch() -> str:
        return chance.choices(("", *EPOCHS), (1, 8, 2))[0]

    makers: dict[str, Any] = {
        "tick": lambda: [seq()],
        "snapshot": lambda: [seq(), chance.choice(EPOCHS)],
        "conflated": lambda: [chance.choice(("slow", "rate")), chance.randint(0, 4)],
        "gap": lambda: [chance.choice((None, 1, 3)), seq(), epoch()],
        "heartbeat": lambda: [seq()],
        "subscribed": lambda: [seq(), epoch(), chance.choice((None, True, False)), chance.random() < 0.8],
        "forgotten": list,
        "disconnected": list,
    }
    names = chance.choices(tuple(makers), (12, 4, 4, 3, 2, 4, 1, 1), k=chance.randint(1, 25))
    return [[name, *makers[name]()] for name in names]


class Player:
    """The Python client's books, and what they say."""

    def __init__(self) -> None:
        self.events: list[list[Any]] = []
        self.books = Books(self._heard)

    def play(self, steps: list[list[Any]]) -> dict[str, Any]:
        for name, *values in steps:
            getattr(self, name)(*values)
        counts = self.books.counts
        place = self.books.since(SYMBOL)
        return {
            "events": self.events,
            "since": None if place is None else place._asdict(),
            "isCurrent": self.books.is_current(SYMBOL),
            "counts": [counts.repeated, counts.gaps, counts.missed, counts.skipped],
        }

    def tick(self, seq: int) -> None:
        self.books.tick(Tick(SYMBOL, Decimal(1), TIME, seq))

    def snapshot(self, seq: int, epoch: str) -> None:
        self.books.snapshot(Snapshot(SYMBOL, Decimal(1), TIME, seq, epoch))

    def conflated(self, reason: str, count: int) -> None:
        self.books.conflated(reason, {SYMBOL: count})

    def gap(self, missed: int | None, seq: int, epoch: str) -> None:
        self.books.gap(SYMBOL, missed, seq, epoch)

    def heartbeat(self, seq: int) -> None:
        self.books.heartbeat({SYMBOL: seq})

    def subscribed(self, seq: int, epoch: str, recovered: bool | None, snapshot: bool) -> None:
        place = self.books.since(SYMBOL)
        position = {"seq": seq, "epoch": epoch} | ({} if recovered is None else {"recovered": recovered})
        self.books.subscribed({SYMBOL: position}, {} if place is None else {SYMBOL: place}, snapshot=snapshot)

    def forgotten(self) -> None:
        place = self.books.since(SYMBOL)
        self.books.subscribed({}, {} if place is None else {SYMBOL: place}, snapshot=True)

    def disconnected(self) -> None:
        self.books.disconnected()

    def _heard(self, event: Event) -> None:
        match event:
            case Gap():
                self.events.append(["gap", event.missed, event.reason, event.seq, event.epoch])
            case Conflated():
                self.events.append(["conflated", event.skipped, event.reason])
            case Tick() | Snapshot():
                self.events.append([type(event).__name__.lower(), event.seq])


def test_both_clients_say_the_same() -> None:
    chance = random.Random(20260512)  # noqa: S311 - the same each time
    histories = [history(chance) for _ in range(HISTORIES)]
    command = [node(), str(PLAYER)]
    played = subprocess.run(
        command, input=json.dumps(histories), capture_output=True, text=True, env=environment(), timeout=120, check=True
    )
    for steps, said in zip(histories, json.loads(played.stdout), strict=True):
        assert said == Player().play(steps), steps
