"""One connection to Redis over which commands are pipelined: a caller awaits its own reply only.

Replies come in the order of the commands, and commands are carried out in the order in which they were sent. A script
that was not carried out and may be sent again (Redis had lost it, or its clock had jumped) must not come behind those
that followed it: an old price would be the newest. So the link sends nothing new, waits for the replies of all that is
under way, and sends again, in their order, what was not carried out. What a later script has overtaken by then fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar, Final, cast

import hiredis
from redis.asyncio import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from bus.redis.connection import Incoming, Info, abort, is_misplaced

__all__ = ["Clock", "Link", "Script"]

_HIGH_WATER: Final = 4_194_304
"""Bytes waiting to be sent beyond which callers wait for the connection."""


_NEVER: Final = ":never"
"""What follows the prefix, a script's first argument, in a key that nobody sets. A node whose slot is on its way to
another answers ASK for a key that it does not have: so no script runs where a part of the bucket is gone."""


@dataclass(frozen=True)
class Script:
    """A Lua script, sent by its digest."""

    source: str
    is_keyed: bool = False
    """Whether a cluster is to find the node by the bucket, and to refuse it as a whole while the bucket moves."""
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)


class Clock:
    """Redis's clock against ours: what Redis's can be at least when ours shows a time. All in seconds."""

    def __init__(self) -> None:
        self._lead = math.nan

    def learn(self, sent: float, received: float, theirs: float) -> None:
        """Takes in that Redis's clock showed ``theirs`` (in whole ms) between two moments of ours.

        The highest lower bound is the best, unless an upper bound disproves it: then one of the clocks has jumped.
        """
        if not theirs - received <= self._lead <= theirs - sent + 0.001:
            self._lead = theirs - received

    def at(self, ours: float) -> float:
        return ours + self._lead


class _Command:
    """A command that waits for its reply, or to be sent."""

    __slots__ = ("_words", "reply")
    has_place: ClassVar = False
    is_one_of_several: bool = False
    """Whether others like it, for other buckets of the node, follow as a rule in the same turn of the loop."""

    def __init__(self, reply: asyncio.Future[Any], words: tuple[Any, ...]) -> None:
        self.reply = reply
        self._words = words

    def packed(self) -> bytes:
        return bytes(hiredis.pack_command(self._words))

    def is_undone(self, value: Any) -> bool:
        """Whether the reply says that Redis did not carry it out, and that it is to be sent again."""
        return False


class _Evaluation(_Command):
    """A script: sent by its digest, and with its source if it is sent again."""

    __slots__ = ("_arguments", "_is_sent", "_script", "_stands", "is_one_of_several", "until")
    has_place = True

    def __init__(
        self,
        reply: asyncio.Future[Any],
        script: Script,
        arguments: Callable[[], Sequence[Any]],
        stands: Callable[[Any], bool],
        until: float,
    ) -> None:
        super().__init__(reply, ())
        self._script = script
        self._arguments = arguments
        self._stands = stands
        self._is_sent = False
        self.is_one_of_several = script.is_keyed
        self.until = until

    def packed(self) -> bytes:
        words = ("EVAL", self._script.source) if self._is_sent else ("EVALSHA", self._script.digest)
        self._is_sent = True
        arguments = self._arguments()
        if self._script.is_keyed:
            return bytes(hiredis.pack_command((*words, 1, f"{arguments[0]}{_NEVER}", *arguments)))
        return bytes(hiredis.pack_command((*words, 0, *arguments)))

    def is_undone(self, value: Any) -> bool:
        if isinstance(value, hiredis.ReplyError):
            return str(value).startswith("NOSCRIPT")  # somebody has flushed the scripts
        return not self._stands(value)


class Link:
    """One connection. ``run_id`` is Redis's; :meth:`open` makes a link."""

    def __init__(self, connection: Connection, closed: Callable[[Link], None]) -> None:
        self.run_id = ""
        self.clock = Clock()
        self.is_overdue = False
        self.is_misplaced = False
        """Whether it led to a Redis that is not, or no more, the right one."""
        self._connection = connection
        self._writer = cast(asyncio.StreamWriter, connection._writer)
        self._parser = hiredis.Reader()
        self._sent: deque[_Command] = deque()
        self._undone: list[_Command] = []
        self._held: list[_Command] = []
        self._outgoing: list[bytes] = []
        """What goes in one packet at the end of this turn of the loop."""
        self._closed = closed
        self.reason: Exception = RedisConnectionError("Redis closed the connection.")
        """Why it ended, if it has."""
        self._is_open = True
        self._loop = asyncio.get_running_loop()
        self.task = self._loop.create_task(self._receive())

    @classmethod
    async def open(cls, connection: Connection, scripts: Sequence[Script], closed: Callable[[Link], None]) -> Link:
        """Makes a link of a connection: learns who and when Redis is, and leaves the scripts with it."""
        link = cls(connection, closed)
        try:
            sent = link._loop.time()
            info, (seconds, microseconds), *_ = await asyncio.gather(
                link.call("INFO", "server"),
                link.call("TIME"),
                link.check(),
                *(link.call("SCRIPT", "LOAD", script.source) for script in scripts),
            )
            link.run_id = Info(info).run_id
            link.clock.learn(sent, link._loop.time(), int(seconds) + int(microseconds) // 1_000 / 1_000)
        except BaseException:
            link.abort()
            raise
        return link

    @property
    def executes_until(self) -> float:
        """Until when, on the loop's clock, Redis may carry out scripts that it has not answered; 0 if none are."""
        return max((command.until for command in self._sent if isinstance(command, _Evaluation)), default=0.0)

    async def call(self, *command: Any) -> Any:
        """The reply to the command; ``ResponseError`` if Redis refused it, ``ConnectionError`` if there was none."""
        return await self._reply_to(_Command(self._loop.create_future(), command))

    async def check(self) -> None:
        """Returns if this is a primary that answers; after an error it is lost, or soon will be."""
        try:
            Info(await self.call("INFO", "replication")).check_primary()
        except ResponseError as error:
            with contextlib.suppress(ResponseError):
                await self.call("DBSIZE")  # one that has lost its primary, and may not be read either, says so
            self.refused(error)
            raise self.reason.with_traceback(None) from None

    async def evaluate(
        self,
        script: Script,
        arguments: Callable[[], Sequence[Any]],
        stands: Callable[[Any], bool] = lambda _: True,
        until: float = 0.0,
    ) -> Any:
        """What the script returns; it has no keys of its own. It is carried out in the order of calls or not at all.

        ``stands`` says of what it returned whether that is the answer; if not it is sent again, with new ``arguments``.
        The script itself does nothing after ``until``, on the loop's clock.
        """
        return await self._reply_to(_Evaluation(self._loop.create_future(), script, arguments, stands, until))

    @property
    def takes_at_once(self) -> bool:
        """Whether a command can be sent now without waiting for anything."""
        is_full = self._writer.transport.get_write_buffer_size() > _HIGH_WATER
        return self._is_open and not self.is_overdue and not is_full

    def begin(
        self, script: Script, arguments: Callable[[], Sequence[Any]], stands: Callable[[Any], bool], until: float
    ) -> asyncio.Future[Any]:
        """Like :meth:`evaluate`, for who does not await: Redis's reply, which may be an error of hiredis's.

        Only while :attr:`takes_at_once`.
        """
        command = _Evaluation(self._loop.create_future(), script, arguments, stands, until)
        self._put(command)
        return command.reply

    async def _reply_to(self, command: _Command) -> Any:
        if not self._is_open:
            raise self.reason.with_traceback(None)
        reply = command.reply
        try:
            self._put(command)
            if self._writer.transport.get_write_buffer_size() > _HIGH_WATER:
                await self._writer.drain()
            value = await reply
        finally:
            reply.cancel()  # its place in the line stays, so that no caller gets another's
        if isinstance(value, hiredis.ReplyError):
            raise ResponseError(str(value))
        return value

    def overdue(self) -> None:
        """A caller has waited too long."""
        self.is_overdue = True
        if all(command.reply.done() for command in self._commands()):
            self.abort()

    def abort(self, reason: Exception | None = None) -> None:
        """Ends the connection; commands that wait for a reply fail, with the reason if there is one."""
        if reason is not None:
            self.reason = reason
        self._is_open = False
        self._writer.transport.abort()  # close() would wait for what cannot be sent
        self.task.cancel()

    def _put(self, command: _Command) -> None:
        if self._undone or self._held:
            self._held.append(command)
        else:
            self._send(command)

    def _send(self, command: _Command) -> None:
        if command.is_one_of_several or self._outgoing:
            if not self._outgoing:
                self._loop.call_soon(self._flush)
            self._outgoing.append(command.packed())
        else:
            self._writer.write(command.packed())
        self._sent.append(command)

    def _flush(self) -> None:
        self._writer.write(b"".join(self._outgoing))
        self._outgoing.clear()

    async def _receive(self) -> None:
        try:
            # What Redis published arrives with its answer to who published it: clients are to get it first.
            await Incoming(self._connection, self._read, is_polite=True).read()
        except OSError as error:
            self.reason = RedisConnectionError(str(error))
        finally:
            self._is_open = False
            self._closed(self)
            _fail(self._commands(), self.reason)
            await abort(self._connection)

    def _read(self, data: bytes) -> None:
        self._parser.feed(data)
        self.is_overdue = False
        while (value := self._parser.gets()) is not False:
            if not isinstance(value, hiredis.PushNotification):  # what Redis says of its own accord is no reply
                self._take(self._sent.popleft(), value)
        if (self._undone or self._held) and not self._sent:
            self._send_again()

    def _take(self, command: _Command, value: Any) -> None:
        if command.is_undone(value):
            self._undone.append(command)
            return
        if self._undone and command.has_place:
            _fail(self._undone, RedisConnectionError("Another client gave Redis its scripts back, out of turn."))
            self._undone.clear()
        if not command.reply.done():  # its caller may have gone
            command.reply.set_result(value)
        if isinstance(value, hiredis.ReplyError):
            self.refused(value)

    def refused(self, error: Exception) -> None:
        """Redis's error: ends the connection if it says that this is the wrong one; all others hear the same."""
        if self._is_open and is_misplaced(error):
            self.is_misplaced = True
            self.abort(ResponseError(str(error)))

    def _send_again(self) -> None:
        waiting = [*self._undone, *self._held]
        self._undone.clear()
        self._held.clear()
        for command in waiting:
            if not command.reply.done():
                self._send(command)

    def _commands(self) -> Iterable[_Command]:
        return chain(self._sent, self._undone, self._held)


def _fail(commands: Iterable[_Command], reason: Exception) -> None:
    for command in commands:
        if not command.reply.done():
            command.reply.set_exception(reason)
            command.reply.exception()  # marks it as seen: its caller may have failed already
