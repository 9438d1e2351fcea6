"""The gateway with an ordinary Channels consumer beside its own, which joins a group by its channel as anybody would."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import URLRouter
from django.urls import path

from gateway.asgi import with_gateway
from marketmux.asgi import django
from ticks.tick import group_name

__all__ = ["PLAIN_PATH", "application"]

PLAIN_PATH = "/ws/plain"


class PlainConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc] # channels has no types
    groups = [group_name("A")]

    async def connect(self) -> None:
        await self.accept()
        await self.send_json({"type": "welcome"})

    async def tick(self, event: dict[str, Any]) -> None:
        await self.send_json(event)


application = with_gateway(django, URLRouter([path(PLAIN_PATH.removeprefix("/"), PlainConsumer.as_asgi())]))
