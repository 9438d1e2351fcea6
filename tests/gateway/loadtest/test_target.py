"""Where the gateway under test is, and how it is addressed."""

from __future__ import annotations

import pytest

from gateway.loadtest import LoadTestError
from gateway.loadtest.target import Target


def target(url: str = "http://127.0.0.1:8000", key: str = "") -> Target:
    return Target.from_url(url, key)


def test_requests_name_the_host_the_path_and_the_key() -> None:
    head = target("http://127.0.0.1:8000/market/", key="k1").request("GET", "/ws")
    assert head == b"GET /market/ws HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAuthorization: Api-Key k1\r\n\r\n"


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1", "127.0.0.1:8000", "http://", "http://127.0.0.1:99999", "http://127.0.0.1/a b"]
)
def test_a_url_that_cannot_be_served_is_refused(url: str) -> None:
    with pytest.raises(LoadTestError, match="URL"):
        target(url)


def test_a_key_cannot_smuggle_in_a_header() -> None:
    with pytest.raises(LoadTestError, match="key"):
        target(key="k\r\nX: y")
