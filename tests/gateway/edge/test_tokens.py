"""Tokens at the WebSockets' door: as a header, or as a subprotocol."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers
from channels.testing import WebsocketCommunicator
from pytest_django.fixtures import Settings

from bus.layers import MemoryLayer
from gateway.edge.watch import get_watch
from marketmux.asgi import application
from ticks.access.credentials import Audience
from ticks.access.grant import Scope
from ticks.access.jwts import LEEWAY
from ticks.access.models import ApiKey
from ticks.access.patterns import ALL, Patterns
from ticks.access.tokens import issue
from ticks.grammar import instant

pytestmark = pytest.mark.django_db(transaction=True)

HOST = (b"host", b"localhost:8000")
AUDIENCES = {"/ws": Audience.WS, "/ws/publish": Audience.PUBLISH}


@pytest.fixture(autouse=True)
async def own_bus() -> AsyncIterator[None]:
    channel_layers.set("default", MemoryLayer())
    yield
    await get_watch().close()
    channel_layers.backends.clear()


async def handshake(path: str, *subprotocols: str, headers: Any = (), query: bytes = b"") -> tuple[int, Any]:
    """101 and the subprotocol, or the status and the code of the refusal."""
    socket = WebsocketCommunicator(application, path, headers=[HOST, *headers], subprotocols=list(subprotocols))
    socket.scope["extensions"] = {"websocket.http.response": {}}
    socket.scope["query_string"] = query
    await socket.send_input({"type": "websocket.connect"})
    answer = await socket.receive_output(5)
    if answer["type"] == "websocket.accept":
        await socket.disconnect()
        return 101, answer["subprotocol"]
    if answer["type"] == "websocket.close":
        return 403, None
    return answer["status"], json.loads((await socket.receive_output())["body"])["code"]


@sync_to_async
def made(audience: Audience, **fields: Any) -> str:
    key, _ = ApiKey.objects.issue("feed", **fields)
    return issued(key, audience)


def issued(key: ApiKey, audience: Audience, scopes: dict[Scope, Patterns] | None = None) -> str:
    grant = key.grant(key.digest)
    assert grant is not None
    return issue(grant, audience, scopes).text


def bearer(token: str) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {token}".encode()


@pytest.mark.parametrize("path", AUDIENCES)
async def test_a_token_opens(path: str) -> None:
    token = await made(AUDIENCES[path])
    assert await handshake(path, headers=[bearer(token)]) == (101, None)
    assert await handshake(path, "marketmux", f"marketmux.token.{token}") == (101, "marketmux")
    assert await handshake(path, f"marketmux.token.{token}", "x", "marketmux") == (101, "marketmux")
    assert await handshake(path, f"marketmux.token.{token}") == (101, None)


@pytest.mark.parametrize("path", AUDIENCES)
@pytest.mark.parametrize("token", ["", "x", "mmt_x", "a.b.c", "A" * 5_000])
async def test_a_wrong_token_is_refused_where_nobody_need_have_shown_one(
    path: str, token: str, settings: Settings
) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    assert await handshake(path, "marketmux") == (101, "marketmux")
    assert (await handshake(path, "marketmux", f"marketmux.token.{token}"))[0] == 401
    assert (await handshake(path, headers=[bearer(token)]))[0] == 401


@pytest.mark.parametrize("path", AUDIENCES)
async def test_a_token_for_something_else_is_refused(path: str) -> None:
    for audience in set(Audience) - {AUDIENCES[path]}:
        token = await made(audience)
        assert await handshake(path, headers=[bearer(token)]) == (401, "token_wrong_audience")
        assert await handshake(path, "marketmux", f"marketmux.token.{token}") == (401, "token_wrong_audience")


@pytest.mark.parametrize("path", AUDIENCES)
async def test_one_credential_is_shown_and_not_several(path: str) -> None:
    token = await made(AUDIENCES[path])
    offered = ["marketmux", f"marketmux.token.{token}"]
    several = (401, "several_credentials")
    assert await handshake(path, *offered, headers=[bearer(token)]) == several
    assert await handshake(path, *offered, f"marketmux.token.{token}x") == several
    assert await handshake(path, headers=[bearer(token), bearer(token)]) == several
    assert await handshake(path, *offered, headers=[(b"authorization", b"Api-Key x")]) == several


@pytest.mark.parametrize("path", AUDIENCES)
@pytest.mark.parametrize("query", [b"token=x", b"access_token=x", b"key=x"])
async def test_a_credential_in_the_address_is_refused(path: str, query: bytes, settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    assert await handshake(path, query=query) == (401, "credential_in_url")
    assert (await handshake(path, query=b"v=1"))[0] == 101


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "": ({}, ""),
    "expired": ({"exp": 1}, "token_expired"),
    "early": ({"nbf": 32_503_680_000}, "token_not_yet_valid"),
    "issuer": ({"iss": "evil"}, "token_wrong_issuer"),
    "audience": ({"aud": "other"}, "token_wrong_audience"),
    "patterns": ({"marketmux": {"subscribe": ["A,B"]}}, "token_wrong_claims"),
}


@pytest.mark.parametrize("path", AUDIENCES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_jwt_opens_if_nothing_is_wrong_with_it(settings: Settings, path: str, fault: str) -> None:
    settings.MARKETMUX_JWT_SECRET = secret = "a secret of the tests, as long as one should be"
    settings.MARKETMUX_JWT_ISSUER, settings.MARKETMUX_JWT_AUDIENCE = "shop", "ticks"
    scopes = {"subscribe": ["AAPL"], "publish": ["AAPL"]}
    usual = {"iss": "shop", "aud": "ticks", "sub": "alice", "exp": time.time() + 60, "marketmux": scopes}
    changed, code = FAULTS[fault]
    token = jwt.encode(usual | changed, secret, "HS256")
    expected = (401, code) if code else None
    assert await handshake(path, headers=[bearer(token)]) == (expected or (101, None))
    assert await handshake(path, "marketmux", f"marketmux.token.{token}") == (expected or (101, "marketmux"))
    forged = jwt.encode(usual | changed, secret[::-1], "HS256")
    assert await handshake(path, headers=[bearer(forged)]) == (401, "token_invalid")
    assert await handshake(path, "marketmux", f"marketmux.token.{forged}") == (401, "token_invalid")


async def test_a_token_allows_what_it_has_a_scope_for() -> None:
    token = await made(Audience.WS, subscribe="")
    assert await handshake("/ws", headers=[bearer(token)]) == (403, None)


# Another token on an open connection


@asynccontextmanager
async def opened(path: str, token: str) -> AsyncIterator[Callable[..., Awaitable[list[Any]]]]:
    """A connection, as a function that sends a message and gives the messages up to its answer."""
    socket = WebsocketCommunicator(application, path, headers=[HOST, bearer(token)])
    assert (await socket.connect(timeout=5))[0]
    welcome = json.loads(await socket.receive_from(timeout=5))

    async def ask(**message: Any) -> list[Any]:
        if not message:
            return [welcome]
        await socket.send_to(json.dumps(message))
        heard: list[Any] = []
        while not heard or heard[-1]["type"] in {"access", "heartbeat"}:
            heard.append(json.loads(await socket.receive_from(timeout=10)))
        return [one for one in heard if one["type"] != "heartbeat"]

    yield ask
    await socket.disconnect()


SECRET = "a secret of the tests, as long as one should be"


@pytest.fixture
def minted(settings: Settings) -> Callable[..., str]:
    settings.MARKETMUX_JWT_SECRET = SECRET
    settings.MARKETMUX_JWT_ISSUER, settings.MARKETMUX_JWT_AUDIENCE = "shop", "ticks"

    def mint(*symbols: str, **changed: Any) -> str:
        scopes = {"subscribe": symbols, "publish": symbols}
        usual = {"iss": "shop", "aud": "ticks", "sub": "alice", "exp": int(time.time()) + 60, "marketmux": scopes}
        return jwt.encode(usual | changed, SECRET, "HS256")

    return mint


@pytest.mark.parametrize("path", AUDIENCES)
async def test_another_token_refreshes_the_connection(path: str, minted: Callable[..., str]) -> None:
    soon, later = int(time.time()) + 60, int(time.time()) + 900
    async with opened(path, minted("AAPL", "MSFT", exp=soon)) as ask:
        assert (await ask())[0]["expires_at"] == instant(soon + LEEWAY)
        (answer,) = await ask(action="auth", token=minted("AAPL", "MSFT", exp=later), id=1)
        assert answer == {"type": "auth", "expires_at": instant(later + LEEWAY), "id": 1}
        access, answer = await ask(action="auth", token=minted("AAPL"))
        assert (access["type"], access["patterns"], answer["type"]) == ("access", ["AAPL"], "auth")


@pytest.mark.parametrize("path", AUDIENCES)
async def test_a_connection_that_was_refreshed_outlives_its_first_token(path: str, minted: Callable[..., str]) -> None:
    async with opened(path, minted("A", exp=time.time() - LEEWAY + 4)) as ask:
        assert (await ask(action="auth", token=minted("A")))[-1]["type"] == "auth"
        await asyncio.sleep(5)
        assert (await ask(action="auth", token=minted("A")))[-1]["type"] == "auth"  # and was not closed


@pytest.mark.parametrize("path", AUDIENCES)
async def test_a_token_that_will_not_do_changes_nothing(path: str, minted: Callable[..., str]) -> None:
    wrong = [minted("B", sub="bob"), minted("B", exp=1), minted(), "", "x", "mmt_x", minted("B")[:-2], "a b"]
    async with opened(path, minted("A")) as ask:
        for token in wrong:
            (answer,) = await ask(action="auth", token=token)
            assert (answer["type"], answer["code"]) == ("error", "auth_failed"), token
        for message in ({"token": 5}, {"more": 1}, {"token": "x" * 5_000}, {"token": "x", "symbol": "A"}):
            (answer,) = await ask(action="auth", **message)
            assert answer["code"] in {"invalid_message", "invalid_ticks", "auth_failed"}
        (answer,) = await (ask(symbol="A", price=1) if path == "/ws/publish" else ask(action="subscribe", symbol="A"))
        assert answer["type"] in {"published", "subscribed"}


@pytest.mark.parametrize("path", AUDIENCES)
async def test_a_key_that_is_revoked_ends_what_was_refreshed_with_its_token(path: str) -> None:
    key, _ = await sync_to_async(ApiKey.objects.issue)("feed")

    def token() -> str:
        return issued(key, AUDIENCES[path], {Scope.SUBSCRIBE: ALL, Scope.PUBLISH: ALL})

    async with opened(path, token()) as ask:
        assert (await ask(action="auth", token=token()))[0]["type"] == "auth"
        key.active = False
        await sync_to_async(key.save)()
        for _ in range(100):
            (answer,) = await (ask(symbol="A", price=1) if path == "/ws/publish" else ask(action="ping"))
            if answer["type"] == "closing":
                break
            await asyncio.sleep(0.1)
        assert answer["code"] == 4003


async def test_ticks_that_speak_of_an_action_are_ticks() -> None:
    async with opened("/ws/publish", await made(Audience.PUBLISH)) as ask:
        (answer,) = await ask(symbol="A", price=1, extra={"action": "auth", "token": "x"})
        assert answer["type"] == "published"
        (answer,) = await ask(symbol="A", price=1, action="auth")
        assert answer["code"] == "invalid_ticks"
