"""The settings of the apps ``ticks`` and ``gateway``: each with its default, here and nowhere else.

A Django project sets what it wants to be different, under these names, in its settings. They are read when they are
needed, at the edge, and not by the bus, the fan-out, the wires or the protocol. docs/reference/configuration.md says
what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

from django.conf import settings

from bus.contract import HISTORY_SECONDS, HISTORY_TICKS, Limits

__all__ = ["OPTIONS", "Option", "conf", "problems"]

T = TypeVar("T")

_NAMES: Final = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list of texts",
}


class Option(Generic[T]):
    """A setting: its default, whose type is that of the setting, and the least that a number may be."""

    name: str

    def __init__(self, default: T, minimum: float = 0) -> None:
        self.default = default
        self.minimum = minimum

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type) -> T:
        value: T = getattr(settings, self.name, self.default)
        return value

    def problem(self, value: Any) -> str:
        """What is wrong with a value, in a few words; empty if nothing is."""
        kind: type = type(self.default)
        if kind is list:
            fits = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        else:
            fits = isinstance(value, int | float if kind is float else kind)
        if not fits or (isinstance(value, bool) and kind is not bool):
            return f"it is of type {type(value).__name__}, and not {_NAMES[kind]}"  # and no secret in a log
        if kind in {int, float} and not value >= self.minimum:
            return f"it is {value!r}, and not at least {self.minimum:g}"
        return ""


class Conf:
    """Reads the settings."""

    MARKETMUX_PUBLIC_URL = Option("")
    MARKETMUX_TRUSTED_PROXIES = Option[list[str]]([])
    MARKETMUX_ALLOWED_ORIGINS = Option[list[str]]([])
    MARKETMUX_ACCESS_LOG = Option(False)
    MARKETMUX_METRICS_TOKEN = Option("")
    MARKETMUX_OTEL = Option(False)

    # Who may do what
    MARKETMUX_ANONYMOUS = Option(False)
    MARKETMUX_ENTITLEMENTS = Option("")
    MARKETMUX_JWT_SECRET = Option("")
    MARKETMUX_JWT_JWKS_URL = Option("")
    MARKETMUX_JWT_ISSUER = Option("")
    MARKETMUX_JWT_AUDIENCE = Option("")
    MARKETMUX_JWT_ALGORITHMS = Option[list[str]]([])
    MARKETMUX_JOURNAL = Option(True)

    # Clients
    MARKETMUX_MAX_SYMBOLS = Option(1_000, minimum=1)
    MARKETMUX_MAX_MESSAGE_BYTES = Option(65_536, minimum=128)
    MARKETMUX_MAX_COMMANDS_PER_SECOND = Option(100, minimum=1)
    MARKETMUX_UNSENT_BYTES = Option(1_048_576, minimum=4_096)
    MARKETMUX_MAX_STALENESS_MS = Option(1_000.0)
    MARKETMUX_SLOW_CLIENT_SECONDS = Option(30.0, minimum=1)
    MARKETMUX_LEAVE_DELAY_SECONDS = Option(1.0)
    MARKETMUX_HEARTBEAT_SECONDS = Option(5.0)
    MARKETMUX_LINGER_MS = Option(0.0)
    MARKETMUX_IO_URING = Option(True)

    # What the bus keeps
    MARKETMUX_HISTORY_TICKS = Option(HISTORY_TICKS)
    MARKETMUX_HISTORY_SECONDS = Option(HISTORY_SECONDS)
    MARKETMUX_OWN_HISTORY_BYTES = Option(67_108_864)
    MARKETMUX_IDEMPOTENCY_SECONDS = Option(600.0, minimum=1)
    MARKETMUX_MAX_STREAMS = Option(Limits().streams, minimum=1)
    MARKETMUX_MAX_KEYS = Option(Limits().keys, minimum=1)
    MARKETMUX_RETAIN_DAYS = Option(Limits().seconds / 86_400)

    # The server
    MARKETMUX_SHORT_REQUESTS = Option(True)
    MARKETMUX_HUNG_SECONDS = Option(5.0, minimum=2)
    MARKETMUX_DRAIN_DELAY_SECONDS = Option(5.0)
    MARKETMUX_DRAIN_SECONDS = Option(5.0)
    MARKETMUX_MAX_IDLE_CONNECTIONS = Option(10_000, minimum=1)
    MARKETMUX_MAX_TCP_CONNECTIONS_PER_SECOND = Option(1_000)
    MARKETMUX_MAX_HANDSHAKES_PER_SECOND = Option(1_000, minimum=1)

    # Shares: none where 0; a key's own limit comes first
    MARKETMUX_MAX_TICKS_PER_SECOND = Option(0)
    MARKETMUX_MAX_CONNECTIONS = Option(0)
    MARKETMUX_MAX_OWNER_SYMBOLS = Option(0)
    MARKETMUX_MAX_NEW_SYMBOLS = Option(0)

    # Recording
    MARKETMUX_RECORD = Option(False)
    MARKETMUX_RECORD_DAYS = Option(0.0)
    MARKETMUX_RECORD_QUEUE = Option(100_000, minimum=1)


OPTIONS: Final[dict[str, Option[Any]]] = {
    name: option for name, option in vars(Conf).items() if isinstance(option, Option)
}
conf: Final = Conf()


def problems() -> Iterator[tuple[str, str]]:
    """The settings that make no sense, and what is wrong with each."""
    for name, option in OPTIONS.items():
        if problem := option.problem(getattr(settings, name, option.default)):
            yield name, problem
