"""Who is connected, in the admin: asked of all workers, and cut from there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import channel_layers
from django.contrib.auth.models import Permission, User
from django.test import AsyncClient
from pytest_django.fixtures import Settings

from bus.contract import BusUnavailable
from bus.layers import MemoryLayer, get_bus
from gateway.edge import roster, watch
from gateway.fanout.conflation import KeepNewest
from tests.gateway.edge.test_watch import Socket, key_of
from ticks.access import keys, users
from ticks.access.grant import Grant
from ticks.access.models import ApiKey, AuditEntry

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/marketmux_ticks/connection/"


@pytest.fixture(autouse=True)
async def layer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    settings.MARKETMUX_HEARTBEAT_SECONDS = 0.0
    channel_layers.set("default", MemoryLayer())
    yield
    await watch.get_watch().close()
    channel_layers.backends.clear()
    keys.forget()
    users.forget()


async def staff(*permissions: str, **fields: Any) -> AsyncClient:
    user = await User.objects.acreate(username="boss", is_staff=True, **fields)
    async for permission in Permission.objects.filter(codename__in=permissions):
        await user.user_permissions.aadd(permission)
    client = AsyncClient()
    await client.aforce_login(user)
    return client


async def page(client: AsyncClient, **query: str) -> Any:
    response = await client.get(PAGE, query)
    assert response.status_code == 200
    return response


def ids(response: Any) -> list[str]:
    return re.findall(r'name="id" value="([^"]+)"', response.content.decode())


async def test_connections_are_listed_and_searched() -> None:
    _, header = await key_of()
    client = await staff(is_superuser=True)
    async with Socket("/ws", header) as socket, Socket("/ws/publish", header) as publisher:
        await socket.ask(action="subscribe", symbol="AAPL")
        await publisher.ask(symbol="AAPL", price=1)
        found = (await page(client)).context["found"]
        subscribes, publishes = found.rows
        assert (found.connections, found.publishers, found.behind, found.workers) == (2, 1, 0, 1)
        assert (subscribes["named"], subscribes["symbols"], subscribes["publishes"]) == (["AAPL"], 1, False)
        assert (publishes["ticks"], publishes["publishes"], publishes["behind"]) == (1, True, False)
        assert subscribes["who"].startswith("feed (mmx_")
        assert (await page(client, q="FEED")).context["found"].matching == 2
        nobody = (await page(client, q="nobody")).context["found"]
        assert (nobody.matching, nobody.connections) == (0, 2)


@pytest.mark.parametrize("path", ["/ws", "/ws/publish"])
async def test_who_is_kicked_may_come_back(path: str) -> None:
    _, header = await key_of()
    client = await staff(is_superuser=True)
    async with Socket(path, header) as kicked, Socket(path, header) as other:
        [first, _] = ids(await page(client))
        assert (await client.post(PAGE, {"action": "kick", "id": [first]})).status_code == 302
        assert await kicked.close_code() == 1012
        if path == "/ws":
            assert (await other.ask(action="ping"))["type"] == "pong"
        entry = await AuditEntry.objects.aget(action="kicked")
        assert entry.actor == "user boss"
        assert entry.subject.startswith("key:")
    async with Socket(path, header):
        pass


async def test_a_key_is_revoked_and_all_its_sockets_are_cut() -> None:
    _, header = await key_of()
    client = await staff(is_superuser=True)
    async with Socket("/ws", header) as one, Socket("/ws/publish", header) as two:
        await client.post(PAGE, {"action": "revoke", "id": [ids(await page(client))[0]]})
        assert {await one.close_code(), await two.close_code()} == {4003}
    assert not (await ApiKey.objects.aget()).active
    assert await AuditEntry.objects.filter(action="revoked", actor="user boss").aexists()


@pytest.mark.parametrize(
    ("permissions", "action", "status"),
    [
        ([], "", 403),
        (["view_connection"], "kick", 403),
        (["view_connection", "change_connection"], "revoke", 403),
        (["view_connection", "change_connection"], "kick", 302),
    ],
)
async def test_only_who_may_cuts(permissions: list[str], action: str, status: int) -> None:
    _, header = await key_of()
    client = await staff(*permissions)
    async with Socket("/ws", header):
        rows = (await roster.ask(watch.get_watch())).rows
        if action:
            response = await client.post(PAGE, {"action": action, "id": [row["id"] for row in rows]})
        else:
            response = await client.get(PAGE)
        assert response.status_code == status
    assert (await ApiKey.objects.aget()).active


async def test_an_idle_worker_answers_too_and_connections_that_are_named_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = await roster.ask(watch.get_watch())
    assert (found.workers, found.connections) == (1, 0)
    _, header = await key_of()
    async with Socket("/ws", header):
        [row] = (await roster.ask(watch.get_watch())).rows
        monkeypatch.setattr(roster, "ANSWER_SECONDS", 600)
        assert (await asyncio.wait_for(roster.ask(watch.get_watch(), ids=[row["id"]]), 60)).rows == [row]


async def test_while_the_bus_is_away_this_worker_answers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> None:
        raise BusUnavailable

    _, header = await key_of()
    client = await staff(is_superuser=True)
    async with Socket("/ws", header) as socket:
        monkeypatch.setattr(MemoryLayer, "group_send", away)
        response = await page(client)
        assert "The bus cannot be asked." in response.content.decode()
        await client.post(PAGE, {"action": "kick", "id": ids(response)})
        assert await socket.close_code() == 1012


async def test_many_connections_are_counted_and_some_are_shown() -> None:
    class Outbox:
        behind = False
        queue = None
        waiting = KeepNewest()

    class Many:
        def __init__(self, number: int) -> None:
            self.grant = Grant(f"key:{number}", "feed")
            self.scope = {"client": ("192.0.2.1", 1), "headers": []}
            self.outbox = Outbox()
            self.is_publisher = number % 2 == 0
            self.ticks = 0

        def symbols(self) -> list[str]:
            return ["AAPL"]

        def rates(self) -> list[float]:
            return [2.0]

    watched = watch.get_watch()
    for number in range(5_000):
        watched.add(Many(number))  # type: ignore[arg-type]
    found = await roster.ask(watched, "192.0.2")
    assert (found.connections, found.publishers, found.matching, len(found.rows)) == (5_000, 2_500, 5_000, 500)
    [one] = found.rows[:1]
    assert (await roster.ask(watched, ids=[one["id"]])).rows == [one]
    assert (one["max_rate"], one["bytes"], one["skipped"]) == (2.0, None, 0)
    seen: list[str] = []
    page = await roster.ask(watched, most=999)
    while page.next:
        seen += [row["id"] for row in page.rows]
        page = await roster.ask(watched, most=999, after=page.next)
    seen += [row["id"] for row in page.rows]
    assert len(seen) == len(set(seen)) == 5_000
    assert (await roster.ask(watched, "aapl")).matching == 5_000
    assert (await roster.ask(watched, "MSFT")).matching == 0


async def test_who_knows_all_workers_waits_for_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = watch.get_watch()
    await get_bus().announce(watched.name, b"{}", 60)
    monkeypatch.setattr(roster, "ANSWER_SECONDS", 600)
    assert (await asyncio.wait_for(roster.ask(watched), 60)).workers == 1
