"""What the server itself answers where a request does not get as far as the application. No I/O."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from ticks import problems
from ticks.problems import PROBLEMS, encode

__all__ = ["MEDIA_TYPE", "closing_answer", "encode"]

MEDIA_TYPE: Final = problems.MEDIA_TYPE.encode()


def closing_answer(code: str, detail: str, status: int | None = None, headers: bytes = b"") -> bytes:
    """A whole response, behind which the connection is closed: the status of ``code``, unless another is given."""
    status = status or PROBLEMS[code].status
    body = encode(status, code, detail)
    phrase = HTTPStatus(status).phrase.encode()
    return b"HTTP/1.1 %d %b\r\nConnection: close\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n%b" % (
        status, phrase, MEDIA_TYPE, len(body), headers, body,
    )  # fmt: skip
