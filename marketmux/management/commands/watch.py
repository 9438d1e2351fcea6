"""``manage.py watch AAPL MSFT``: prices in the terminal, over the Python client."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.live import Live

from marketmux.board import Board
from marketmux.client import Client, ClientError
from marketmux.client.__main__ import show, watch


class Command(BaseCommand):
    help = (
        "Shows the prices of symbols as they come: a live table, or a line for each event where there is no terminal."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("symbols", nargs="+", metavar="symbol", help="'*' is every symbol")
        parser.add_argument(
            "--url", default="http://127.0.0.1:8000", help="the gateway, http:// or ws:// (default: %(default)s)"
        )
        key = os.environ.get("MARKETMUX_KEY")  # command lines are for everybody to see
        parser.add_argument("--key", default=key, help="the API key (or MARKETMUX_KEY)")
        parser.add_argument("--max-rate", type=float, help="ticks a second at most, for each symbol")

    def handle(self, *, symbols: list[str], url: str, key: str | None, max_rate: float | None, **_: Any) -> None:
        address = _websocket(url)
        console = Console()
        try:
            client = Client(address, key=key)
            if not console.is_terminal or console.is_dumb_terminal:
                asyncio.run(watch(client, symbols, max_rate, show))
                return
            board = Board(address, symbols)
            with Live(console=console, auto_refresh=False) as live:
                asyncio.run(watch(client, symbols, max_rate, board.read, partial(board.paint, live)))
        except KeyboardInterrupt:  # how it ends
            return
        except (ClientError, ValueError) as error:
            raise CommandError(str(error)) from error


def _websocket(url: str) -> str:
    """The WebSocket's address of a gateway that may be named as a browser would."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return parts._replace(scheme=scheme, path=parts.path if parts.path.strip("/") else "/ws").geturl()
