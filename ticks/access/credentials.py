"""What is shown at the door: where it may be shown, and how it is refused."""

from __future__ import annotations

from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl

__all__ = ["MAX_TOKEN_BYTES", "Audience", "InvalidCredential", "refuse_in_url"]

MAX_TOKEN_BYTES: Final = 4_096
"""Longer ones are not looked at."""

_IN_URL: Final = frozenset(
    {"access_token", "api-key", "api_key", "apikey", "auth_token", "bearer", "id_token", "jwt", "key", "token"}
)


class Audience(StrEnum):
    """What a token of ours may be used for: the WebSockets /ws and /ws/publish, or the HTTP API."""

    WS = "ws"
    PUBLISH = "publish"
    HTTP = "http"


class InvalidCredential(ValueError):
    """What was shown is malformed, unknown, revoked or expired; ``code`` is for programs and says which, as far as that
    helps nobody who makes one up.
    """

    def __init__(self, message: str, code: str = "authentication_failed") -> None:
        super().__init__(message)
        self.code = code


def refuse_in_url(query: str) -> None:
    """:class:`InvalidCredential` if the query of an address has a parameter for a key or a token.

    Servers and proxies write addresses to their logs, and browsers keep them.
    """
    if query and any(name.lower() in _IN_URL for name, _ in parse_qsl(query, keep_blank_values=True)):
        raise InvalidCredential(
            "Keys and tokens are not taken from addresses, which logs keep: consider this one public. Send "
            "Authorization: Bearer <token> or, from a browser, the subprotocols marketmux and marketmux.token.<token>.",
            "credential_in_url",
        )
