"""HTTP/1.1 responses on a kept-alive connection, as they arrive. No I/O."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Response", "take_response"]


class Response(NamedTuple):
    status: int
    body: bytes


def take_response(data: bytes) -> tuple[Response | None, bytes]:
    """The response at the start of ``data``, None if it is not whole yet, and what is left of ``data``.

    ``ValueError`` if it is none.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None, data
    status, *lines = head.split(b"\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    body, rest_of = _take_chunks(rest) if b"transfer-encoding" in headers else _take_sized(rest, headers)
    if body is None:
        return None, data
    return Response(int(status.split(b" ")[1]), body), rest_of


def _take_sized(data: bytes, headers: dict[bytes, bytes]) -> tuple[bytes | None, bytes]:
    length = int(headers.get(b"content-length", b"0"))
    return (data[:length], data[length:]) if len(data) >= length else (None, data)


def _take_chunks(data: bytes) -> tuple[bytes | None, bytes]:
    body = b""
    while True:
        size, end, data = data.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16) if end else 0
        if not end or len(data) < length + 2:
            return None, data
        body, data = body + data[:length], data[length + 2 :]
        if not length:
            return body, data
