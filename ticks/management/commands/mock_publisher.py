"""``manage.py mock_publisher``: believable prices, published to the bus or over HTTP."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from bus.layers import is_shared
from ticks import feed, publish
from ticks.grammar import check_symbol
from ticks.poster import Poster, PublishRefused
from ticks.tick import Tick


def symbols(text: str) -> list[str]:
    """The symbols of a comma-separated list."""
    return [check_symbol(symbol) for symbol in text.split(",")]


def positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


class CountingPublisher:
    """Passes batches on and counts the ticks that were published."""

    def __init__(self, publish: feed.Publish) -> None:
        self._publish = publish
        self.published = 0

    async def publish(self, ticks: Sequence[Tick]) -> None:
        await self._publish(ticks)
        self.published += len(ticks)


class Command(BaseCommand):
    help = "Publishes mock prices until Ctrl-C: to the bus at REDIS_URL, or with --url to a gateway over HTTP."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--symbols", type=symbols, help="comma-separated; the active instruments if not given")
        parser.add_argument("--rate", type=positive, default=50.0, help="ticks per second, all symbols together (50)")
        parser.add_argument("--url", help="publish over HTTP to the gateway at this address: http://127.0.0.1:8000")
        key = os.environ.get("MARKETMUX_KEY")  # command lines are for everybody to see
        parser.add_argument("--key", default=key, help="the API key to publish with over HTTP (or MARKETMUX_KEY)")
        parser.add_argument("--seconds", type=positive, help="stop by itself after this time")

    def handle(self, *, rate: float, url: str | None, key: str | None, seconds: float | None, **options: Any) -> None:
        poster = _poster(url, key)
        publisher = CountingPublisher(poster.publish if poster is not None else publish.publish)
        self.stdout.write(f"Publishing {rate:g} ticks/s to {poster.url if poster else 'the bus'}. Ctrl-C stops.")
        started = time.monotonic()
        try:
            asyncio.run(_run(feed.run(options["symbols"], rate, publisher.publish), seconds))
        except KeyboardInterrupt:
            self.stdout.write("")
        except PublishRefused as error:
            raise CommandError(str(error)) from error
        finally:
            if poster is not None:
                poster.close()
        self.stdout.write(f"Published {publisher.published} ticks in {time.monotonic() - started:.1f} s.")


def _poster(url: str | None, key: str | None) -> Poster | None:
    if url is None:
        if not is_shared():
            raise CommandError(
                "Without REDIS_URL the bus is inside the gateway's process: name the gateway, "
                "for example --url http://127.0.0.1:8000"
            )
        return None
    try:
        return Poster(url, key)
    except ValueError as error:
        raise CommandError(str(error)) from error


async def _run(walk: Coroutine[Any, Any, None], seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds) as limit:
            await walk
    except TimeoutError:
        if not limit.expired():
            raise
