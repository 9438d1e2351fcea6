"""The map: WebSockets go to the gateway, HTTP to Django, and publishers' ticks to their view by a shorter way."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketmux.settings")
django = get_asgi_application()

# Only now: what follows needs the apps to be loaded.
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import reverse  # noqa: E402

from gateway.edge.forwarded import OnlyFromProxies  # noqa: E402
from gateway.edge.requests import AccessLog, Identified  # noqa: E402
from gateway.edge.routing import websocket_urlpatterns  # noqa: E402
from gateway.edge.sse import EventStreams  # noqa: E402
from gateway.edge.standing import WithStanding  # noqa: E402
from gateway.edge.watch import Watching  # noqa: E402
from gateway.server import collector  # noqa: E402
from ticks.access.sessions import OnlyOpenSessions  # noqa: E402
from ticks.conf import conf  # noqa: E402
from ticks.endpoint import TicksEndpoint  # noqa: E402
from ticks.views import TickListView  # noqa: E402

to_django = TicksEndpoint(reverse("ticks"), TickListView.as_view(), OnlyOpenSessions(django))
routes = ProtocolTypeRouter(
    {
        "http": Watching(WithStanding(to_django)),
        "websocket": Watching(URLRouter(websocket_urlpatterns)),
    }
)
streams = EventStreams(reverse("stream"), routes)
application = OnlyFromProxies(Identified(AccessLog(streams) if conf.MARKETMUX_ACCESS_LOG else streams))

get_channel_layer()  # loads it now, and not while the first client waits
collector.freeze()
