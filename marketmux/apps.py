from django.apps import AppConfig


class MarketmuxConfig(AppConfig):
    name = "marketmux"

    def ready(self) -> None:
        from marketmux import checks  # noqa: F401, PLC0415 - registers them
