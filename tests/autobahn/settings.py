"""The gateway's settings, for a server that serves echoes."""

from tests.gateway_settings import *  # noqa: F403

ASGI_APPLICATION = "tests.autobahn.application.application"
MARKETMUX_HEARTBEAT_SECONDS = 0.0  # the suite takes nothing that it did not send
