"""The settings of gateways in tests, with the application that has an ordinary consumer too."""

from tests.gateway_settings import *  # noqa: F403

ASGI_APPLICATION = "tests.faults.plain.application"
