"""Headers that only a proxy of ours may send."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django.fixtures import Settings

from gateway.edge.forwarded import OnlyFromProxies

SENT = [
    (b"host", b"a"),
    (b"x-forwarded-for", b"1.2.3.4"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-host", b"b"),
]


async def seen(peer: str | None, application: OnlyFromProxies | None = None) -> list[bytes]:
    """The names of the headers that come through."""
    scopes: list[dict[str, Any]] = []

    async def inner(scope: dict[str, Any], _receive: Any, _send: Any) -> None:
        scopes.append(scope)

    outer = application or OnlyFromProxies(inner)
    outer._application = inner
    await outer({"type": "http", "headers": SENT, "client": peer and [peer, 1]}, None, None)
    return [name for name, _ in scopes[0]["headers"]]


async def test_they_come_through_from_named_proxies_only(settings: Settings) -> None:
    settings.MARKETMUX_TRUSTED_PROXIES = ["10.0.0.0/8"]
    assert await seen("10.1.2.3") == [name for name, _ in SENT]
    assert await seen("203.0.113.9") == [b"host"]
    assert await seen(None) == [b"host"]


async def test_a_proxy_that_nobody_named_is_mentioned_once(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MARKETMUX_TRUSTED_PROXIES = []
    application = OnlyFromProxies(seen)  # type: ignore[arg-type] # replaced
    for _ in range(3):
        assert await seen("10.1.2.3", application) == [name for name, _ in SENT]
    (record,) = caplog.records
    assert "10.1.2.3" in record.getMessage()
    assert "MARKETMUX_TRUSTED_PROXIES" in record.getMessage()


async def test_a_scope_without_headers_passes(settings: Settings) -> None:
    settings.MARKETMUX_TRUSTED_PROXIES = ["10.0.0.0/8"]
    passed: list[str] = []

    async def inner(scope: dict[str, Any], _receive: Any, _send: Any) -> None:
        passed.append(scope["type"])

    await OnlyFromProxies(inner)({"type": "lifespan"}, None, None)
    assert passed == ["lifespan"]
