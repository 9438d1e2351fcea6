"""Prints what comes: ``python -m marketmux.client ws://127.0.0.1:8000/ws AAPL MSFT``."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from marketmux.client import Client, ClientError, Conflated, Disconnected, Event, Gap, Snapshot, Tick

__all__ = ["main"]


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
        case _:
            return f"# {event}"


async def watch(url: str, key: str | None, symbols: Sequence[str], max_rate: float | None) -> None:
    async with Client(url, key=key) as client:
        await client.subscribe(*symbols, max_rate=max_rate)
        async for event in client:
            sys.stdout.write(line(event) + "\n")
            sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m marketmux.client", description="Prints the ticks of symbols.")
    parser.add_argument("url", help="ws://host:port/ws")
    parser.add_argument("symbols", nargs="+", metavar="symbol", help="'*' is every symbol")
    parser.add_argument("--max-rate", type=float, help="ticks a second at most, for each symbol")
    parser.add_argument("--key", default=os.environ.get("MARKETMUX_KEY"), help="the API key (or MARKETMUX_KEY)")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(watch(options.url, options.key, options.symbols, options.max_rate))
    except KeyboardInterrupt:
        return 130
    except ClientError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
