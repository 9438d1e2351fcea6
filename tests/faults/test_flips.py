"""Grants change under five hundred users of three gateways while ticks flow, and while Redis is away.

When a change counts is read off the ticks: each says when it was published, so a test machine that is slow to read
changes nothing. How slow the gateways were is read off the ticks of those whom no change concerned.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from tests.clients import receive
from tests.office import Office
from tests.servers import GatewayProcess, RedisServer

USERS: Final = 500
TEAMS: Final = 10
SYMBOLS: Final = [f"T{team}.{number}" for team in range(TEAMS) for number in range(10)]
"""Each team has ten, and each user takes the first and the last of them."""
RATE: Final = 500
SECONDS: Final = 2.0
"""Within which a change has to count."""

HIRE = """
teams = []
for number in range(TEAMS):
    group = Group.objects.create(name=f"team {number}")
    group.permissions.set(permissions("subscribe", "read"))
    Entitlement.objects.create(group=group, subscribe=f"T{number}.*", read=f"T{number}.*")
    teams.append(group)
answer = []
for number in range(USERS):
    user = User.objects.create(username=f"user{number}")
    user.groups.add(teams[number % TEAMS])
    answer.append(login(user))
"""


class User:
    """One connected user: when the newest tick of each symbol was published, and what it was told."""

    def __init__(self, number: int, socket: ClientConnection) -> None:
        self.number = number
        self.team = number % TEAMS
        self.socket = socket
        self.published: dict[str, float] = {}
        self.oldest = 0.0
        """How old a tick was when it was read, at most, since this was last set to 0."""
        self.told: list[dict[str, Any]] = []
        self.closed: int | None = None
        self.after: list[str] = []
        """Ticks of symbols that it had been told it had lost."""
        self._lost: set[str] = set()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                message = json.loads(text)
                match message["type"]:
                    case "tick" | "snapshot":
                        symbol, published = message["symbol"], message["price"] / 1_000
                        self.published[symbol] = published
                        self.oldest = max(self.oldest, time.time() - published)
                        if symbol in self._lost:
                            self.after.append(symbol)
                    case "access":
                        self.told.append(message)
                        self._lost |= set(message.get("lost", ()))
        except websockets.ConnectionClosed:
            pass
        self.closed = self.socket.close_code

    async def close(self) -> None:
        await self.socket.close()
        await self._reading


class Flips:
    def __init__(self, gateways: list[GatewayProcess], office: Office) -> None:
        self.gateways = gateways
        self.office = office
        self.users: list[User] = []
        self.refused = 0

    async def connect(self) -> None:
        sessions = await asyncio.to_thread(self.office.do, HIRE, TEAMS=TEAMS, USERS=USERS)
        slots = asyncio.Semaphore(20)

        async def come(number: int, session: str) -> User:
            async with slots:
                gateway = self.gateways[number % len(self.gateways)]
                headers = {"Cookie": f"sessionid={session}"}
                socket = await websockets.connect(
                    gateway.ws, additional_headers=headers, compression=None, ping_interval=None, open_timeout=60
                )
                assert (await receive(socket))["type"] == "welcome"
                team = number % TEAMS
                await socket.send(json.dumps({"action": "subscribe", "symbols": [f"T{team}.0", f"T{team}.9"]}))
                assert (await receive(socket))["type"] == "subscribed"
                return User(number, socket)

        self.users = list(await asyncio.gather(*[come(number, session) for number, session in enumerate(sessions)]))

    async def publish(self, key: str) -> None:
        """Ticks whose price is the time in milliseconds, of all symbols in turn; goes on while Redis is away."""
        symbols = itertools.cycle(SYMBOLS)
        batch = RATE // 20
        async with httpx.AsyncClient(base_url=self.gateways[0].http, timeout=30) as http:
            while True:
                began = time.time()
                ticks = [{"symbol": next(symbols), "price": int(time.time() * 1_000)} for _ in range(batch)]
                answer = await http.post("/api/v1/ticks", json=ticks, headers={"Authorization": f"Api-Key {key}"})
                self.refused += answer.status_code != 202
                await asyncio.sleep(max(0.0, began + 0.05 - time.time()))

    async def flip(self, code: str, **values: Any) -> float:
        """Changes something; returns when that was committed."""
        for user in self.users:
            user.oldest = 0.0
        await asyncio.to_thread(self.office.do, code, **values)
        return time.time()

    async def wait(self, condition: Any) -> None:
        """Until it holds, for as long as a busy machine may take."""
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - what it waits for has no event
                await asyncio.sleep(0.02)

    def slowness(self, concerned: Iterable[User]) -> float:
        """How old the ticks were that others read meanwhile."""
        return max(user.oldest for user in set(self.users) - set(concerned) if user.closed is None)

    async def settle(self, at: float) -> None:
        """Long enough after a change for a tick to come that should not."""
        await asyncio.sleep(max(0.0, at + SECONDS + 1.0 - time.time()))


@pytest.fixture
async def flips(tmp_path: Path, migrated_database: Path, redis_server: RedisServer) -> AsyncIterator[Flips]:
    first = GatewayProcess(
        tmp_path / "gateway0", redis_url=redis_server.url, database=migrated_database, MARKETMUX_ANONYMOUS="0"
    )
    others = [
        GatewayProcess(
            tmp_path / f"gateway{number}",
            redis_url=redis_server.url,
            DATABASE_URL=first.environment["DATABASE_URL"],
            MARKETMUX_ANONYMOUS="0",
        )
        for number in (1, 2)
    ]
    gateways = [first, *others]
    try:
        for gateway in gateways:
            gateway.start()
        with Office(first.environment) as office:
            yield Flips(gateways, office)
        for gateway in gateways:
            gateway.stop()
    finally:
        for gateway in gateways:
            gateway.kill()


async def test_what_is_taken_away_is_gone_within_two_seconds_everywhere(
    flips: Flips, redis_server: RedisServer
) -> None:
    office = flips.office
    feed = await asyncio.to_thread(office.do, "answer = ApiKey.objects.issue('feed')[1]")
    keys = await asyncio.to_thread(office.do, "answer = [ApiKey.objects.issue(f'key {n}')[1] for n in range(12)]")
    await flips.connect()
    publishing = asyncio.create_task(flips.publish(feed))
    teams: dict[int, list[User]] = defaultdict(list)
    for user in flips.users:
        teams[user.team].append(user)
    undisturbed = {user for team in range(6, TEAMS) for user in teams[team]}
    try:
        await flips.wait(lambda: all(len(user.published) == 2 for user in flips.users))

        # Narrowed: the last symbol of team 0.
        at = await flips.flip("e = Entitlement.objects.get(group__name='team 0'); e.subscribe = 'T0.0'; e.save()")
        await flips.wait(lambda: all(user.told for user in teams[0]))
        await flips.settle(at)
        for user in teams[0]:
            assert user.told == [{"type": "access", "patterns": ["T0.0"], "lost": ["T0.9"]}]
            assert user.published["T0.9"] <= at + SECONDS + flips.slowness(teams[0])
            assert user.published["T0.0"] > at
            assert not user.after

        # Widened: team 1 may see what team 0 has lost.
        at = await flips.flip("e = Entitlement.objects.get(group__name='team 1'); e.subscribe = 'T1.* T0.9'; e.save()")
        await flips.wait(lambda: all(user.told for user in teams[1]))
        await teams[1][0].socket.send(json.dumps({"action": "subscribe", "symbol": "T0.9"}))
        await flips.wait(lambda: teams[1][0].published.get("T0.9", 0) > at)
        assert all("lost" not in user.told[0] for user in teams[1])

        # Deactivated: half of team 2.
        gone = teams[2][: len(teams[2]) // 2]
        at = await flips.flip(
            "for name in names:\n    u = User.objects.get(username=name); u.is_active = False; u.save()",
            names=[f"user{user.number}" for user in gone],
        )
        await assert_cut(flips, gone, at)
        assert all(user.closed is None for user in teams[2][len(gone) :])

        # Revoked: keys, of subscribers and publishers.
        async with contextlib.AsyncExitStack() as stack:
            sockets = [
                await stack.enter_async_context(
                    websockets.connect(
                        flips.gateways[number % 3].ws + ("/publish" if number % 2 else ""),
                        additional_headers={"Authorization": f"Api-Key {key}"},
                        compression=None,
                    )
                )
                for number, key in enumerate(keys)
            ]
            await flips.flip("for k in ApiKey.objects.filter(name__startswith='key '):\n    k.active = False; k.save()")
            await asyncio.wait_for(asyncio.gather(*[socket.wait_closed() for socket in sockets]), 30)
            assert {socket.close_code for socket in sockets} == {4003}

        # While Redis is away.
        redis_server.kill()
        gone = teams[3][: len(teams[3]) // 2]
        at = await flips.flip(
            "for name in names:\n    u = User.objects.get(username=name); u.is_active = False; u.save()\n"
            "e = Entitlement.objects.get(group__name='team 4'); e.subscribe = 'T4.0'; e.save()",
            names=[f"user{user.number}" for user in gone],
        )
        await flips.wait(lambda: all(user.closed for user in gone) and all(user.told for user in teams[4]))
        took = time.time() - at
        redis_server.start()
        refused = flips.refused
        assert refused
        back = time.time()
        await flips.wait(lambda: all(user.published["T4.0"] > back for user in teams[4]))
        assert {user.closed for user in gone} == {4003}
        assert all(user.published["T4.9"] <= at for user in teams[4])
        assert took < 10, "the database alone has to tell, and no answer of Redis is waited for"

        # Nobody else noticed more than that Redis was away.
        await flips.wait(lambda: all(user.published[f"T{user.team}.9"] > back for user in undisturbed))
        assert not any(user.told or user.closed for user in undisturbed)
        assert not any(user.after for user in flips.users)
    finally:
        publishing.cancel()
        await asyncio.gather(*[user.close() for user in flips.users])
    for gateway in flips.gateways:
        assert "Traceback" not in gateway.output()


async def assert_cut(flips: Flips, users: list[User], at: float) -> None:
    await flips.wait(lambda: all(user.closed for user in users))
    assert {user.closed for user in users} == {4003}
    slowness = flips.slowness(users)
    assert all(max(user.published.values()) <= at + SECONDS + slowness for user in users)
