"""The client's table of close codes is the gateway's."""

from __future__ import annotations

from gateway.protocol.codes import CLOSURES
from marketmux_client import closures


def test_the_client_does_after_a_close_what_the_gateway_says() -> None:
    ours = {code: (known.reconnect, known.wait) for code, known in closures.CLOSURES.items()}
    assert ours == {known.code: (known.reconnect, known.wait) for known in CLOSURES}


def test_after_a_code_that_is_not_known_it_comes_back() -> None:
    assert closures.closure(4999, "new").reconnect
