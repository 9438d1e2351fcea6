from django.apps import AppConfig

from gateway.server import reactor  # noqa: F401 - before Daphne installs Twisted's own


class GatewayConfig(AppConfig):
    name = "gateway"
    label = "marketmux_gateway"  # a project may have an app of its own called gateway

    def ready(self) -> None:
        from gateway import checks  # noqa: F401, PLC0415 - registers them
