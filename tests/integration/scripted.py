"""A gateway that says what a test tells it to: it serves the demo page, and a WebSocket without a hub behind it."""

from __future__ import annotations

import contextlib
import json
import mimetypes
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from django.template.loader import render_to_string
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

__all__ = ["Conversation", "ScriptedGateway", "scripted_gateway"]

_STATIC: Final = Path(__file__).resolve().parents[2] / "gateway" / "static"
_TIMEOUT: Final = 15.0
_LIMITS: Final = {"symbols": 1000, "message_bytes": 65536, "commands_per_second": 100}


class Conversation:
    """One connection of the page: pings are answered by themselves, the rest is the test's to read and answer."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._commands: queue.Queue[Any] = queue.Queue()

    def send(self, *messages: Mapping[str, Any]) -> None:
        for message in messages:
            self._connection.send(json.dumps(message))

    def command(self) -> Any:
        """The next command that is no ping."""
        return self._commands.get(timeout=_TIMEOUT)

    def welcome(self, heartbeat: float = 0.0, **limits: int) -> None:
        self.send({"type": "welcome", "version": "0.1.0", "limits": _LIMITS | limits, "heartbeat": heartbeat})

    def subscribed(self, command: Mapping[str, Any], **positions: Mapping[str, Any]) -> None:
        """Acknowledges ``command``, which asked for all that the page is subscribed to."""
        message = {"type": "subscribed", "symbols": command["symbols"], "positions": positions, "id": command["id"]}
        self.send(message)

    def close(self, code: int, reason: str = "") -> None:
        self._connection.close(code, reason)

    def listen(self) -> None:
        """Takes what the page says until it is gone."""
        with contextlib.suppress(ConnectionClosed):
            for text in self._connection:
                command = json.loads(text)
                if command["action"] != "ping":
                    self._commands.put(command)
                else:
                    self.send({"type": "pong", "id": command["id"]})


class ScriptedGateway:
    """The page has the instruments AAPL and MSFT; see :class:`Conversation` for what happens on its WebSocket."""

    def __init__(self) -> None:
        self._conversations: queue.Queue[Conversation] = queue.Queue()
        self._server = serve(self._converse, "127.0.0.1", 0, process_request=self._answer, compression=None)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def http(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.socket.getsockname()[1]}"

    def conversation(self) -> Conversation:
        """The page's next connection, once it is there."""
        return self._conversations.get(timeout=_TIMEOUT)

    @property
    def is_called(self) -> bool:
        """Whether the page has connected again."""
        return not self._conversations.empty()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join(_TIMEOUT)

    def _converse(self, connection: ServerConnection) -> None:
        conversation = Conversation(connection)
        self._conversations.put(conversation)
        conversation.listen()

    def _answer(self, _connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path == "/ws":
            return None
        if path == "/":
            return _response(self._page(), "text/html")
        file = _STATIC / path.removeprefix("/static/")
        if path.startswith("/static/") and file.is_file():
            return _response(file.read_bytes(), mimetypes.guess_type(file.name)[0] or "text/plain")
        return _response(b"{}", "application/json")

    def _page(self) -> bytes:
        config = {
            "instruments": [{"symbol": symbol, "name": ""} for symbol in ("AAPL", "MSFT")],
            "websocket_path": "/ws",
            "ticks_url": "/api/v1/ticks",
            "instruments_url": "/instruments",
            "health_url": "/healthz",
            "csrf_cookie": "csrftoken",
            "max_symbols": 1_000,
            "closures": {},
        }
        return render_to_string("gateway/index.html", {"config": config, "anonymous": True}).encode()


@contextlib.contextmanager
def scripted_gateway() -> Iterator[ScriptedGateway]:
    gateway = ScriptedGateway()
    yield gateway
    gateway.stop()


def _response(body: bytes, kind: str) -> Response:
    fields: Sequence[tuple[str, str]] = [
        ("Content-Type", f"{kind}; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    return Response(HTTPStatus.OK, "OK", Headers(fields), body)
