"""Questions that go through the supervisor: a worker asks, all workers answer, and the last words of some stay.

Prometheus, or a person with a browser, reaches one worker of several. So that worker asks the supervisor over a socket
pair of theirs, the supervisor asks every worker that listens, and answers with what came within the time that the
question allows. It understands neither questions nor answers: they are a topic and bytes.

Of one topic the supervisor keeps what a process said last: ``FIGURES``. A process that ends in order says it once more.
When it has ended, that is merged into the figures of those that ended before it in the same place, by a function that
the supervisor is given. So a counter goes on where a killed process stopped, as far as anybody has seen it. What a
process counted after its last answer is lost if it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, TypeAlias

import msgspec

__all__ = ["ALL", "FIGURES", "Answering", "Exchange", "Line", "Merge", "Place"]

logger = logging.getLogger(__name__)

FIGURES: Final = "figures"
ALL: Final = -1
"""For ``worker``: all that listen."""
_LENGTH: Final = struct.Struct("!I")
_GRACE_SECONDS: Final = 0.5
"""How much longer than the workers the supervisor may take."""

Answering: TypeAlias = Callable[[bytes], Awaitable[bytes]]
Merge: TypeAlias = Callable[[bytes, bytes], bytes]


class Hello(msgspec.Struct, tag=True):
    """A worker listens from now on."""


class Ask(msgspec.Struct, tag=True):
    """A worker's question to all workers, or to one."""

    id: int
    topic: str
    text: bytes
    worker: int
    seconds: float


class Question(msgspec.Struct, tag=True):
    id: int
    topic: str
    text: bytes


class Answer(msgspec.Struct, tag=True):
    id: int
    text: bytes


class LastWords(msgspec.Struct, tag=True):
    text: bytes


class Place(msgspec.Struct):
    """What the processes in a worker's place have answered."""

    number: int
    answers: list[bytes]
    """Of those that answered in time, oldest first: two while one replaces the other, none while one hangs."""

    past: list[bytes]
    """The merged figures of those that have ended, and the last ones of those that did not answer."""


class Answers(msgspec.Struct, tag=True):
    id: int
    places: list[Place]


_messages: Final[msgspec.msgpack.Decoder[Hello | Ask | Question | Answer | LastWords | Answers]] = (
    msgspec.msgpack.Decoder(Hello | Ask | Question | Answer | LastWords | Answers)
)


