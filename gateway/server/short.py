"""Short requests: those of one kind that the server reads itself, past Twisted's parsing, Daphne's request and ASGI.

Only a request with which nothing is out of the ordinary is short: the one first line that is expected, headers in plain
ASCII of which none comes twice, a length in digits, nothing about codings, upgrades or cookies. Whatever else comes is
handed to Twisted's way as it came, byte for byte, and so is a short request that the application does not take. So
what is refused is refused there, and what is read here has one meaning for every reader.

Several requests of a connection may be under way. They begin in the order in which they came, and are answered in it.
One that goes Twisted's way waits for those before it, and those behind it wait for its answer.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from twisted.web.http import RESPONSES
from twisted.web.http_headers import Headers

from gateway.server.timeouts import Stage

__all__ = ["Answer", "Head", "ShortApplication", "ShortRequests", "ShortWay", "read_head"]

_MOST_HEAD_BYTES: Final = 4_096
_MOST_HEADERS: Final = 50
_MOST: Final = 32
"""Requests of one connection that are under way."""
_MOST_BYTES: Final = 131_072
"""Of these together, unless there is only one."""
_MOST_UNREAD: Final = 16_384
"""What waits of a connection before it is not read any more, as with Twisted."""
_MOST_REMEMBERED: Final = 64
_MOST_DIGITS: Final = 9
"""Of Content-Length."""
_ZERO: Final = ord("0")

_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_NAME: Final = re.compile(rb"[!#$%&'*+.^`|~0-9A-Za-z-]+")
"""A token without ``_``: Daphne drops headers that have one."""
_ELSEWHERE: Final = frozenset(
    {b"transfer-encoding", b"expect", b"upgrade", b"cookie", b"te", b"trailer", b"daphne-root-path"}
)
"""Headers that change what a request means or how it is read."""


class Head(NamedTuple):
    """The head of a short request: its headers, with names in lower case, and how long its body is.

    ``before`` and ``behind`` are its bytes around the digits of Content-Length: a head that differs in these alone says
    the same.
    """

    headers: list[tuple[bytes, bytes]]
    length: int
    before: bytes
    behind: bytes


class Answer(NamedTuple):
    """What a short request is answered with. ``is_known``: whether it showed a good credential (visitors.py)."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    is_known: bool


Done = Callable[[Answer | Exception], None]
Begin = Callable[[bytes, Done], bool]
"""Begins a request, by its body; False if it is left to the ASGI application, and nothing was done.

It is told the answer, or the exception that there is instead, in a later turn of the loop. What is raised here is such
an exception too.
"""


class ShortApplication(Protocol):
    """What takes short requests: POSTs to its path."""

    path: str

    def reader(self, scope: dict[str, Any]) -> Begin:
        """What begins the requests of a connection that have the head in ``scope``, apart from Content-Length."""

    def note_failure(self, scope: dict[str, Any], failure: Exception) -> None:
        """Tells the ASGI application, which answers the request, what it ended with."""


class ShortWay:
    """The way to ``application``, for requests whose body has at most ``most_bytes``."""

    def __init__(self, application: ShortApplication, most_bytes: int) -> None:
        self.application = application
        self.line = b"POST %b HTTP/1.1\r\n" % application.path.encode()
        self.most_bytes = most_bytes
        self._heads: dict[bytes, Head | None] = {}

    def head(self, text: bytes) -> Head | None:
        """As :func:`read_head`. A publisher's heads are often the same, and then read once."""
        if text not in self._heads:
            if len(self._heads) >= _MOST_REMEMBERED:
                self._heads.clear()
            head = read_head(text)
            self._heads[text] = head if head is not None and head.length <= self.most_bytes else None
        return self._heads[text]


def read_head(text: bytes) -> Head | None:
    """The head in ``text``, which is what comes behind the first line, with the empty line; None if it is not plain."""
    lines = text[:-4].split(b"\r\n")
    if len(lines) > _MOST_HEADERS or text.translate(None, _PRINTABLE) != b"\r\n" * (len(lines) + 1):
        return None
    headers, at, before = {}, 0, 0
    for line in lines:
        name, _, value = line.partition(b":")
        if _NAME.fullmatch(name) is None or b":" not in line:
            return None
        name = name.lower()
        headers[name] = value.strip(b" ")
        if name == b"content-length":
            before = at + len(line) - len(value.lstrip(b" "))
        at += len(line) + 2
    length = headers.get(b"content-length", b"")
    if (
        len(headers) != len(lines)
        or b"host" not in headers
        or not _ELSEWHERE.isdisjoint(headers)
        or headers.get(b"connection", b"keep-alive").lower() != b"keep-alive"
        or not length.isdigit()
        or length.startswith(b"0")
        or len(length) > _MOST_DIGITS
    ):
        return None
    return Head(list(headers.items()), int(length), text[:before], text[before + len(length) :])


