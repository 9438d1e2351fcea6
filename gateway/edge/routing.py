"""WebSocket paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from django.urls import path

from gateway.edge.access import Access
from gateway.edge.publisher import PublishConsumer
from gateway.edge.subscriber import TickConsumer
from ticks.access.credentials import Audience
from ticks.access.grant import Scope

__all__ = ["Routes", "not_found", "websocket_urlpatterns"]

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


async def not_found(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001 - an ASGI application
    """Refuses the handshake on any other path."""
    await receive()
    await send({"type": "websocket.close"})


def _subscriber(scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
    """``as_asgi`` without a coroutine of its own, which would stay as long as the client."""
    return TickConsumer()(scope, receive, send)


websocket_urlpatterns = [
    path("ws", Access(_subscriber, Scope.SUBSCRIBE, Audience.WS)),  # type: ignore[arg-type] # Channels allows ASGI applications
    path("ws/publish", Access(PublishConsumer.as_asgi(), Scope.PUBLISH, Audience.PUBLISH, sessions=False)),  # type: ignore[arg-type]
]


class Routes:
    """ASGI application: hands a connection on, by its kind and a WebSocket's path.

    What Channels' routers do, without what they keep for each client as long as it stays: two coroutines, and a copy of
    the scope.
    """

    def __init__(self, http: Application, others: Application) -> None:
        """``others``: for WebSockets on all paths but the gateway's."""
        self._http = http
        self._others = others

    def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        if scope["type"] == "http":
            return self._http(scope, receive, send)
        if scope["type"] != "websocket":
            raise ValueError(f"There is no application for {scope['type']}.")
        name = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        for route in websocket_urlpatterns:
            if match := route.pattern.match(name):
                _, args, found = match
                if args or found:
                    scope["url_route"] = {"args": args, "kwargs": found}
                application: Application = route.callback
                return application(scope, receive, send)
        return self._others(scope, receive, send)
