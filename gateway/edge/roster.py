"""Who is connected, asked of all workers of all gateways on the bus; and an end of connections that are named.

A question goes to the group of all workers with the name of a channel for the answers. Each worker looks through its
connections in slices, so that ticks come in between, and answers with counts of all and some rows. Who asks waits a
second and has the answers that came by then, or, if it names connections, until it has these: a form of the admin that
names some holds SQLite's lock meanwhile.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from channels.layers import get_channel_layer

from bus.contract import BusUnavailable
from bus.layers import get_bus
from gateway.edge.process import get_node
from gateway.protocol.codes import SERVICE_RESTART
from ticks.access import changes
from ticks.address import client_address

if TYPE_CHECKING:
    from gateway.edge.watch import Connection, Watch

__all__ = ["MOST_ROWS", "Roster", "ask", "audience", "heed", "kick"]

MOST_ROWS: Final = 500
"""Connections that are shown; what is more is counted."""

ANSWER_SECONDS: Final = 1.0
_ASK: Final = "roster.ask"
_AUDIENCE: Final = "roster.audience"
_KICK: Final = "roster.kick"
_OTHERS_SECONDS: Final = 0.05
"""For workers that nobody knows of, when all others have answered."""
_SLICE: Final = 250
_NAMED: Final = 5


class Roster(NamedTuple):
    """What the workers said."""

    rows: list[dict[str, Any]]
    matching: int
    connections: int
    publishers: int
    behind: int
    workers: int
    is_whole: bool
    """Whether the bus could be asked at all; without it this worker alone has answered."""
    next: str
    """Where to go on with those that are meant; empty if these are the last of them."""


# Asking


async def ask(
    watch: Watch | None, wanted: str = "", ids: Collection[str] = (), *, after: str = "", most: int = MOST_ROWS
) -> Roster:
    """Who is connected: those in whose owner, name or address ``wanted`` is, those that have the symbol ``wanted``, or
    those with ``ids``. The ``most`` oldest of them, behind the place ``after``: a roster's ``next``.

    ``watch``: this worker, for when the bus is away; without one that is an error.
    """
    question = {"type": _ASK, "wanted": wanted, "ids": list(ids), "after": _place(after), "most": most}
    try:
        answers = await _answers(question)
    except (BusUnavailable, TimeoutError):
        if watch is None:
            raise
        return _roster([await _answer(watch, question)], most, is_whole=False)
    return _roster(answers, most, is_whole=True)


async def audience(symbols: Sequence[str]) -> dict[str, int]:
    """How many clients of all workers have subscribed to each symbol by name; of none if no worker can be asked."""
    question = {"type": _AUDIENCE, "symbols": list(symbols), "ids": []}
    try:
        answers = await _answers(question, of_known=True)
    except (BusUnavailable, TimeoutError):
        return {}
    found: Counter[str] = Counter()
    for answer in answers:
        found.update(answer["audience"])
    return {symbol: found[symbol] for symbol in symbols} if answers else {}


async def kick(watch: Watch, ids: Collection[str]) -> bool:
    """Closes the connections with these ids; they may come back. False: only this worker's, as the bus is away."""
    message = {"type": _KICK, "ids": list(ids)}
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await _tell(message)
    except (BusUnavailable, TimeoutError):
        await heed(watch, message)
        return False
    return True


async def _tell(message: dict[str, Any]) -> None:
    """Sends it to all workers, or raises :class:`BusUnavailable`; layers raise whatever their drivers do."""
    try:
        await get_channel_layer().group_send(changes.GROUP, message)
    except Exception as error:
        raise BusUnavailable(f"The other workers could not be told. {error}") from error


async def _answers(question: dict[str, Any], *, of_known: bool = False) -> list[dict[str, Any]]:
    """``of_known``: nobody is waited for if no worker is known of."""
    layer = get_channel_layer()
    answers: list[dict[str, Any]] = []
    async with asyncio.timeout(2 * ANSWER_SECONDS):
        workers = set(await get_bus().announced())
        if of_known and not workers:
            return answers
        channel = await layer.new_channel()
        receiving = asyncio.create_task(_receive(channel, answers, len(question["ids"]), workers))
        try:
            await asyncio.sleep(0)
            await _tell({**question, "reply": channel})
            await asyncio.wait([receiving], timeout=ANSWER_SECONDS)
        finally:
            receiving.cancel()
            await asyncio.wait([receiving])
    return answers


