"""Prints what comes: ``python -m marketmux_client ws://127.0.0.1:8000/ws AAPL MSFT``."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from . import (
    Client,
    ClientError,
    Conflated,
    Connected,
    Delayed,
    Disconnected,
    Event,
    Gap,
    Snapshot,
    Tick,
)

__all__ = ["main"]

Show = Callable[[Client], Coroutine[Any, Any, None]]

_AT_FIRST: Final = 1.0
_AGAIN: Final = 10.0
"""Seconds until it is said what is waited for, and between saying it again."""


def line(event: Event) -> str:
    """One line of text for an event."""
    match event:
        case Tick() | Snapshot():
            values = (event.price, event.bid, event.ask, event.size)
            numbers = "  ".join("-" if value is None else format(value, "f") for value in values)
            kind = "tick" if isinstance(event, Tick) else "snapshot"
            return f"{event.timestamp}  {event.symbol}  {numbers}  {kind} {event.seq}"
        case Gap():
            count = "an unknown number of" if event.missed is None else event.missed
            return f"# {event.symbol}: {count} ticks missing ({event.reason})"
        case Conflated():
            return f"# {event.symbol}: {event.skipped} ticks skipped ({event.reason})"
        case Disconnected():
            return f"# disconnected: {event.code} {event.reason}; again in {event.wait:.1f} s"
        case Delayed():
            why = f"{event.code} ({event.reason})" if event.reason else event.code
            return f"# not subscribed yet: {why}: {event.message}"
        case _:
            return f"# {event}"


async def watch(client: Client, symbols: Sequence[str], max_rate: float | None, *shows: Show) -> None:
    """Runs ``shows`` with the client, one of which reads it, until there is no going on.

    What it waits for goes to standard error.
    """
    asking = asyncio.create_task(ask(client, symbols, max_rate))
    await asyncio.sleep(0)  # opening has begun
    tasks = [asking, *(asyncio.create_task(show(client)) for show in shows)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await client.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ask(client: Client, symbols: Sequence[str], max_rate: float | None) -> None:
    with patiently("waiting for the gateway to answer"):
        await client.open()
    with patiently("connected; waiting for the subscription to be confirmed"):
        await client.subscribe(*symbols, max_rate=max_rate)


async def show(client: Client) -> None:
    was_connected = False
    async for event in client:
        was_connected = was_connected or isinstance(event, Connected)
        stream = sys.stdout if was_connected else sys.stderr
        stream.write(line(event) + "\n")
        stream.flush()


@contextmanager
def patiently(what: str) -> Iterator[None]:
    """Says what is waited for, if it takes long."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    timer: asyncio.TimerHandle

    def say() -> None:
        nonlocal timer
        sys.stderr.write(f"# {what} ({loop.time() - began:.0f} s)\n")
        sys.stderr.flush()
        timer = loop.call_later(_AGAIN, say)

    timer = loop.call_later(_AT_FIRST, say)
    try:
        yield
    finally:
        timer.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description="Prints the ticks of symbols.")
    parser.add_argument("url", help="ws://host:port/ws")
    parser.add_argument("symbols", nargs="+", metavar="symbol", help="'*' is every symbol")
    parser.add_argument("--max-rate", type=float, help="ticks a second at most, for each symbol")
    parser.add_argument("--key", default=os.environ.get("MARKETMUX_KEY"), help="the API key (or MARKETMUX_KEY)")
    parser.add_argument("--proxy", help="the URL of a proxy; without it the environment's, if it names one")
    options = parser.parse_args(arguments)
    try:
        client = Client(options.url, key=options.key, proxy=options.proxy or True)
        asyncio.run(watch(client, options.symbols, options.max_rate, show))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # what reads this has seen enough, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the exit
        return 0
    except (ClientError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
