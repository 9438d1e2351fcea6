"""The map: WebSockets go to the gateway, HTTP to Django, and publishers' ticks to their view by a shorter way.

In the project's ``asgi.py``, below ``application = get_asgi_application()``::

    from gateway.asgi import with_gateway

    application = with_gateway(application)
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from asgiref.sync import markcoroutinefunction
from channels.layers import get_channel_layer
from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.urls import reverse

from gateway.edge.forwarded import OnlyFromProxies
from gateway.edge.posts import Posts
from gateway.edge.requests import AccessLog, Identified
from gateway.edge.routing import Routes, not_found
from gateway.edge.sse import EventStreams
from gateway.edge.standing import WithStanding
from gateway.edge.watch import Watching
from gateway.server import collector
from ticks.access.sessions import OnlyOpenSessions
from ticks.conf import conf
from ticks.endpoint import Middleware, TicksEndpoint
from ticks.shortcut import Shortcut
from ticks.views import TickListView

__all__ = ["Gateway", "with_gateway"]


class Gateway:
    """An ASGI application. ``posts`` takes what our own server need not bring it as events; no middleware that is put
    around it would see that, and so it is found only where there is none.
    """

    def __init__(self, application: OnlyFromProxies, posts: Posts) -> None:
        self._application = application
        self.posts = posts

    @markcoroutinefunction  # so that others see how it is to be called; a coroutine would stay as long as each client
    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        return self._application(scope, receive, send)


def with_gateway(django: Any, websocket: Any = None) -> Gateway:
    """``django``: what ``get_asgi_application()`` returned. ``websocket``: the project's own ASGI application for
    WebSockets, such as a ``URLRouter``, for all paths that are not the gateway's.
    """
    if _needs_static_files():
        django = ASGIStaticFilesHandler(django)
    middleware = Middleware()
    path, shortcut = reverse("marketmux:ticks"), Shortcut(middleware)
    to_django = TicksEndpoint(path, TickListView.as_view(), OnlyOpenSessions(django), middleware, shortcut.publish)
    routes = Watching(Routes(WithStanding(to_django), websocket or not_found))
    streams = EventStreams(reverse("marketmux:stream"), routes)
    get_channel_layer()  # loads it now, and not while the first client waits
    collector.freeze()
    outermost = OnlyFromProxies(Identified(AccessLog(streams) if conf.MARKETMUX_ACCESS_LOG else streams))
    return Gateway(outermost, Posts(path, shortcut, outermost))


def _needs_static_files() -> bool:
    """While developing, as under ``runserver``; where nothing else serves them."""
    serves = any("whitenoise" in name for name in settings.MIDDLEWARE)
    return settings.DEBUG and not serves and apps.is_installed("django.contrib.staticfiles")
