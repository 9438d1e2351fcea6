"""What one gets by following the Channels and DRF tutorials: the application the gateway is compared with.

A DRF view validates ticks with a serializer and sends each to its symbol's group; each WebSocket has a consumer that
joins the groups it is asked for and sends on what comes, as JSON. Nothing is tuned. The paths and the messages are the
gateway's, so that ``manage.py loadtest`` can talk to it.

    REDIS_URL=redis://127.0.0.1:6379/0 daphne tests.benchmarks.plain:application
"""

from __future__ import annotations

import os
from json import JSONEncoder
from typing import Any, ClassVar

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
        }
    },
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["channels", "rest_framework"],
    MIDDLEWARE=[],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY="it signs nothing",
    USE_TZ=True,
)
django.setup()

# Only now: what follows needs the settings.
from asgiref.sync import async_to_sync  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import serializers  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402


class TickSerializer(serializers.Serializer[Any]):
    symbol = serializers.RegexField(r"^[A-Z0-9.-]{1,32}$")
    price = serializers.FloatField()
    timestamp = serializers.CharField(max_length=40)  # a DateTimeField would cut the nanoseconds


class TicksView(APIView):
    def post(self, request: Request) -> Response:
        many = isinstance(request.data, list)
        serializer = TickSerializer(data=request.data, many=many)
        serializer.is_valid(raise_exception=True)
        group_send = async_to_sync(get_channel_layer().group_send)
        for tick in serializer.validated_data if many else [serializer.validated_data]:
            group_send(f"ticks.{tick['symbol']}", {"type": "tick", **tick})
        return Response({"accepted": len(request.data) if many else 1}, status=202)


class TickConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc] # channels has no types
    # Without spaces: the load generator finds the timestamp of such a tick without decoding it.
    encoder: ClassVar = JSONEncoder(separators=(",", ":"))

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        return cls.encoder.encode(content)

    async def receive_json(self, content: Any, **_: Any) -> None:
        change = self.channel_layer.group_add if content["action"] == "subscribe" else self.channel_layer.group_discard
        for symbol in content["symbols"]:
            await change(f"ticks.{symbol}", self.channel_name)
        await self.send_json({"type": f"{content['action']}d", "symbols": content["symbols"], "id": content["id"]})

    async def tick(self, event: dict[str, Any]) -> None:
        await self.send_json(event)


def healthz(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


urlpatterns = [path("api/v1/ticks", TicksView.as_view()), path("healthz", healthz)]

application = ProtocolTypeRouter(
    {"http": get_asgi_application(), "websocket": URLRouter([path("ws", TickConsumer.as_asgi())])}
)
