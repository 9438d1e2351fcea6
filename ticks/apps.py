from django.apps import AppConfig


class TicksConfig(AppConfig):
    name = "ticks"

    def ready(self) -> None:
        from ticks import checks  # noqa: F401, PLC0415 - registers the system checks
