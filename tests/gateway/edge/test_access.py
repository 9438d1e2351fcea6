"""Who may open a WebSocket."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings

from gateway.edge.access import Access, origin_allowed
from marketmux.asgi import application
from ticks.access import keys
from ticks.access.credentials import Audience
from ticks.access.grant import Grant, Scope
from ticks.access.keys import KeyCache
from ticks.access.models import ApiKey

Headers = list[tuple[bytes, bytes]]


async def may_connect(*headers: tuple[bytes, bytes], path: str = "/ws") -> bool:
    socket = WebsocketCommunicator(application, path, headers=list(headers))
    connected, _ = await socket.connect(timeout=5)
    if connected:
        await socket.disconnect()
    return bool(connected)


HOST = (b"host", b"localhost:8000")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [(b"http://localhost:8000", True), (b"https://localhost:8000", True), (b"HTTP://LOCALHOST:8000", True),
     (b"http://localhost:9000", False), (b"http://localhost", False), (b"http://evil.example", False), (b"null", False),
     (b"http://[", False), (b"ftp://localhost:8000", False), (b"", False), (b"\xff\xfe", False)],
)  # fmt: skip
async def test_a_browser_must_come_from_the_gateways_own_origin(
    settings: Settings, origin: bytes, allowed: bool
) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    assert await may_connect(HOST, (b"origin", origin)) is allowed


async def test_a_host_that_is_not_allowed_is_no_origin(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    assert not await may_connect((b"host", b"evil.example"), (b"origin", b"http://evil.example"))


async def test_origins_can_be_listed(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    settings.MARKETMUX_ALLOWED_ORIGINS = ["https://desk.example"]
    assert await may_connect(HOST, (b"origin", b"https://desk.example"))
    assert not await may_connect(HOST, (b"origin", b"http://desk.example"))
    assert await may_connect(HOST, (b"origin", b"http://localhost:8000"))
    settings.MARKETMUX_ALLOWED_ORIGINS = ["*"]
    assert await may_connect(HOST, (b"origin", b"http://anywhere.example"))


@pytest.mark.parametrize(
    ("host", "origin", "same"),
    [(b"x:443", b"https://x", True), (b"x", b"https://x:443", True), (b"x:80", b"http://x", True),
     (b"X", b"http://x:80", True), (b"[::1]:443", b"https://[::1]", True), (b"x:443", b"http://x", False),
     (b"x:80", b"https://x", False), (b"x:8443", b"https://x", False), (b"x", b"https://x:8443", False),
     (b"x", b"https://x/", False), (b"x", b"https://x@x", False), (b"x", b"https://y@x", False),
     (b"y@x", b"https://y@x", False), (b"x:a", b"https://x", False), (b"", b"https://", False)],
)  # fmt: skip
def test_a_port_that_goes_without_saying_is_the_same_origin(
    settings: Settings, host: bytes, origin: bytes, same: bool
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    assert origin_allowed(origin, host) is same


def test_a_listed_origin_may_name_its_port(settings: Settings) -> None:
    settings.MARKETMUX_ALLOWED_ORIGINS = ["https://desk.example:443", "capacitor://localhost"]
    assert origin_allowed(b"https://desk.example", b"x")
    assert origin_allowed(b"capacitor://localhost", b"x")
    assert not origin_allowed(b"http://desk.example:443", b"x")


async def test_a_refused_origin_is_logged_once(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    for _ in range(3):
        assert not await may_connect(HOST, (b"origin", b"https://page.example\n"))
    (record,) = caplog.records
    assert "'https://page.example\\n'" in record.getMessage()
    assert "'localhost:8000'" in record.getMessage()


async def test_programs_send_no_origin(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    assert await may_connect(HOST)


@pytest.mark.django_db(transaction=True)
async def test_a_stranger_is_refused() -> None:
    assert not await may_connect(HOST)
    assert not await may_connect(HOST, (b"authorization", b"Api-Key nonsense"))
    assert not await may_connect(HOST, (b"authorization", b"\xff\xff"))
    assert not await may_connect(HOST, (b"cookie", b"sessionid=nonsense"))


@pytest.mark.django_db(transaction=True)
async def test_a_key_opens() -> None:
    _, plaintext = await sync_to_async(ApiKey.objects.issue)("feed")
    assert await may_connect(HOST, (b"authorization", f"Api-Key {plaintext}".encode()))
    assert await may_connect(HOST, (b"authorization", f"Api-Key {plaintext}".encode()), path="/ws/publish")


class CountingCache(KeyCache):
    """A cache that counts how often it is asked."""

    asked = 0

    def get(self, name: str) -> Grant | None:
        self.asked += 1
        return super().get(name)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/ws", "/ws/publish"])
async def test_a_handshakes_key_is_looked_up_once(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_cache", cache := CountingCache(seconds=60, size=1))
    _, plaintext = await sync_to_async(ApiKey.objects.issue)("feed")
    await sync_to_async(keys.grant_of_key)(plaintext)
    cache.asked = 0
    assert await may_connect(HOST, (b"authorization", f"Api-Key {plaintext}".encode()), path=path)
    assert cache.asked == 1


@pytest.mark.django_db(transaction=True)
async def test_the_application_is_told_who_opened(settings: Settings) -> None:
    told: list[str] = []

    async def application(scope: Any, _receive: Any, _send: Any) -> None:
        told.append(scope["grant"].owner)

    async def open_with(*headers: tuple[bytes, bytes]) -> None:
        scope = {"type": "websocket", "client": ("192.0.2.1", 5), "headers": list(headers)}
        await Access(application, Scope.SUBSCRIBE, Audience.WS)(scope, None, None)

    key, plaintext = await sync_to_async(ApiKey.objects.issue)("feed")
    await open_with((b"authorization", f"Api-Key {plaintext}".encode()))
    user = await sync_to_async(User.objects.create_superuser)("trader")
    client = Client()
    await sync_to_async(client.force_login)(user)
    await open_with((b"cookie", f"sessionid={client.cookies['sessionid'].value}".encode()))
    settings.MARKETMUX_ANONYMOUS = True
    await open_with()
    await open_with((b"cookie", b"sessionid=nonsense"))
    assert told == [f"key:{key.pk}", f"user:{user.pk}", "anonymous:192.0.2.1", "anonymous:192.0.2.1"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/ws", "/ws/publish"])
async def test_a_wrong_key_is_refused_though_a_session_would_do(settings: Settings, path: str) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    client = Client()
    await sync_to_async(client.force_login)(await sync_to_async(User.objects.create_superuser)("root"))
    cookie = (b"cookie", f"sessionid={client.cookies['sessionid'].value}".encode())
    assert await may_connect(HOST, cookie, path=path)
    assert not await may_connect(HOST, cookie, (b"authorization", b"Api-Key nonsense"), path=path)
    assert not await may_connect(HOST, cookie, (b"authorization", b"Api-Key"), path=path)


@pytest.mark.django_db(transaction=True)
def test_a_logged_in_session_opens() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("trader"))
    cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
    assert async_to_sync(may_connect)(HOST, (b"cookie", cookie), (b"origin", b"http://localhost:8000"))
    assert not async_to_sync(may_connect)(HOST, (b"cookie", cookie), (b"origin", b"http://evil.example"))


@pytest.mark.django_db(transaction=True)
def test_a_logged_in_session_does_not_open_the_way_for_publishers() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("trader"))
    cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
    assert not async_to_sync(may_connect)(HOST, (b"cookie", cookie), path="/ws/publish")


async def test_headers_that_say_nothing_of_the_address_cost_a_handshake_nothing(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True

    async def application(_scope: Any, _receive: Any, _send: Any) -> None:
        pass

    async def calls(more: int) -> int:
        """How many functions a handshake calls that has so many headers more."""
        headers = [HOST, *((f"x-other-{number}".encode(), b"x") for number in range(more))]
        scope = {"type": "websocket", "client": ("192.0.2.1", 5), "headers": headers}
        count = 0

        def profile(_frame: Any, event: str, _argument: Any) -> None:
            nonlocal count
            count += event in {"call", "c_call"}

        sys.setprofile(profile)
        try:
            await Access(application, Scope.SUBSCRIBE, Audience.WS)(scope, None, None)
        finally:
            sys.setprofile(None)
        return count

    await calls(0)
    assert await calls(100) - await calls(0) < 2 * 100


# With which symbols


@pytest.mark.django_db(transaction=True)
async def test_a_symbol_that_is_not_covered_is_denied() -> None:
    fields = {"subscribe": "BTC-* AAPL", "publish": "BTC-*"}
    _, plaintext = await sync_to_async(ApiKey.objects.issue)("feed", **fields)
    header = (b"authorization", f"Api-Key {plaintext}".encode())

    async def ask(path: str, *messages: dict[str, Any]) -> list[dict[str, Any]]:
        socket = WebsocketCommunicator(application, path, headers=[HOST, header])
        assert (await socket.connect())[0]
        assert json.loads(await socket.receive_from())["type"] == "welcome"
        answers = []
        for message in messages:
            await socket.send_to(json.dumps(message))
            answers.append(json.loads(await socket.receive_from(timeout=5)))
        await socket.disconnect()
        return answers

    good, bad, mixed = await ask(
        "/ws",
        {"action": "subscribe", "symbol": "BTC-USD"},
        {"action": "subscribe", "symbol": "MSFT", "id": 7},
        {"action": "subscribe", "symbols": ["AAPL", "MSFT"]},
    )
    assert good["type"] == "subscribed"
    assert (bad["code"], bad["id"], bad["message"]) == ("access_denied", 7, "No access to MSFT.")
    assert mixed["code"] == "access_denied"
    good, bad = await ask("/ws/publish", {"symbol": "BTC-USD", "price": 1}, {"symbol": "AAPL", "price": 1})
    assert good["type"] == "published"
    assert (bad["code"], bad["id"]) == ("access_denied", 2)


@pytest.mark.django_db(transaction=True)
async def test_a_key_opens_what_it_has_a_scope_for() -> None:
    _, plaintext = await sync_to_async(ApiKey.objects.issue)("feed", subscribe="", publish="A")
    header = (b"authorization", f"Api-Key {plaintext}".encode())
    assert not await may_connect(HOST, header)
    assert await may_connect(HOST, header, path="/ws/publish")
