"""A flood of keys and sessions that somebody made up: it costs the database next to nothing, and keeps nobody out."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.clients import receive, tick
from tests.office import Office
from tests.servers import GatewayProcess, RedisServer
from ticks.lookups import PAUSE_SECONDS

SETTINGS = "tests.integration.counting_settings"
FLOOD = 400
CLIENTS = 16

Way = Callable[[httpx.AsyncClient, GatewayProcess, str], Awaitable[int]]


@pytest.fixture(scope="module", params=[pytest.param(1, marks=pytest.mark.soak), 2])
def workers(request: pytest.FixtureRequest) -> int:
    workers: int = request.param
    return workers


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path, shared_redis: RedisServer, workers: int
) -> Iterator[GatewayProcess]:
    shared_redis.flush()
    directory = tmp_path_factory.mktemp("unknown")
    gateway = GatewayProcess(
        directory,
        database=migrated_database,
        redis_url=shared_redis.url,
        workers=workers,
        DJANGO_SETTINGS_MODULE=SETTINGS,
        QUERIES=str(directory / "queries"),
        MARKETMUX_ANONYMOUS="0",
        MARKETMUX_MAX_HANDSHAKES_PER_SECOND="100000",
    )
    gateway.start()
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def office(gateway: GatewayProcess) -> Iterator[Office]:
    with Office(gateway.environment) as office:
        yield office


def queries(gateway: GatewayProcess) -> int:
    return len(Path(gateway.environment["QUERIES"]).read_text().splitlines())


async def post(http: httpx.AsyncClient, _: GatewayProcess, word: str) -> int:
    answer = await http.post("/api/v1/ticks", json=tick("A", 1), headers={"authorization": f"Api-Key {word}"})
    return answer.status_code


async def read(http: httpx.AsyncClient, _: GatewayProcess, word: str) -> int:
    return (await http.get("/api/v1/ticks", headers={"authorization": f"Api-Key {word}"})).status_code


async def read_with_a_session(http: httpx.AsyncClient, _: GatewayProcess, word: str) -> int:
    return (await http.get("/api/v1/ticks", headers={"cookie": f"sessionid={word}"})).status_code


async def look_at_the_admin(http: httpx.AsyncClient, _: GatewayProcess, word: str) -> int:
    return (await http.get("/admin/", headers={"cookie": f"sessionid={word}"})).status_code


async def subscribe(_: httpx.AsyncClient, gateway: GatewayProcess, word: str) -> int:
    return await handshake(gateway.ws, authorization=f"Api-Key {word}")


async def subscribe_with_a_session(_: httpx.AsyncClient, gateway: GatewayProcess, word: str) -> int:
    return await handshake(gateway.ws, cookie=f"sessionid={word}")


async def publish(_: httpx.AsyncClient, gateway: GatewayProcess, word: str) -> int:
    return await handshake(f"{gateway.ws}/publish", authorization=f"Api-Key {word}")


async def handshake(url: str, **headers: str) -> int:
    try:
        async with connect(url, additional_headers=headers):
            return 101
    except websockets.InvalidStatus as refusal:
        return refusal.response.status_code


def of_key(_: str, plaintext: str) -> str:
    return plaintext


def of_session(session: str, _: str) -> str:
    return session


WAYS: dict[str, tuple[Way, int, int, bool]] = {
    "POST": (post, 401, 202, False),
    "GET": (read, 401, 200, False),
    "GET, session": (read_with_a_session, 401, 200, True),
    "admin, session": (look_at_the_admin, 302, 200, True),
    "/ws": (subscribe, 401, 101, False),
    "/ws, session": (subscribe_with_a_session, 403, 101, True),
    "/ws/publish": (publish, 401, 101, False),
}
"""How one is shown, what is answered to one that is made up and to a good one, and whether it is a session."""


@pytest.mark.parametrize("way", WAYS)
async def test_made_up_credentials_share_their_queries_and_keep_nobody_out(
    gateway: GatewayProcess, office: Office, workers: int, way: str
) -> None:
    ask, refusal, welcome, is_session = WAYS[way]
    numbers = itertools.count()
    statuses: set[int] = set()
    entered = asyncio.Event()

    async def flood(http: httpx.AsyncClient) -> None:
        while (number := next(numbers)) < FLOOD or not entered.is_set():
            statuses.add(await ask(http, gateway, f"made-up-{way.encode().hex()}-{number:010}"))

    old = await asyncio.to_thread(good, office, is_session)
    async with httpx.AsyncClient(base_url=gateway.http, timeout=60) as http:
        assert await ask(http, gateway, old) == welcome
        before, began = queries(gateway), time.monotonic()
        flooding = [asyncio.create_task(flood(http)) for _ in range(CLIENTS)]
        known = [await ask(http, gateway, old) for _ in range(5)]
        new = await asyncio.to_thread(good, office, is_session)
        at_once = [await ask(http, gateway, new) for _ in range(2 * workers)]
        entered.set()
        await asyncio.gather(*flooding)
        took, asked = time.monotonic() - began, queries(gateway) - before
    assert (set(known), set(at_once), statuses) == ({welcome}, {welcome}, {refusal})
    own = 4 * len([*known, *at_once])  # Django's, for each request of a good session
    assert asked <= workers * (took / PAUSE_SECONDS + 2) + own, f"in {took:.1f} s; {gateway.output()}"


def good(office: Office, is_session: bool) -> str:
    """A key that was never used, or the session of a superuser who has just logged in."""
    if is_session:
        code = "answer = login(User.objects.create_superuser(f'user-{User.objects.count()}'))"
    else:
        code = "answer = ApiKey.objects.issue('feed')[1]"
    answer: str = office.do(code)
    return answer


async def test_unknown_credentials_are_counted(gateway: GatewayProcess) -> None:
    def counted() -> dict[str, int]:
        answer = httpx.get(f"{gateway.http}/metrics", timeout=30)  # of one worker or another
        assert answer.status_code == 200, answer.text
        lines = [line for line in answer.text.splitlines() if line.startswith("marketmux_limited_total{")]
        found = {line.split('reason="')[1].split('"')[0]: int(float(line.rpartition(" ")[2])) for line in lines}
        return {name: found[name] for name in ("unknown_keys", "unknown_sessions")}

    async with httpx.AsyncClient(base_url=gateway.http, timeout=30) as http:
        for number in range(200):
            await read(http, gateway, f"mmx_{number}")
            await read_with_a_session(http, gateway, f"made-up-session-{number}")
    assert min(counted().values()) > 0


async def test_a_socket_that_shows_made_up_tokens_asks_nothing(gateway: GatewayProcess, office: Office) -> None:
    key = await asyncio.to_thread(good, office, False)
    async with connect(gateway.ws, additional_headers={"authorization": f"Api-Key {key}"}) as client:
        await receive(client)
        before = queries(gateway)
        for number in range(5):
            await client.send(json.dumps({"action": "auth", "token": f"mmt_{number}"}))
            answer: Any = await receive(client)
            assert answer["code"] == "auth_failed"
    assert queries(gateway) - before <= 2  # what connections stand on is compared now and then
