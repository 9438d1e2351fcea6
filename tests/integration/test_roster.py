"""The admin's page of connections, over two gateways of two workers each, on a Redis that grants what documents say."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from typing import Any, Final

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from tests.clients import receive
from tests.conftest import StartGateway
from tests.integration.test_redis_user import RULE
from tests.office import Office
from tests.servers import GatewayProcess, RedisServer

PAGE: Final = "/admin/marketmux_ticks/connection/"
EACH: Final = 24
"""Connections of each gateway: both of its workers have some, as good as always."""
HIRE: Final = """
boss = User.objects.create(username="boss", is_staff=True, is_superuser=True)
answer = [login(boss), *(ApiKey.objects.issue(name)[1] for name in ("one", "two"))]
"""


class Desk:
    """The admin of the first gateway, which has the connections of a key, and a second gateway with those of another."""

    def __init__(self, gateways: list[GatewayProcess], http: httpx.AsyncClient) -> None:
        self.gateways = gateways
        self._http = http

    async def page(self, query: str = "") -> str:
        response = await self._http.get(PAGE, params={"q": query})
        assert response.status_code == 200
        return response.text

    async def ids(self, query: str = "") -> list[str]:
        return re.findall(r'name="id" value="([^"]+)"', await self.page(query))

    async def log(self) -> str:
        response = await self._http.get("/admin/marketmux_ticks/auditentry/export/csv/")
        assert response.status_code == 200
        return response.text

    async def act(self, action: str, ids: Iterable[str]) -> str:
        """What the page says of it."""
        form = {"action": action, "id": list(ids), "csrfmiddlewaretoken": "c" * 32}
        response = await self._http.post(PAGE, data=form)
        assert response.status_code == 302
        return await self.page()


def admit(redis: RedisServer) -> None:
    assert redis.call(f"ACL SETUSER gateway on >secret {RULE}") == "+OK"


def come_back(redis: RedisServer) -> None:
    """Starts it again; until it knows the gateway's user it refuses it."""
    redis.start()
    admit(redis)
    redis.call("ACL LOG RESET")


@pytest.fixture
async def desk(
    start_gateway: StartGateway, redis_server: RedisServer
) -> AsyncIterator[tuple[Desk, list[ClientConnection], list[ClientConnection]]]:
    admit(redis_server)
    url = redis_server.url.replace("//", "//gateway:secret@")
    first = start_gateway(url, workers=2, MARKETMUX_ANONYMOUS="0")
    database = first.environment["DATABASE_URL"]
    gateways = [first, start_gateway(url, workers=2, MARKETMUX_ANONYMOUS="0", DATABASE_URL=database)]
    with Office(first.environment) as office:
        session, *keys = await asyncio.to_thread(office.do, HIRE)
    cookies = {"sessionid": session, "csrftoken": "c" * 32}
    async with AsyncExitStack() as stack, httpx.AsyncClient(base_url=first.http, cookies=cookies, timeout=30) as http:
        sockets: list[list[ClientConnection]] = [[], []]
        for gateway, key, opened in zip(gateways, keys, sockets, strict=True):
            for number in range(EACH):
                path = "/publish" if number < 2 else ""
                header = {"Authorization": f"Api-Key {key}"}
                connecting = websockets.connect(gateway.ws + path, additional_headers=header, compression=None)
                opened.append(await stack.enter_async_context(connecting))
                assert (await receive(opened[-1]))["type"] == "welcome"
        yield Desk(gateways, http), sockets[0], sockets[1]
    assert redis_server.denied() == []
    assert not any("Traceback" in gateway.output() for gateway in gateways)


async def closed(sockets: list[ClientConnection]) -> set[Any]:
    async with asyncio.timeout(60):
        await asyncio.gather(*(socket.wait_closed() for socket in sockets))
    return {socket.close_code for socket in sockets}


async def test_who_is_connected_to_any_worker_is_shown_kicked_and_cut(
    desk: tuple[Desk, list[ClientConnection], list[ClientConnection]], redis_server: RedisServer
) -> None:
    admin, of_one, of_two = desk
    page = await admin.page()
    assert f"{2 * EACH} connections on 4 workers that answered: 4 publish, 0 are behind." in page
    workers = set(re.findall(r"<td>([^<]+/\d+)</td>", page))
    assert {int(worker.rpartition("/")[2]) for worker in workers} == {pid for g in admin.gateways for pid in g.pids}

    # Kicked, on the other gateway: some of a key, who may come back.
    theirs = await admin.ids("two (mmx_")
    assert len(theirs) == EACH
    assert "Kicked 10 connections" in await admin.act("kick", theirs[:10])
    kicked, stayed = of_two[:10], of_two[10:]
    assert await closed(kicked) == {1012}
    assert await admin.ids("two (mmx_") == theirs[10:]

    # Cut with their key: the rest of them, who may not.
    assert "Revoked 1 API keys" in await admin.act("revoke", theirs[-1:])
    assert await closed(stayed) == {4003}
    assert await admin.ids("two (mmx_") == []

    assert [socket.state.name for socket in of_one] == ["OPEN"] * EACH
    assert f">{EACH} connections on 4 workers that answered: 2 publish" in await admin.page()
    log = await admin.log()
    assert [log.count(f"user boss,{action},") for action in ("kicked", "revoked")] == [10, 1]

    # A Redis that was away and has forgotten everything: for a moment it does not even know the user.
    assert redis_server.denied() == []
    redis_server.kill()
    page = await admin.page()
    assert "The bus cannot be asked." in page
    assert "on 1 workers" in page
    come_back(redis_server)
    async with asyncio.timeout(60):
        while f">{EACH} connections on 4 workers" not in await admin.page():
            pass
    assert "Kicked 1 connections" in await admin.act("kick", (await admin.ids())[:1])
    assert await closed(of_one[:1]) == {1012}

    assert redis_server.denied() == []

    # What cannot be told to the others is not said to have been.
    redis_server.kill()
    async with asyncio.timeout(60):
        while "The bus cannot be asked." not in await admin.page():
            pass
    assert "only connections of the worker that shows this page" in await admin.act("kick", (await admin.ids())[:1])
    come_back(redis_server)
