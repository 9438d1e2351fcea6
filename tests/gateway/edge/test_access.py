"""Who may open a WebSocket."""

from __future__ import annotations

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings

from marketmux.asgi import application
from ticks.models import ApiKey

Headers = list[tuple[bytes, bytes]]


async def may_connect(*headers: tuple[bytes, bytes]) -> bool:
    socket = WebsocketCommunicator(application, "/ws", headers=list(headers))
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
    from asgiref.sync import sync_to_async  # noqa: PLC0415

    _, plaintext = await sync_to_async(ApiKey.objects.issue)("feed")
    assert await may_connect(HOST, (b"authorization", f"Api-Key {plaintext}".encode()))


@pytest.mark.django_db(transaction=True)
def test_a_logged_in_session_opens() -> None:
    from asgiref.sync import async_to_sync  # noqa: PLC0415

    client = Client()
    client.force_login(User.objects.create_user("trader"))
    cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
    assert async_to_sync(may_connect)(HOST, (b"cookie", cookie), (b"origin", b"http://localhost:8000"))
    assert not async_to_sync(may_connect)(HOST, (b"cookie", cookie), (b"origin", b"http://evil.example"))
