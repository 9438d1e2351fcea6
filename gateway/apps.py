from django.apps import AppConfig

from gateway.server import reactor  # noqa: F401 - before Daphne installs Twisted's own


class GatewayConfig(AppConfig):
    name = "gateway"
