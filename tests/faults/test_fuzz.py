"""Random and mutated frames and bodies at every entry, beside a client that gets each of its ticks in time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Callable
from typing import Final

import httpx
import pytest

from tests.clients import RawClient, publish, receive, subscriber, tick
from tests.conftest import StartGateway
from tests.faults.figures import figure
from tests.servers import GatewayProcess
from tests.worst import BODIES, LINES

FUZZERS: Final = 3
PATHS: Final = (
    b"/", b"/api/v1/ticks", b"/api/v1/ticks?page=2", b"/api/v1/ticks?after=", b"/api/v1/ticks/A", b"/healthz", b"/metrics",
    b"/api/v1/asyncapi.json", b"/admin/login/", b"/admin/marketmux_ticks/instrument/?q=a", b"/ws", b"/ws/publish",
)  # fmt: skip
HEADERS: Final = (
    b"Content-Type: application/json", b"Content-Type: application/x-ndjson", b"Accept: text/html", b"Cookie: a=b",
    b"Content-Type: application/x-www-form-urlencoded", b"Idempotency-Key: 1", b"Expect: 100-continue",
    b"Content-Encoding: gzip", b"Upgrade: websocket", b"Connection: close", b"Authorization: Api-Key x",
    b"Transfer-Encoding: chunked",
)  # fmt: skip
TICKS: Final = (
    b'{"symbol":"FUZZ","price":150.25}',
    b'[{"symbol":"FUZZ","price":"1e3","timestamp":"2026-05-12T15:04:05+02:00","bid":1,"ask":2,"size":3}]',
    b'{"symbol":"FUZZ","price":1,"extra":{"venue":"XNAS","fee":0.0030,"late":false,"note":null}}',
    b'{"key":"1","ticks":[{"symbol":"FUZZ","price":1}]}',
)
COMMANDS: Final = (
    b'{"action":"subscribe","symbol":"FUZZ","max_rate":5,"id":1}',
    b'{"action":"subscribe","symbols":["FUZZ","A"],"since":{"FUZZ":{"seq":1,"epoch":"5f3a9c1e"}},"snapshot":false}',
    b'{"action":"subscribe","symbol":"*"}',
    b'{"action":"unsubscribe","symbols":["FUZZ","*"]}',
    b'{"action":"list","id":"x"}',
    b'{"action":"ping"}',
)
WORST: Final = (*BODIES.values(), *LINES.values())


class Fuzzer:
    """Says one thing after another to a gateway and minds no answer."""

    def __init__(self, gateway: GatewayProcess, seed: int) -> None:
        self._gateway = gateway
        self._random = random.Random(seed)  # noqa: S311 - nothing is secret
        self.said = 0

    def run(self, until: float) -> None:
        entries = (self._request, self._request, self._bytes, self._subscriber, self._publisher)
        while time.monotonic() < until:
            # It may be closed on at any moment, and an answer to nonsense may never come.
            with contextlib.suppress(OSError, AssertionError, ValueError):
                self._random.choice(entries)()

    def _mutated(self, seed: bytes) -> bytes:
        """The seed, or what is left of it after some bytes were changed, doubled, cut or put in between."""
        text = bytearray(seed)
        for _ in range(self._random.choice((0, 0, 1, 2, 8))):
            at = self._random.randrange(len(text) + 1)
            match self._random.randrange(4):
                case 0:
                    text[at : at + 1] = self._random.randbytes(1)
                case 1:
                    text[at:at] = text[at : at + self._random.randrange(1, 40)] * self._random.choice((1, 2, 50))
                case 2:
                    del text[at : at + self._random.randrange(1, 40)]
                case _:
                    text[at:at] = self._random.choice(
                        (b"[", b"{", b'"', b",", b"\\ud800", b"\xff", b"1e999", b"\n", b"\0")
                    )
        return bytes(text)

    def _body(self) -> bytes:
        if self._random.random() < 0.03:
            return self._random.choice(WORST)
        return self._mutated(self._random.choice(TICKS))

    def _connected(self) -> socket.socket:
        return socket.create_connection((self._gateway.host, self._gateway.port), timeout=2)

    def _request(self) -> None:
        body = self._body() if self._random.random() < 0.7 else b""
        head = [
            self._random.choice((b"GET", b"POST", b"POST", b"PUT", b"HEAD"))
            + b" "
            + self._random.choice(PATHS)
            + b" HTTP/1.1"
        ]
        head += [b"Host: localhost", b"Content-Length: %d" % len(body)]
        head += self._random.sample(HEADERS, self._random.randrange(3))
        with self._connected() as client:
            client.sendall(b"\r\n".join([*head, b"", body]) if body else b"\r\n".join([*head, b"", b""]))
            client.recv(65_536)
        self.said += 1

    def _bytes(self) -> None:
        head = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        head += b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        with self._connected() as client:
            client.settimeout(0.05)
            client.sendall(self._mutated(head) if self._random.random() < 0.8 else self._random.randbytes(500))
            client.recv(65_536)
        self.said += 1

    def _subscriber(self) -> None:
        self._talk("/ws", lambda: self._mutated(self._random.choice(COMMANDS)))

    def _publisher(self) -> None:
        self._talk("/ws/publish", self._body)

    def _talk(self, path: str, message: Callable[[], bytes]) -> None:
        with RawClient(self._gateway, path=path) as client:
            client.socket.settimeout(2)
            for _ in range(self._random.randrange(1, 20)):
                if self._random.random() < 0.1:
                    client.socket.sendall(self._random.randbytes(self._random.randrange(1, 50)))
                else:
                    client.send(message(), self._random.choice((1, 1, 1, 1, 2, 0, 9, 10, 3)))
                self.said += 1
            client.read()


@pytest.mark.parametrize("seconds", [12, pytest.param(60, marks=pytest.mark.soak)])
async def test_whatever_is_said_to_the_gateway_others_get_their_ticks(
    start_gateway: StartGateway, redis_url: str, seconds: int
) -> None:
    gateway = start_gateway(redis_url)
    workers = gateway.pids
    seed = random.randrange(2**32)  # noqa: S311
    fuzzers = [Fuzzer(gateway, seed + number) for number in range(FUZZERS)]
    until = time.monotonic() + seconds
    sent: list[float] = []
    late: list[float] = []
    async with httpx.AsyncClient(base_url=gateway.http, timeout=30) as http, subscriber(gateway, "CALM") as bystander:

        async def post() -> None:
            while time.monotonic() < until:
                sent.append(time.monotonic())
                await publish(http, tick("CALM", len(sent)))
                await asyncio.sleep(0.05)
            await publish(http, tick("CALM", 0))

        posting = asyncio.create_task(post())
        fuzzing = [asyncio.create_task(asyncio.to_thread(fuzzer.run, until)) for fuzzer in fuzzers]
        async with asyncio.timeout(seconds + 60):
            while (message := await receive(bystander))["price"]:
                late.append(time.monotonic() - sent[len(late)])
                assert (message["price"], message["seq"]) == (len(late), len(late)), f"{message}, seed {seed}"
            await asyncio.gather(posting, *fuzzing)
    assert len(late) == len(sent)
    late.sort()
    said = sum(fuzzer.said for fuzzer in fuzzers)
    figure(
        f"{said:,} things said in {seconds} s; ticks late by {late[len(late) // 2] * 1e3:.0f} ms, {late[-1] * 1e3:.0f} at most"
    )
    assert said > 10 * seconds
    assert late[len(late) // 2] < 0.5, f"seed {seed}"
    assert late[-1] < 3, f"seed {seed}"
    assert gateway.pids == workers
    assert "Traceback" not in gateway.output(), f"seed {seed}"
