"""The client's address, whoever wrote the headers."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from pytest_django.fixtures import Settings

from ticks.address import Proxies, address_of_request, client_address, parse_proxies, share_of

PROXIES = ["10.0.0.0/8", "192.0.2.7", "2001:db8:feed::/48", "unix"]


@pytest.fixture(autouse=True)
def _proxies(settings: Settings) -> None:
    settings.MARKETMUX_TRUSTED_PROXIES = PROXIES


def scope(peer: str | None, *forwarded: str, name: bytes = b"x-forwarded-for") -> dict[str, Any]:
    headers = [(name, value.encode("latin1")) for value in forwarded]
    return {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": headers,
        "client": None if peer is None else [peer, 4_711],
    }


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # Whoever is no proxy of ours may write what it likes.
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("203.0.113.9", ["10.1.1.1"], "203.0.113.9"),
        # The right-most hop that is no proxy; what stands left of it was the client's to write.
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1, 10.9.9.9, 192.0.2.7"], "198.51.100.1"),
        ("10.0.0.1", ["10.3.3.3, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("192.0.2.7", ["198.51.100.1"], "198.51.100.1"),
        ("192.0.2.8", ["198.51.100.1"], "192.0.2.8"),
        # Several headers are one list.
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1", "10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1", "6.6.6.6, 198.51.100.2"], "198.51.100.2"),
        # All of them are ours: the first is as far as one can see.
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.2.2.2, 10.3.3.3"], "10.2.2.2"),
        # Ports and brackets.
        ("10.0.0.1", ["198.51.100.1:50000"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::9]:50000"], "2001:db8::9"),
        ("10.0.0.1", ["[2001:db8::9]"], "2001:db8::9"),
        ("10.0.0.1", ["  198.51.100.1\t,\t10.1.1.1 "], "198.51.100.1"),
        # IPv6, in one spelling, without zone; IPv4 mapped into it is IPv4.
        ("2001:db8:feed::1", ["2001:DB8:0:0:0:0:0:9"], "2001:db8::9"),
        ("2001:db8:bad::1", ["198.51.100.1"], "2001:db8:bad::1"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        # Garbage: who appended it is as far as one can see.
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, _hidden, 10.9.9.9"], "10.9.9.9"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.256"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, 010.0.0.1"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, [10.9.9.9"], "10.0.0.1"),
        ("10.0.0.1", ["\xff\x00', 1=1; --"], "10.0.0.1"),
        ("10.0.0.1", ["," * 10_000], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1," + "10.0.0.1," * 5_000 + "10.0.0.2"], "10.0.0.1"),
        # A Unix socket has no address.
        (None, ["198.51.100.1"], "198.51.100.1"),
        (None, [], ""),
        (None, ["unknown"], ""),
        ("", ["198.51.100.1"], "198.51.100.1"),
        ("testclient", ["198.51.100.1"], ""),
    ],
)
def test_the_client_is_the_right_most_hop_that_is_no_proxy(peer: str | None, forwarded: list[str], client: str) -> None:
    asked = scope(peer, *forwarded)
    assert client_address(asked) == client
    assert address_of_request(ASGIRequest(asked, BytesIO())) == client
    request = HttpRequest()
    request.META = {"REMOTE_ADDR": peer or "", "HTTP_X_FORWARDED_FOR": ",".join(forwarded)}
    assert address_of_request(request) == client


@pytest.mark.parametrize("peer", ["203.0.113.9", "10.0.0.1", "127.0.0.1"])
def test_without_proxies_the_header_says_nothing(settings: Settings, peer: str) -> None:
    settings.MARKETMUX_TRUSTED_PROXIES = []
    assert client_address(scope(peer, "198.51.100.1")) == peer
    assert client_address(scope(None, "198.51.100.1")) == ""


def test_a_unix_socket_is_believed_only_where_it_is_named(settings: Settings) -> None:
    settings.MARKETMUX_TRUSTED_PROXIES = ["10.0.0.0/8"]
    assert client_address(scope(None, "198.51.100.1")) == ""


def test_a_header_of_another_spelling_is_none() -> None:
    assert client_address(scope("10.0.0.1", "198.51.100.1", name=b"x_forwarded_for")) == "10.0.0.1"


def test_a_limit_counts_a_network_of_ipv6_as_one_client() -> None:
    assert share_of("198.51.100.1") == "198.51.100.1"
    assert share_of("2001:db8:1:2::9") == share_of("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert share_of("2001:db8:1:3::9") != share_of("2001:db8:1:2::9")
    assert share_of("") == ""


@pytest.mark.parametrize(
    "word", ["example.com", "10.0.0.1/8", "0.0.0.0/0", "::/0", "*", "10.0.0.0/33", "::ffff:10.0.0.0/104", "[::1]"]
)
def test_what_is_no_proxy_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_proxies(["10.0.0.0/8", word])


def test_no_words_are_no_proxies() -> None:
    assert parse_proxies([]) == Proxies()
