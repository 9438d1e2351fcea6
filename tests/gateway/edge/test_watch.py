"""Connections end, or lose a part, with what they stand on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from bus.layers import MemoryLayer
from gateway.edge import watch
from marketmux.asgi import application
from tests.gateway.fakes import until
from ticks import lookups, publish
from ticks.access import keys, users
from ticks.access.models import ApiKey, Change
from ticks.access.users import entitlements_changed
from ticks.tick import Tick

pytestmark = pytest.mark.django_db(transaction=True)

SOON = 10
"""Seconds: what it takes at most is shown over real gateways (tests/faults/test_flips.py), not on a busy machine here."""


@pytest.fixture(autouse=True)
async def layer(settings: Settings) -> AsyncIterator[None]:
    settings.MARKETMUX_HEARTBEAT_SECONDS = 0.0
    keys.forget()
    users.forget()
    channel_layers.set("default", MemoryLayer())
    yield
    await watch.get_watch().close()
    channel_layers.backends.clear()
    keys.forget()
    users.forget()


class Socket:
    """A client that has been welcomed."""

    def __init__(self, path: str, *headers: tuple[bytes, bytes]) -> None:
        self.socket = WebsocketCommunicator(application, path, headers=[(b"host", b"localhost"), *headers])

    async def __aenter__(self) -> Socket:
        assert (await self.socket.connect(timeout=5))[0]
        assert (await self.receive())["type"] == "welcome"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.disconnect(timeout=5)

    async def send(self, message: Any) -> None:
        await self.socket.send_to(json.dumps(message))

    async def receive(self) -> Any:
        return json.loads(await self.socket.receive_from(timeout=SOON))

    async def ask(self, **message: Any) -> Any:
        await self.send(message)
        return await self.receive()

    async def close_code(self) -> int:
        """The code with which it is closed next, after the announcement."""
        closing = await self.receive()
        assert closing["type"] == "closing"
        event = await self.socket.receive_output(timeout=SOON)
        assert event["type"] == "websocket.close"
        assert event["code"] == closing["code"]
        assert closing["reconnect"] is (event["code"] != 4003)
        return int(event["code"])


async def key_of(**fields: Any) -> tuple[ApiKey, tuple[bytes, bytes]]:
    key, plaintext = await sync_to_async(ApiKey.objects.issue)("feed", **fields)
    return key, (b"authorization", f"Api-Key {plaintext}".encode())


async def session_of(user: User) -> tuple[Client, tuple[bytes, bytes]]:
    client = Client()
    await sync_to_async(client.force_login)(user)
    return client, (b"cookie", f"sessionid={client.cookies['sessionid'].value}".encode())


async def permitted(name: str) -> User:
    user = await User.objects.acreate(username=name)
    permission = await Permission.objects.aget(content_type__app_label="marketmux_ticks", codename="subscribe")
    await user.user_permissions.aadd(permission)
    return user


@pytest.mark.parametrize("path", ["/ws", "/ws/publish"])
@pytest.mark.parametrize("how", ["revoked", "deleted", "expired", "scope", "bulk update"])
async def test_a_socket_ends_with_its_key(path: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "COMPARE_SECONDS", 0.0)
    key, header = await key_of()
    async with Socket(path, header) as socket:
        match how:
            case "revoked":
                key.active = False
                await key.asave(update_fields=["active"])
            case "deleted":
                await key.adelete()
            case "expired":
                key.expires_at = timezone.now() + timedelta(seconds=0.2)
                await key.asave()
            case "scope":
                key.subscribe = key.publish = ""
                await key.asave()
            case "bulk update":  # no signal tells of it
                await until(lambda: watch.get_watch()._fingerprints)
                await ApiKey.objects.all().aupdate(active=False)
        assert await socket.close_code() == (4004 if how == "expired" else 4003)


@pytest.mark.parametrize("how", ["logout", "password", "deactivated", "deleted", "permission"])
async def test_a_socket_ends_with_its_login(how: str) -> None:
    user = await permitted("ada")
    _, other_header = await session_of(await permitted("bob"))
    client, header = await session_of(user)
    async with Socket("/ws", header) as socket, Socket("/ws", other_header) as bystander:
        match how:
            case "logout":
                await sync_to_async(client.logout)()
            case "password":
                user.set_password("another")
                await user.asave()
            case "deactivated":
                user.is_active = False
                await user.asave()
            case "deleted":
                await user.adelete()
            case "permission":
                await user.user_permissions.aclear()
        assert await socket.close_code() == 4003
        assert (await bystander.ask(action="ping"))["type"] == "pong"


async def test_a_socket_that_loses_a_part_is_told_and_gets_no_more_of_it() -> None:
    key, header = await key_of(subscribe="AAPL BTC-*")
    async with Socket("/ws", header) as socket:
        await socket.ask(action="subscribe", symbols=["AAPL", "BTC-USD"])
        key.subscribe = "AAPL MSFT"
        await key.asave()
        assert await socket.receive() == {"type": "access", "patterns": ["AAPL", "MSFT"], "lost": ["BTC-USD"]}
        await publish.publish([Tick(symbol, "1", "2026-05-12T15:04:05Z") for symbol in ("BTC-USD", "AAPL")])
        assert (await socket.receive())["symbol"] == "AAPL"
        assert (await socket.ask(action="subscribe", symbol="BTC-USD"))["code"] == "access_denied"
        assert (await socket.ask(action="subscribe", symbol="MSFT"))["symbols"] == ["MSFT"]
        assert (await socket.ask(action="list"))["symbols"] == ["AAPL", "MSFT"]


async def test_a_publisher_that_loses_a_part_is_told_and_publishes_no_more_of_it() -> None:
    key, header = await key_of()
    async with Socket("/ws/publish", header) as socket:
        key.publish = "AAPL"
        await key.asave()
        assert await socket.receive() == {"type": "access", "patterns": ["AAPL"]}
        assert (await socket.ask(symbol="MSFT", price=1))["code"] == "access_denied"
        assert (await socket.ask(symbol="AAPL", price=1))["type"] == "published"


ANSWER = ["AAPL", "MSFT"]


def hook(_user: User) -> list[str]:
    return ANSWER


async def test_the_hooks_new_answer_counts_when_the_signal_is_sent(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MARKETMUX_ENTITLEMENTS = f"{__name__}.hook"
    user = await User.objects.acreate(username="ada")
    _, header = await session_of(user)
    async with Socket("/ws", header) as socket:
        await socket.ask(action="subscribe", symbols=["AAPL", "MSFT"])
        monkeypatch.setattr(f"{__name__}.ANSWER", ["MSFT"])
        await sync_to_async(entitlements_changed.send)(sender=None, user=user)
        assert await socket.receive() == {"type": "access", "patterns": ["MSFT"], "lost": ["AAPL"]}


async def test_what_another_process_changed_is_read_without_a_message() -> None:
    """As when the bus is away: the change is in the database only."""
    key, header = await key_of()
    async with Socket("/ws", header) as socket:

        def from_elsewhere() -> None:
            ApiKey.objects.filter(pk=key.pk).update(active=False)
            Change.objects.create(subject=f"key:{key.pk}")

        await sync_to_async(from_elsewhere)()
        assert await socket.close_code() == 4003


async def test_a_change_between_lookup_and_welcome_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    key, header = await key_of()
    _, other = await key_of()
    async with Socket("/ws", other):
        add = watch.Watch.add

        def late(self: watch.Watch, connection: watch.Connection) -> None:
            """The connection is watched over after the change was read."""
            asyncio.get_running_loop().call_later(1.5, add, self, connection)

        monkeypatch.setattr(watch.Watch, "add", late)
        async with Socket("/ws", header) as socket:
            key.active = False
            await key.asave()
            assert await socket.close_code() == 4003


async def test_while_the_database_is_away_connections_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    key, header = await key_of()
    async with Socket("/ws", header) as socket:
        key.active = False
        asked = lookups.ask

        async def away(*_: Any) -> Any:
            raise lookups.DatabaseUnavailable("locked")

        monkeypatch.setattr(lookups, "ask", away)
        await key.asave()
        await asyncio.sleep(3 * watch.POLL_SECONDS)
        assert (await socket.ask(action="ping"))["type"] == "pong"
        monkeypatch.setattr(lookups, "ask", asked)
        assert await socket.close_code() == 4003


async def test_what_is_under_way_of_a_publisher_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()
    real = publish.publish

    async def slow(*arguments: Any) -> bool:
        await gate.wait()
        return await real(*arguments)

    monkeypatch.setattr(publish, "publish", slow)
    key, header = await key_of()
    async with Socket("/ws/publish", header) as socket:
        await socket.send({"symbol": "AAPL", "price": 1})
        await asyncio.sleep(0.1)
        key.active = False
        await key.asave()
        await until(lambda: watch.get_watch().revoked)
        await socket.send({"symbol": "AAPL", "price": 666})
        await asyncio.sleep(0.1)
        gate.set()
        assert (await socket.receive())["type"] == "published"
        refused = await socket.receive()
        assert (refused["code"], refused["id"]) == ("access_denied", 2)
        assert await socket.close_code() == 4003
    assert (await publish.latest_of(["AAPL"]))["AAPL"].tick.price == "1"


async def test_where_nobody_stands_on_anything_the_database_is_not_asked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    asked = []

    async def count(question: Any, *_: Any) -> Any:
        asked.append(question)

    monkeypatch.setattr(lookups, "ask", count)
    async with Socket("/ws"):
        await asyncio.sleep(2 * watch.POLL_SECONDS)
    assert not asked
