"""Tokens over real sockets: what the gateway answers and prints, and what clients that come back cost."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.clients import receive
from tests.conftest import StartGateway
from tests.servers import GatewayProcess, RedisServer

CLIENTS = 300


def key_of(gateway: GatewayProcess) -> str:
    return next(word for word in gateway.manage("create_key", "desk").split() if word.startswith("mmx_"))


def token_of(gateway: GatewayProcess, key: str, **wanted: Any) -> str:
    headers = {"authorization": f"Api-Key {key}"}
    answer = httpx.post(f"{gateway.http}/api/v1/tokens", json=wanted, headers=headers, timeout=30)
    token: str = answer.raise_for_status().json()["token"]
    return token


def options(token: str, way: str) -> dict[str, Any]:
    if way == "bearer":
        return {"additional_headers": {"Authorization": f"Bearer {token}"}}
    return {"subprotocols": ["marketmux", f"marketmux.token.{token}"]}


@pytest.mark.parametrize(
    "server", ["serve", *(pytest.param(other, marks=pytest.mark.soak) for other in ("daphne", "uvicorn"))]
)
async def test_a_token_opens_the_websockets_of_every_server_and_is_echoed_and_logged_nowhere(
    start_gateway: StartGateway, server: Any
) -> None:
    gateway = start_gateway(server=server, arguments=("-v", "2") if server == "daphne" else (), MARKETMUX_ANONYMOUS="0")
    key = key_of(gateway)
    for path, audience in (("/ws", "ws"), ("/ws/publish", "publish")):
        token = token_of(gateway, key, audience=audience)
        address = f"{gateway.ws.removesuffix('/ws')}{path}"
        for way in ("bearer", "subprotocol"):
            async with connect(address, **options(token, way)) as socket:
                assert (await receive(socket))["type"] == "welcome"
                assert socket.subprotocol == ("marketmux" if way == "subprotocol" else None)
                assert socket.response is not None
                assert token not in str(socket.response.headers)
            wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
            with pytest.raises(websockets.InvalidStatus) as refused:
                await connect(address, **options(wrong, way))
            assert refused.value.response.status_code == (403 if server == "daphne" else 401)
    gateway.stop()
    assert token[:40] not in gateway.output()
    if server == "serve":
        assert "Traceback" not in gateway.output()


async def test_a_refused_handshake_is_told_why(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_ANONYMOUS="1")
    token = token_of(gateway, key_of(gateway), audience="publish")
    for address, way, code in (
        (gateway.ws, options(token, "bearer"), "token_wrong_audience"),
        (gateway.ws, options("mmt_x", "subprotocol"), "token_invalid"),
        (f"{gateway.ws}?token={token}", {}, "credential_in_url"),
    ):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await connect(address, **way)
        response = refused.value.response
        assert (response.status_code, json.loads(response.body or b"")["code"]) == (401, code)
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["www-authenticate"] == "Api-Key"


@pytest.mark.soak
async def test_clients_that_come_back_with_tokens_cost_redis_nothing(
    start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    gateway = start_gateway(redis_server.url, MARKETMUX_ANONYMOUS="0")
    token = token_of(gateway, key_of(gateway))

    async def come() -> None:
        async with connect(gateway.ws, **options(token, "subprotocol")) as socket:
            assert (await receive(socket))["type"] == "welcome"

    await come()
    commands = calls(redis_server)
    for _ in range(CLIENTS // 50):
        await asyncio.gather(*(come() for _ in range(50)))
    # What a gateway says in any case, a ping, how it is, does not grow with clients: a busy machine takes longer for them.
    new = {name: count - commands.get(name, 0) for name, count in calls(redis_server).items()}
    assert max(new.values()) < CLIENTS / 10, new


def calls(redis: RedisServer) -> dict[str, int]:
    """How often each command was called so far, by its name."""
    stats = (line.removeprefix("cmdstat_").partition(":calls=") for line in redis.info("commandstats") if ":" in line)
    return {name: int(rest.partition(",")[0]) for name, _, rest in stats if name != "info"}
