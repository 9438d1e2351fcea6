"""``manage.py watch``: the table in a terminal, the lines elsewhere, and the end by Ctrl-C."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import fcntl
import os
import re
import signal
import struct
import sys
import termios
import tty
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from decimal import Decimal
from io import StringIO

import pytest
from rich.console import Console

from marketmux.board import Board
from marketmux.client import (
    AccessChanged,
    BusState,
    Conflated,
    Connected,
    Disconnected,
    Event,
    Gap,
    Snapshot,
    Tick,
)
from marketmux.management.commands.watch import _websocket
from tests.client.fake import TIMEOUT, fake_gateway, snapshot, tick
from tests.environment import clean_environment
from tests.servers import ROOT, GatewayProcess

NOW = 1_000.0


def drawn(board: Board, height: int = 20, now: float = NOW) -> str:
    screen = StringIO()
    Console(width=140, file=screen).print(board.table(height, now))
    return screen.getvalue()


def told(*events: Event, symbols: tuple[str, ...] = ("AAPL", "MSFT")) -> Board:
    board = Board("ws://gateway/ws", symbols)
    for event in events:
        board.take(event, NOW)
    return board


def price(symbol: str, value: str, seq: int = 1) -> Tick:
    return Tick(symbol, Decimal(value), "2026-05-12T15:04:05Z", seq, Decimal("1.50"), Decimal("1.60"))


def cells(board: Board, symbol: str, now: float = NOW) -> list[str]:
    [line] = [line for line in drawn(board, now=now).splitlines() if f"│ {symbol} " in line]
    return [cell.strip() for cell in line.split("│")[1:-1]]


# The board


def test_a_row_has_price_change_quote_age_and_what_did_not_come() -> None:
    board = told(
        price("AAPL", "150.250"),
        Conflated("AAPL", 3, "rate"),
        price("AAPL", "151.750", 5),
        Gap("AAPL", 7, "bus", 12, "e"),
    )
    assert cells(board, "AAPL", NOW + 3.25) == [
        *("AAPL", "151.750", "+1.500 +1.00%", "1.50", "1.60", "3.2 s", "2", "3", "7")
    ]
    assert cells(board, "MSFT") == ["MSFT", "-", *[""] * 7]


@pytest.mark.parametrize(
    ("seconds", "age"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min"), (7_300, "2 h"), (1e6, "11 d")]
)
def test_an_age_is_short(seconds: float, age: str) -> None:
    assert cells(told(price("AAPL", "1")), "AAPL", NOW + seconds)[5] == age


def test_the_last_price_of_a_market_that_closed_is_as_old_as_it_is() -> None:
    board = told(Snapshot("AAPL", Decimal(1), "2001-01-01T00:00:00Z", 1, "e"))
    assert cells(board, "AAPL")[5].endswith(" d")


def test_the_caption_says_how_it_is_with_the_connection() -> None:
    assert "ws://gateway/ws  connecting ..." in drawn(told())
    assert "connected, version 1.2" in drawn(told(Connected("1.2")))
    lost = told(Connected("1.2"), Disconnected(1012, "The gateway restarts.", 4.0))
    assert "no connection: 1012 The gateway restarts.; again in 3 s" in drawn(lost, now=NOW + 1)
    assert "prices may be stale" in drawn(told(Connected("1.2"), BusState(connected=False)))
    assert "stale" not in drawn(told(BusState(connected=False), Disconnected(1006, "", 1), Connected("1.2")))


def test_of_more_symbols_than_there_are_lines_it_says_how_many_more() -> None:
    board = told(*(price(f"S{number:05}", "1") for number in range(1_000)), symbols=("*",))
    text = drawn(board, height=10)
    assert "and 990 more" in text
    assert len(text.splitlines()) <= 16


def test_a_symbol_that_may_not_be_seen_any_more_goes() -> None:
    assert "AAPL" not in drawn(told(price("AAPL", "1"), AccessChanged(("AAPL",))))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/ws"),
        ("https://ticks.example.com/", "wss://ticks.example.com/ws"),
        ("wss://ticks.example.com/other/ws", "wss://ticks.example.com/other/ws"),
    ],
)
def test_a_gateway_may_be_named_as_in_a_browser(url: str, address: str) -> None:
    assert _websocket(url) == address


# The command


class Terminal:
    """The command in a terminal of 100 by 24."""

    def __init__(self, process: Process, master: int) -> None:
        self.process = process
        self._master = master
        self._decode = codecs.getincrementaldecoder("utf-8")().decode  # a read may end in the middle of a character
        self.output = ""

    async def shows(self, *texts: str) -> None:
        """Returns when all of these have been on the screen since the last call."""
        start, seen = len(self.output), ""
        async with asyncio.timeout(TIMEOUT):
            while not all(text in seen for text in texts):
                await self._read()
                seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.output[start:])

    async def _read(self) -> str:
        text = self._decode(await asyncio.to_thread(os.read, self._master, 65_536))
        self.output += text
        return text


@contextlib.asynccontextmanager
async def terminal(*arguments: str) -> AsyncIterator[Terminal]:
    master, slave = os.openpty()
    tty.setraw(slave)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = await start(*arguments, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = Terminal(process, master)
    try:
        yield shown
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(TIMEOUT):
            with contextlib.suppress(OSError):  # what Linux says at the end of a terminal
                while await shown._read():
                    pass
            assert await process.wait() == 0
        assert "Traceback" not in shown.output
        assert shown.output.rindex("\x1b[?25h") > shown.output.rindex("\x1b[?25l")  # the cursor is back
    finally:
        os.close(master)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def start(*arguments: str, stdin: int = DEVNULL, stdout: int = PIPE, stderr: int = PIPE) -> Process:
    environment = clean_environment() | {"TERM": "xterm", "SECRET_KEY": "of the tests"}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "manage.py", "watch", *arguments),
        cwd=ROOT,
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )


async def test_in_a_terminal_it_is_a_table_that_comes_back() -> None:
    async with fake_gateway() as gateway, terminal("AAPL", "MSFT", f"--url=http://127.0.0.1:{gateway.port}") as shown:
        peer = await gateway.peer()
        assert (await peer.subscribe())["symbols"] == ["AAPL", "MSFT"]
        await shown.shows("connected, version 0.1.0", "MSFT")
        await peer.send(snapshot(1041))
        await peer.tick(1042)
        await shown.shows("150.250", "+0.250 +0.17%")
        gateway.status = 503  # until its absence has been drawn: a client that may come back at once does
        await peer.close(1012, "The gateway restarts.")
        await shown.shows("no connection: ", "; again in")
        gateway.status = None
        peer = await gateway.peer()
        await peer.subscribe(AAPL={"seq": 1042, "epoch": "5f3a9c1e", "recovered": True})
        await peer.send(tick(1043).replace("150.250", "149.5"))
        await shown.shows("149.5", "-0.5 -0.33%", "connected, version")


@pytest.mark.soak
async def test_elsewhere_it_is_lines(gateway: GatewayProcess) -> None:
    process = await start("*", f"--url={gateway.ws}")
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT):
        assert "Connected" in (await process.stdout.readline()).decode()
        process.send_signal(signal.SIGINT)
        assert await process.communicate() == (b"", b"")
    assert process.returncode == 0


async def test_a_refusal_is_one_line() -> None:
    async with fake_gateway() as gateway:
        gateway.status = 403
        process = await start("AAPL", f"--url={gateway.url}", "--key=mmx_wrong")
        async with asyncio.timeout(TIMEOUT):
            _, errors = await process.communicate()
        assert gateway.handshakes[0].headers["Authorization"] == "Api-Key mmx_wrong"
    assert errors == b"CommandError: the gateway refused the connection: HTTP 403\n"
