"""Who may do what: every cell of the matrix in docs/explanation/security.md, over one worker and two.

Three symbols have ticked, AAPL, BTC-USD and MSFT, and what is asked for is MSFT. The narrowed key has AAPL and BTC-* for
everything.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import jwt
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.clients import EventStream, receive
from tests.office import Office
from tests.servers import GatewayProcess, RedisServer

PAGE: Final = Path(__file__).resolve().parents[2] / "docs/explanation/security.md"
SECRET: Final = "of the application, and of nobody else"
WRONG_SECRET: Final = "made up by somebody, and long enough too"
METRICS: Final = "the token of the metrics"
SYMBOLS: Final = ("AAPL", "BTC-USD", "MSFT")
ISSUE: Final = """
def user(name, *scopes, **fields):
    one = User.objects.create(username=name, **fields)
    one.user_permissions.set(permissions(*scopes))
    return login(one)

past = timezone.now() - timedelta(days=1)
narrow = dict.fromkeys(["publish", "subscribe", "read"], "AAPL BTC-*")
answer = {
    "key": ApiKey.objects.issue("good")[1],
    "narrowed key": ApiKey.objects.issue("narrow", **narrow)[1],
    "expired key": ApiKey.objects.issue("old", expires_at=past)[1],
    "revoked key": ApiKey.objects.issue("gone", active=False)[1],
    "session of a user": user("ada"),
    "of a user with permissions": user("bob", "subscribe", "read"),
    "of staff": user("carl", is_staff=True),
    "of a superuser": user("root", is_staff=True, is_superuser=True),
}
"""

PATHS: Final = {
    "admin": "/admin/marketmux_ticks/apikey/",
    "debug": "/debug/",
    "metrics": "/metrics",
    "nodes": "/api/v1/nodes",
    "connections": "/api/v1/connections",
}

Rows = dict[str, dict[str, str]]


def matrix() -> Rows:
    """The table in the documentation: a row for each credential, a column for each thing to do."""
    text = PAGE.read_text().split("\n## Who may do what\n")[1].split("\n## ")[0]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    head = [name.strip("`") for name in lines[0]]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in lines[2:]}


ROWS: Final = matrix()


def claims(**changed: Any) -> dict[str, Any]:
    patterns = {"publish": ["*"], "subscribe": ["*"], "read": ["*"]}
    usual = {"iss": "shop", "aud": "ticks", "sub": "ada", "exp": int(time.time()) + 3_600, "marketmux": patterns}
    return {name: value for name, value in (usual | changed).items() if value is not None}


def jwts() -> dict[str, str]:
    def signed(secret: str = SECRET, **changed: Any) -> str:
        return jwt.encode(claims(**changed), secret, "HS256")

    return {
        "JWT": signed(),
        "JWT of a part": signed(marketmux={"subscribe": ["AAPL"], "read": ["AAPL"]}),
        "JWT without patterns": signed(marketmux=None),
        "JWT, expired": signed(exp=int(time.time()) - 3_600),
        "JWT, not valid yet": signed(nbf=int(time.time()) + 3_600),
        "JWT, other issuer": signed(iss="else"),
        "JWT, other audience": signed(aud="else"),
        "JWT, no expiry": signed(exp=None),
        "JWT, other signature": signed(WRONG_SECRET),
        "JWT, no signature": jwt.encode(claims(), "", "none"),
    }


class Door:
    """A gateway, and the credentials to try it with."""

    def __init__(self, gateway: GatewayProcess, issued: dict[str, str]) -> None:
        self.gateway = gateway
        self.issued = issued
        self._serial = itertools.count(1)

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.gateway.http, timeout=30)

    def headers(self, who: str, audience: str) -> dict[str, str]:
        fixed = {
            "nobody": {},
            "unknown key": {"authorization": "Api-Key mmx_guess"},
            "metrics token": {"authorization": f"Bearer {METRICS}"},
        }
        if who in fixed:
            return fixed[who]
        if who.startswith("token"):
            with self.http() as http:
                key = {"authorization": f"Api-Key {self.issued['narrowed key' if 'narrowed' in who else 'key']}"}
                answer = http.post("/api/v1/tokens", json={"audience": audience}, headers=key)
                return {"authorization": f"Bearer {answer.raise_for_status().json()['token']}"}
        if who.endswith("key"):
            return {"authorization": f"Api-Key {self.issued[who]}"}
        if who.startswith("JWT"):
            return {"authorization": f"Bearer {jwts()[who]}"}
        return {"cookie": f"sessionid={self.issued[who]}; csrftoken={'c' * 32}", "x-csrftoken": "c" * 32}

    def ask(self, who: str, what: str) -> str:
        """What the cell should say."""
        if what.startswith(("/ws", "stream")):
            return self.stream(who) if what == "stream" else asyncio.run(self.open(who, what))
        headers = self.headers(who, "http")
        tick = {"symbol": "MSFT", "price": next(self._serial)}
        with self.http() as http:
            match what:
                case "POST":
                    answer = http.post("/api/v1/ticks", json=tick, headers=headers)
                case "tokens":
                    answer = http.post("/api/v1/tokens", json={"audience": "ws"}, headers=headers)
                case "list":
                    answer = http.get("/api/v1/ticks", headers=headers)
                    if answer.status_code == 200:
                        body = answer.json()
                        assert body["count"] == len(body["results"])
                        return f"{body['count']} symbols"
                case "one":
                    answer = http.get("/api/v1/ticks/MSFT", headers=headers)
                case "access":
                    answer = http.get("/api/v1/access", params={"symbol": "MSFT"}, headers=headers)
                    if answer.status_code == 200:
                        body = answer.json()
                        scopes = [scope[0] for scope in ("publish", "subscribe", "read") if body[scope]["allowed"]]
                        return "".join(scopes) or "none"
                case _:
                    answer = http.get(PATHS[what], headers=headers)
        return str(answer.status_code)

    def stream(self, who: str) -> str:
        with EventStream(self.gateway, "symbols=MSFT", self.headers(who, "http")) as stream:
            if stream.status != 200:
                code: str = json.load(stream.response)["code"]
                return code if code == "access_denied" else str(stream.status)
            assert stream.read_until("subscribed")[-1]["symbols"] == ["MSFT"]
            return "yes"

    async def open(self, who: str, what: str) -> str:
        path, _, how = what.partition(" ")
        audience = "publish" if path == "/ws/publish" else "ws"
        address = self.gateway.ws.removesuffix("/ws") + path
        try:
            async with connect(address, additional_headers=self.headers(who, audience), compression=None) as socket:
                assert (await receive(socket))["type"] == "welcome"
                said: str = await getattr(self, f"_{how or 'publish'}")(socket)
                return said
        except websockets.InvalidStatus as refused:
            return str(refused.response.status_code)

    async def _subscribe(self, socket: ClientConnection) -> str:
        return self._said(await _ask(socket, action="subscribe", symbol="MSFT"))

    async def _everything(self, socket: ClientConnection) -> str:
        answer = await _ask(socket, action="subscribe", symbol="*")
        seen = set(answer.get("positions", {}))
        if answer["type"] == "subscribed":
            assert {(await receive(socket))["symbol"] for _ in seen} == seen
        return f"{len(seen)} symbols"

    async def _since(self, socket: ClientConnection) -> str:
        since = {"seq": 0, "epoch": "made up"}
        return self._said(await _ask(socket, action="subscribe", symbol="MSFT", since=since))

    async def _publish(self, socket: ClientConnection) -> str:
        return self._said(await _ask(socket, symbol="MSFT", price=next(self._serial)))

    def _said(self, answer: dict[str, Any]) -> str:
        return "yes" if answer["type"] != "error" else str(answer["code"])


async def _ask(socket: ClientConnection, **message: Any) -> dict[str, Any]:
    await socket.send(json.dumps(message))
    answer: dict[str, Any] = await receive(socket)
    return answer


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.soak)], ids=["one worker", "two workers"])
def door(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    migrated_database: Path,
    shared_redis: RedisServer,
) -> Iterator[Door]:
    shared_redis.flush()
    gateway = GatewayProcess(
        tmp_path_factory.mktemp("matrix"),
        workers=request.param,
        redis_url=shared_redis.url,
        database=migrated_database,
        MARKETMUX_ANONYMOUS="0",
        MARKETMUX_JWT_SECRET=SECRET,
        MARKETMUX_JWT_ISSUER="shop",
        MARKETMUX_JWT_AUDIENCE="ticks",
        MARKETMUX_METRICS_TOKEN=METRICS,
    )
    gateway.start()
    try:
        with Office(gateway.environment) as office:
            door = Door(gateway, office.do(ISSUE))
        ticks = [{"symbol": symbol, "price": 1} for symbol in SYMBOLS]
        with door.http() as http:
            http.post("/api/v1/ticks", json=ticks, headers=door.headers("key", "http")).raise_for_status()
        yield door
        assert "Traceback" not in gateway.output()
        gateway.stop()
    finally:
        gateway.kill()


@pytest.mark.parametrize("who", ROWS)
def test_every_cell(door: Door, who: str) -> None:
    assert {what: door.ask(who, what) for what in ROWS[who]} == ROWS[who]
