"""What goes wrong for good. What can come right again is no exception: the client goes on, and says so by events."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["BadMessage", "ClientClosed", "ClientError", "ClosedForGood", "CommandRefused", "QueueFull", "Refused"]


class ClientError(Exception):
    """What every exception of the client is."""


class Refused(ClientError):
    """There is no connecting with this URL and key: ``status`` is the HTTP status, None if it did not come to that."""

    def __init__(self, status: int | None, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return f"the gateway refused the connection: {self.reason}"


class ClosedForGood(ClientError):
    """The gateway closed the connection with a code after which connecting again is pointless."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"the gateway closed the connection for good: {self.code} {self.reason}".rstrip()


class CommandRefused(ClientError):
    """The gateway did not carry out a command. ``code``: as in docs/reference/protocol.md.

    ``retry_after``: seconds after which it may be asked again, None where that is no use or was not said. ``reason``:
    why, of ``bus_unavailable``; else empty.
    """

    def __init__(
        self,
        code: str,
        message: str,
        symbols: Iterable[str] = (),
        reason: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.symbols = tuple(symbols)
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(code, message, self.symbols, reason, retry_after)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class BadMessage(ClientError):
    """The other side does not speak this protocol. ``text``: the beginning of what it sent."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"not a message of the protocol: {self.text}"


class ClientClosed(ClientError):
    """The client was closed."""

    def __str__(self) -> str:
        return "the client is closed"


class QueueFull(ClientError):
    """A publisher's queue has no room for another tick, and its rule is to say so. ``limit``: how many it holds."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.limit:,} ticks wait to be sent already"