class Unfinished(Exception):
    """So far it is a short request; at least ``size`` bytes are needed to tell, or to have all of it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


class _Request:
    """A short request under way; ``outcome`` is None until it has one, and False if it is left to the application."""

    __slots__ = ("_requests", "began", "body", "head", "outcome", "size", "text")

    def __init__(self, requests: ShortRequests, head: Head, text: bytes, body: bytes) -> None:
        self._requests = requests
        self.head = head
        self.text = text
        """Of the head, with its first line."""
        self.body = body
        self.size = len(text) + len(body)
        self.outcome: Answer | Exception | bool | None = None
        self.began = time.monotonic()

    def done(self, outcome: Answer | Exception) -> None:
        self.outcome = outcome
        self._requests.settled(self)


class ShortRequests:
    """The short requests of one connection, which are begun by ``way``.

    ``scope``: what the scopes of all have in common.
    """

    def __init__(self, connection: Any, way: ShortWay, scope: dict[str, Any]) -> None:
        self._connection = connection
        self._way = way
        self._scope = scope
        self._head: Head | None = None
        """The last one; what it says is the same for all requests that have it."""
        self._reader: Begin
        self._unread: list[bytes] = []
        self._size = 0
        """Bytes that have come and belong to no request under way."""
        self._needed = 0
        """Of these it takes so many to go on."""
        self._under_way: list[_Request] = []
        self._bytes = 0
        """Of those under way."""
        self._is_away = False
        """Whether a request goes Twisted's way, and those behind it wait."""
        self._is_in_line = False
        """Whether the next request waits for its turn."""
        self._is_paused = False
        self._is_over = False

    @property
    def is_open(self) -> bool:
        """Whether what comes now is behind something that was read here and is not done."""
        return bool(self._size or self._under_way or self._is_away)

    @property
    def waits_since(self) -> float:
        """Since when the first request waits for its answer, on the monotonic clock."""
        return self._under_way[0].began if self._under_way else math.inf

    def forgive(self, seconds: float) -> None:
        for request in self._under_way:
            request.began += seconds

    def end(self) -> None:
        """The connection is lost, or is to be closed: no request is begun or answered any more."""
        self._is_over = True
        self._unread.clear()
        self._size = 0

    def read(self, data: bytes, is_its_turn: bool) -> None:
        """Takes what has come in. ``is_its_turn``: now; otherwise a request waits for a turn of its own."""
        if self._is_over:
            return
        self._unread.append(data)
        self._size += len(data)
        if self._size >= self._needed:
            self._go_on(is_its_turn, has_come=True)

    def settled(self, request: _Request) -> None:
        """It has an outcome."""
        if not self._is_over and request is self._under_way[0]:
            self._go_on()

    def came_back(self) -> None:
        """The request that went Twisted's way is answered."""
        if self._is_away:
            self._is_away = False
            self._go_on()

    def _in_turn(self) -> None:
        self._is_in_line = False
        if not self._is_over:
            self._go_on(is_its_turn=True, has_come=True)

    def _go_on(self, is_its_turn: bool = False, has_come: bool = False) -> None:
        """Answers what can be answered, begins what can be begun of what has come in."""
        self._settle()
        if self._size and not self._is_over:
            if not self._begin_all(is_its_turn, has_come):
                return
            self._settle()  # what was left at once
        if not self._is_away and not self._is_over:
            self._connection.at_stage(self._stage)

    def _begin_all(self, is_its_turn: bool, has_come: bool) -> bool:
        """False if what has come in is Twisted's from here on."""
        unread = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
        at = 0
        if len(unread) >= self._needed:
            self._needed = 0
            while at < len(unread) and not self._is_held():
                if not is_its_turn and not self._connection.turns.at_once():
                    self._is_in_line = True
                    self._connection.turns.add(self._in_turn)
                    break
                is_its_turn = False
                try:
                    request = self._next(unread, at)
                except Unfinished as unfinished:
                    self._needed = unfinished.size
                    if self._needed or at or self._under_way or not has_come:
                        break  # a head that the end of a read has cut is whole in the next one, or it is not short
                    request = None
                if request is not None:
                    at += request.size
                    self._begin(request)
                    continue
                if self._under_way:
                    break
                self._keep(b"")
                self._connection.hand_over(unread[at:])
                return False
        self._keep(unread[at:])
        return True

    def _keep(self, unread: bytes) -> None:
        self._unread = [unread] if unread else []
        self._size = len(unread)
        if self._size > _MOST_UNREAD and not self._needed:
            self._is_paused = True
            self._connection.transport.pauseProducing()
        elif self._is_paused:
            self._is_paused = False
            self._connection.read_on()

    def _is_held(self) -> bool:
        """Whether what has come in has to wait."""
        under_way = self._under_way
        return bool(
            self._is_away
            or self._is_in_line
            or (under_way and (under_way[-1].outcome is False or len(under_way) >= _MOST or self._bytes > _MOST_BYTES))
        )

    def _next(self, unread: bytes, at: int) -> _Request | None:
        """The short request that begins there; None if none does. :class:`Unfinished`."""
        line = self._way.line
        if self._connection.is_draining:
            return None
        if not unread.startswith(line, at):
            if line.startswith(unread[at : at + len(line)]):
                raise Unfinished(0)
            return None
        start = at + len(line)
        end, length, head = self._again(unread, start)
        if head is None:
            end = unread.find(b"\r\n\r\n", start, at + _MOST_HEAD_BYTES) + 4
            if end < 4:
                if len(unread) - at < _MOST_HEAD_BYTES:
                    raise Unfinished(0)
                return None
            head = self._way.head(unread[start:end])
            if head is None:
                return None
            length = head.length
        if len(unread) < end + length:
            raise Unfinished(end + length - at)
        return _Request(self, head, unread[at:end], unread[end : end + length])

    def _again(self, unread: bytes, start: int) -> tuple[int, int, Head | None]:
        """Where the head ends, and its length, if it is the last one again, in which only the length may differ."""
        head = self._head
        if head is not None and unread.startswith(head.before, start):
            first = start + len(head.before)
            digits = unread[first : unread.find(b"\r", first, first + _MOST_DIGITS + 1)]
            end = first + len(digits)
            if digits.isdigit() and digits[0] != _ZERO and unread.startswith(head.behind, end):
                length = int(digits)
                if length <= self._way.most_bytes:
                    return end + len(head.behind), length, head
        return 0, 0, None

    def _begin(self, request: _Request) -> None:
        self._under_way.append(request)
        self._bytes += request.size
        try:
            if request.head is not self._head:
                scope = {**self._scope, "headers": request.head.headers}
                self._reader = self._way.application.reader(scope)
                self._head = request.head
            if not self._reader(request.body, request.done):
                request.outcome = False
        except Exception as error:  # the application tells it
            request.outcome = error

    def _settle(self) -> None:
        """Answers those that have an outcome and none before them that has not."""
        if self._is_away or not self._under_way or self._under_way[0].outcome is None:
            return
        answers, is_known, is_last = [], False, False
        left: _Request | None = None
        while self._under_way and left is None and self._under_way[0].outcome is not None:
            request = self._under_way.pop(0)
            self._bytes -= request.size
            if isinstance(request.outcome, Answer):
                is_last = self._connection.is_draining and not self.is_open
                is_known = is_known or request.outcome.is_known
                answers.append(encoded(request.outcome, self._connection.server_name, is_last))
            else:
                left = request
        if answers:
            self._connection.answer(b"".join(answers), is_known, is_last)
        if left is not None:
            self._is_away = True
            self._connection.replay(left.text + left.body, left.outcome or None)

    @property
    def _stage(self) -> Stage:
        if self._under_way or self._is_in_line:
            return Stage.ANSWER
        if self._size:
            return Stage.BODY if self._needed else Stage.HEAD
        return Stage.IDLE


