"""HTTP responses as they arrive."""

from __future__ import annotations

import pytest

from gateway.loadtest.responses import take_response

SIZED = b'HTTP/1.1 202 Accepted\r\nContent-Length: 14\r\n\r\n{"accepted":1}'
CHUNKED = b'HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"det\r\n6;x=y\r\nail":1\r\n0\r\n\r\n'


def test_responses_are_found_wherever_a_read_cuts_them() -> None:
    data = SIZED + CHUNKED
    for cut in range(len(data)):
        found, rest = [], b""
        for part in (data[:cut], data[cut:]):
            rest += part
            while (taken := take_response(rest))[0] is not None:
                found.append(taken[0])
                rest = taken[1]
        assert found == [(202, b'{"accepted":1}'), (400, b'{"detail":1')]


def test_what_is_no_response_is_an_error() -> None:
    with pytest.raises((ValueError, IndexError)):
        take_response(b"hello\r\n\r\n")
