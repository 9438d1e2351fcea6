"""``python -m marketmux_client``, its old name, and what the package needs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from tests.client.fake import TIMEOUT, deaf, fake_gateway, snapshot

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "clients/python/src"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE)}


async def start(url: str, *symbols: str) -> Process:
    command = [sys.executable, "-m", "marketmux_client", url, *symbols]
    return await asyncio.create_subprocess_exec(*command, env=ENVIRONMENT, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)


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


async def test_it_ends_with_what_reads_it() -> None:
    async with fake_gateway() as gateway:
        piped = '"$@" | head -1 >/dev/null; exit ${PIPESTATUS[0]}'
        command = ["bash", "-c", piped, "bash", sys.executable, "-m", "marketmux_client", gateway.url, "AAPL"]
        process = await asyncio.create_subprocess_exec(*command, env=ENVIRONMENT, stdin=DEVNULL, stderr=PIPE)
        peer = await gateway.peer()
        await peer.subscribe()
        ended = asyncio.create_task(process.communicate())
        async with asyncio.timeout(TIMEOUT):
            for seq in itertools.count(1041):
                with contextlib.suppress(ConnectionClosed):
                    await peer.tick(seq)
                if (await asyncio.wait([ended], timeout=0.05))[0]:
                    break
    assert (process.returncode, ended.result()[1]) == (0, b"")


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
    code = "import sys, marketmux_client; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    names = {name.partition(".")[0] for name in run.stdout.split()}
    assert {"marketmux", "gateway", "ticks", "bus", "django", "channels", "redis", "msgspec"}.isdisjoint(names)


def test_a_clone_has_it_under_its_old_name() -> None:
    """Without an installation: the gateway's own commands use it, and so does what was written for the old name."""
    old = ROOT / "marketmux" / "client"
    assert old.is_symlink()
    assert old.resolve() == SOURCE / "marketmux_client"
    code = "from marketmux.client import Client, books; print(Client.__module__, books.Books.__module__)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["marketmux.client.client", "marketmux.client.books"]
