"""WebSocket paths."""

from __future__ import annotations

from typing import Any

from django.urls import path

from gateway.edge.access import Access
from gateway.edge.publisher import PublishConsumer
from gateway.edge.subscriber import TickConsumer
from ticks.access.credentials import Audience
from ticks.access.grant import Scope

__all__ = ["not_found", "websocket_urlpatterns"]


async def not_found(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001 - an ASGI application
    """Refuses the handshake on any other path."""
    await receive()
    await send({"type": "websocket.close"})


websocket_urlpatterns = [
    path("ws", Access(TickConsumer.as_asgi(), Scope.SUBSCRIBE, Audience.WS)),  # type: ignore[arg-type] # Channels allows ASGI applications
    path("ws/publish", Access(PublishConsumer.as_asgi(), Scope.PUBLISH, Audience.PUBLISH, sessions=False)),  # type: ignore[arg-type]
]