def encoded(answer: Answer, server: bytes, is_last: bool) -> bytes:
    """The response as Twisted and Daphne would write it."""
    names, values = zip(*answer.headers, (b"server", server), strict=True)
    template, order = _written(answer.status, names, is_last)
    if order is not None:
        values = tuple(values[place] for place in order)
    return template % values + answer.body


@lru_cache(maxsize=128)
def _written(status: int, names: Sequence[bytes], is_last: bool) -> tuple[bytes, Sequence[int] | None]:
    """A response's head with places for the values of its headers, and their order if it is not that of the names.

    Those of one name are written together.
    """
    lines = {b"connection": b"Connection: close\r\n"} if is_last else {}
    order: dict[bytes, list[int]] = {}
    for place, name in enumerate(names):
        lines[name] = lines.get(name, b"") + _canonical(name).replace(b"%", b"%%") + b"%b\r\n"
        order.setdefault(name, []).append(place)
    first_line = b"HTTP/1.1 %d %b\r\n" % (status, RESPONSES[status])
    places = [place for name in lines for place in order.get(name, ())]
    return first_line + b"".join(lines.values()) + b"\r\n", None if places == sorted(places) else places


def _canonical(name: bytes) -> bytes:
    """The name as it is written, with its colon."""
    [(written, _)] = Headers({name: [b""]}).getAllRawHeaders()
    return written + b": "
