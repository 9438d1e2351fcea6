"""``python -m marketmux.client``, and what the package needs."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process

from tests.client.fake import TIMEOUT, deaf, fake_gateway, snapshot


async def start(url: str, *symbols: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "marketmux.client", url, *symbols, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )


async def test_it_prints_ticks_until_it_is_interrupted() -> None:
    async with fake_gateway() as gateway:
        process = await start(gateway.url, "AAPL")
        peer = await gateway.peer()
        assert (await peer.subscribe())["symbols"] == ["AAPL"]
        await peer.send(snapshot(1041))
        await peer.tick(1043)
        assert process.stdout is not None
        async with asyncio.timeout(TIMEOUT):
            lines = [(await process.stdout.readline()).decode().rstrip() for _ in range(4)]
            process.send_signal(signal.SIGINT)
            _, errors = await process.communicate()
    assert lines[1:] == [
        "2026-05-12T15:04:05Z  AAPL  150  -  -  -  snapshot 1041",
        "# AAPL: 1 ticks missing (unexplained)",
        "2026-05-12T15:04:05.123456789Z  AAPL  150.250  -  -  -  tick 1043",
    ]
    assert (process.returncode, errors) == (130, b"")


async def test_it_says_why_it_cannot_go_on() -> None:
    async with fake_gateway() as gateway:
        gateway.status = 403
        process = await start(gateway.url, "AAPL")
        async with asyncio.timeout(TIMEOUT):
            _, errors = await process.communicate()
    assert (process.returncode, errors) == (1, b"the gateway refused the connection: HTTP 403\n")


async def said(process: Process, *parts: str) -> None:
    """Returns when standard error has had lines with these parts, in this order."""
    assert process.stderr is not None
    async with asyncio.timeout(TIMEOUT):
        for part in parts:
            while part not in (line := (await process.stderr.readline()).decode()):
                assert line, f"ended without {part!r}"


async def interrupt(process: Process) -> None:
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(TIMEOUT):
        await process.communicate()
    assert process.returncode == 130


async def test_it_says_what_it_does_while_nobody_answers() -> None:
    async with fake_gateway() as gateway:
        gateway.status = 503
        process = await start(gateway.url, "AAPL")
        await said(process, "# disconnected: 1006 HTTP 503; again in", "# waiting for the gateway to answer")
        gateway.status = None
        await said(process, "# connected; waiting for the subscription to be confirmed")
        await interrupt(process)


async def test_it_says_what_it_does_where_not_even_a_handshake_is_answered() -> None:
    with deaf() as url:
        process = await start(url, "AAPL")
        await said(process, "# waiting for the gateway to answer (1 s)")
        await interrupt(process)


def test_it_needs_nothing_else_of_the_project() -> None:
    code = "import sys, marketmux.client; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"gateway", "ticks", "django", "channels", "redis", "msgspec"}.isdisjoint(names)
    assert [name for name in names if name.startswith("marketmux.") and "client" not in name] == []