async def _receive(channel: str, answers: list[dict[str, Any]], asked: int, workers: set[str]) -> None:
    """Until as many connections as were asked for by their ids were found, or all ``workers`` that are known of have
    answered, and nobody else does.
    """
    layer = get_channel_layer()
    while not asked or sum(len(answer["rows"]) for answer in answers) < asked:
        is_complete = bool(workers) and workers <= {answer.get("worker") for answer in answers}
        try:
            async with asyncio.timeout(_OTHERS_SECONDS if is_complete else None):
                answers.append(await layer.receive(channel))
        except TimeoutError:
            return


def _place(after: str) -> list[Any]:
    """A place in the order of connections: when one was let in, and its id."""
    since, _, name = after.partition(",")
    try:
        return [float(since), name]
    except ValueError:
        return [-math.inf, ""]


def _roster(answers: Iterable[dict[str, Any]], most: int, *, is_whole: bool) -> Roster:
    answers = list(answers)
    counts: Counter[str] = Counter()
    for answer in answers:
        counts.update(answer["counts"])
    rows = sorted((row for answer in answers for row in answer["rows"]), key=lambda row: (row["since"], row["id"]))
    last = rows[most - 1] if len(rows) > most or any(answer.get("is_cut") for answer in answers) else None
    return Roster(
        rows[:most],
        matching=counts["matching"],
        connections=counts["connections"],
        publishers=counts["publishers"],
        behind=counts["behind"],
        workers=len(answers),
        is_whole=is_whole,
        next="" if last is None else f"{last['since']!r},{last['id']}",
    )


# Answering


async def heed(watch: Watch, message: dict[str, Any]) -> bool:
    """Does what a message from the group of all workers asks; false if it is none of ours."""
    match message.get("type"):
        case "roster.ask":
            answer = await _answer(watch, message)
            await get_channel_layer().send(message["reply"], {"type": "roster.answer", **answer})
        case "roster.audience":
            streams = get_node().hub.subscriptions.streams
            held = {symbol: streams[symbol].held_by for symbol in message["symbols"] if symbol in streams}
            answer = {"worker": watch.name, "audience": held, "rows": []}
            await get_channel_layer().send(message["reply"], {"type": "roster.answer", **answer})
        case "roster.kick":
            for connection in _named(watch, set(message["ids"])):
                connection.close_with(SERVICE_RESTART)
        case _:
            return False
    return True


async def _answer(watch: Watch, question: dict[str, Any]) -> dict[str, Any]:
    wanted, ids = str(question["wanted"]).lower(), set(question["ids"])
    # The defaults are for who asks in the middle of a rolling restart to another version.
    after, most = tuple(question.get("after", (-math.inf, ""))), question.get("most", MOST_ROWS)
    counts: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    is_cut = False
    for number, connection in enumerate(list(watch.connections)):
        if number % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
        standing = watch.connections.get(connection)
        if standing is None:
            continue  # it has left meanwhile
        counts["connections"] += 1
        counts["publishers"] += connection.is_publisher
        counts["behind"] += connection.outbox.behind
        row = {"id": f"{watch.name}:{standing.number}", "since": standing.since, **_identity(connection)}
        if (row["id"] in ids) if ids else _matches(row, wanted) or _has(connection, question["wanted"]):
            counts["matching"] += 1
            if (row["since"], row["id"]) > after:
                if len(rows) < most:
                    rows.append(row | _state(connection))
                else:
                    is_cut = True
    return {"worker": watch.name, "counts": dict(counts), "rows": rows, "is_cut": is_cut}


def _identity(connection: Connection) -> dict[str, Any]:
    return {
        "owner": connection.grant.owner,
        "who": connection.grant.who,
        "address": client_address(connection.scope),
    }


def _matches(row: dict[str, Any], wanted: str) -> bool:
    return not wanted or any(wanted in row[name].lower() for name in ("owner", "who", "address"))


def _has(connection: Connection, symbol: str) -> bool:
    symbols = connection.symbols()
    return symbol in symbols or symbol.upper() in symbols


def _state(connection: Connection) -> dict[str, Any]:
    symbols, rates, queue = connection.symbols(), set(connection.rates()), connection.outbox.queue
    return {
        "publishes": connection.is_publisher,
        "symbols": len(symbols),
        "named": sorted(symbols)[:_NAMED] if len(symbols) <= _SLICE else [],
        "max_rate": rates.pop() if len(rates) == 1 else None,
        "behind": connection.outbox.behind,
        "skipped": connection.outbox.waiting.skipped,
        "bytes": None if queue is None else queue.acknowledged + queue.waiting,
        "ticks": connection.ticks if connection.is_publisher else None,
        "worker": f"{socket.gethostname()}/{os.getpid()}",
    }


def _named(watch: Watch, ids: Collection[str]) -> Iterator[Connection]:
    for connection, standing in list(watch.connections.items()):
        if f"{watch.name}:{standing.number}" in ids:
            yield connection