class _Peer:
    """One end of the socket pair: messages come whole and in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def over(cls, own: socket.socket) -> _Peer:
        return cls(*await asyncio.open_unix_connection(sock=own))

    def send(self, message: msgspec.Struct) -> None:
        data = msgspec.msgpack.encode(message)
        self.writer.write(_LENGTH.pack(len(data)) + data)

    async def receive(self) -> Hello | Ask | Question | Answer | LastWords | Answers:
        """``IncompleteReadError`` or ``ConnectionError`` when the other process has ended."""
        [size] = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
        return _messages.decode(await self._reader.readexactly(size))


class Line:
    """The worker's end. ``answering``: what makes the answers, by topic; they are called on the running loop."""

    def __init__(self, own: socket.socket, number: int, answering: Mapping[str, Answering]) -> None:
        self.number = number
        self._own = own
        self._answering = answering
        self._peer: _Peer | None = None
        self._ids = itertools.count()
        self._asked: dict[int, asyncio.Future[list[Place]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Listens from now on."""
        self._keep(asyncio.get_running_loop().create_task(self._listen()))

    async def ask(self, topic: str, text: bytes = b"", *, seconds: float, worker: int = ALL) -> list[Place]:
        """What the workers answer within so many ``seconds``; ``TimeoutError`` if the supervisor says nothing."""
        if self._peer is None:
            raise TimeoutError
        number = next(self._ids)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._peer.send(Ask(number, topic, text, worker, seconds))
            return await asyncio.wait_for(answer, seconds + _GRACE_SECONDS)
        finally:
            del self._asked[number]

    def close(self) -> None:
        """Without another word, as the end of the process does."""
        if self._peer is None:
            self._own.close()
        else:
            self._peer.writer.close()

    async def part(self) -> None:
        """Says the last words, once nothing is counted any more; a supervisor that does not read is not waited for."""
        if self._peer is None:
            return
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(_GRACE_SECONDS):
                self._peer.send(LastWords(await self._answering[FIGURES](b"")))
                await self._peer.writer.drain()

    async def _listen(self) -> None:
        self._peer = peer = await _Peer.over(self._own)
        peer.send(Hello())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # the lifeline tells of the end
            while True:
                message = await peer.receive()
                if isinstance(message, Question):
                    self._keep(asyncio.get_running_loop().create_task(self._answer(peer, message)))
                elif isinstance(message, Answers):
                    asked = self._asked.get(message.id)
                    if asked is not None and not asked.done():
                        asked.set_result(message.places)

    async def _answer(self, peer: _Peer, question: Question) -> None:
        try:
            peer.send(Answer(question.id, await self._answering[question.topic](question.text)))
        except Exception:
            logger.exception("A question of another worker could not be answered")

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Process:
    """A worker's process as the supervisor sees it."""

    def __init__(self, number: int, peer: _Peer) -> None:
        self.number = number
        self.peer = peer
        self.listens = False
        self.last = b""
        """Its last figures."""
        self.asked: dict[int, tuple[str, asyncio.Future[bytes]]] = {}

    def answered(self, answer: Answer) -> None:
        topic, waiting = self.asked.pop(answer.id)
        if topic == FIGURES:
            self.last = answer.text  # late or not: they have been counted
        if not waiting.done():
            waiting.set_result(answer.text)


class Exchange:
    """The supervisor's end of all lines. ``merge``: figures of two processes in one, the older ones first."""

    def __init__(self, count: int, merge: Merge) -> None:
        self._merge = merge
        self._past = [b""] * count
        self._processes: dict[_Process, None] = {}
        self._ids = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, number: int, own: socket.socket) -> None:
        """Listens to a process in the place of a worker until it has ended."""
        process = _Process(number, await _Peer.over(own))
        self._processes[process] = None
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    self._heed(process, await process.peer.receive())
        finally:
            del self._processes[process]
            for _, waiting in process.asked.values():
                waiting.cancel()
            process.peer.writer.close()
            if process.last:
                self._past[number] = self._merged(self._past[number], process.last)

    def _heed(self, process: _Process, message: msgspec.Struct) -> None:
        match message:
            case Hello():
                process.listens = True
            case Answer():
                process.answered(message)
            case LastWords():
                process.last = message.text
                process.listens = False
            case Ask():
                task = asyncio.get_running_loop().create_task(self._ask(process, message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _ask(self, asker: _Process, ask: Ask) -> None:
        asked = {
            process: self._question(process, ask)
            for process in self._processes
            if process.listens and ask.worker in {ALL, process.number}
        }
        if asked:
            await asyncio.wait(asked.values(), timeout=ask.seconds)
        places = [self._place(number, asked) for number in range(len(self._past))]
        asker.peer.send(Answers(ask.id, places))

    def _question(self, process: _Process, ask: Ask) -> asyncio.Future[bytes]:
        number = next(self._ids)
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        process.asked[number] = ask.topic, waiting
        process.peer.send(Question(number, ask.topic, ask.text))
        return waiting

    def _place(self, number: int, asked: Mapping[_Process, asyncio.Future[bytes]]) -> Place:
        answered = {
            process: waiting.result()
            for process, waiting in asked.items()
            if process.number == number and process in self._processes and waiting.done()
        }
        # Counters of one that hangs, or has ended while it was asked, must not be missing: the sum would fall.
        silent: Collection[bytes] = [
            process.last
            for process in self._processes
            if process.number == number and process not in answered and process.last
        ]
        return Place(
            number,
            list(answered.values()),
            [past for past in (self._past[number], *silent) if past],
        )

    def _merged(self, past: bytes, last: bytes) -> bytes:
        try:
            return self._merge(past, last) if past else last
        except Exception:
            logger.exception("The last figures of a worker could not be kept")
            return past
