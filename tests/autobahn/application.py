"""An ASGI application that echoes WebSocket messages, for the server under test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

import marketmux.asgi
from gateway.edge.access import Access
from gateway.edge.subscriber import TickConsumer
from gateway.protocol.frames import text_frame
from ticks.access.credentials import Audience
from ticks.access.grant import Scope

__all__ = ["application"]


class Echo(AsyncWebsocketConsumer):  # type: ignore[misc] # channels has no types
    """An ordinary consumer: its messages are Autobahn's to frame."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data, bytes_data)


class OutboxEcho(TickConsumer):
    """The consumer of ``/ws`` with another language: its echoes go the way of ticks, over the same wire."""

    def greet(self) -> None:
        """Says nothing: the suite takes no welcome."""

    async def converse(self, receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        while (event := await receive())["type"] != "websocket.disconnect":
            self.outbox.reply(_frame(event))
            if self.outbox.behind:
                await self.outbox.caught_up()


def _frame(event: dict[str, Any]) -> bytes:
    text = event.get("text")
    if text is not None:
        return text_frame(text.encode())
    frame = text_frame(event["bytes"])
    return bytes([frame[0] + 1]) + frame[1:]  # opcode 2


application = ProtocolTypeRouter(
    {
        "http": marketmux.asgi.application,
        "websocket": URLRouter(
            [
                path("echo", Echo.as_asgi()),
                path("ws", Access(OutboxEcho.as_asgi(), Scope.SUBSCRIBE, Audience.WS)),  # type: ignore[arg-type]
            ]
        ),
    }
)
