from django.apps import AppConfig
from django.contrib.admin import apps as admin

from ticks.tick import GROUP_PREFIX


class TicksAdminConfig(admin.AdminConfig):
    """Django's admin on a site of our own."""

    default = False
    default_site = "ticks.site.BoundedAdminSite"


class TicksConfig(AppConfig):
    name = "ticks"
    label = "marketmux_ticks"  # a project may have an app of its own called ticks
    verbose_name = "MarketMux"
    default_auto_field = "django.db.models.BigAutoField"  # whatever the project's own models have

    def ready(self) -> None:
        # Registers the system checks.
        from bus import checks as bus_checks  # noqa: F401, PLC0415
        from bus.layers import expect_in_groups  # noqa: PLC0415
        from ticks import checks, database  # noqa: F401, PLC0415
        from ticks.access import audit, changes  # noqa: PLC0415
        from ticks.access import checks as access_checks  # noqa: F401, PLC0415

        database.connect()
        changes.connect()
        audit.connect()
        expect_in_groups(GROUP_PREFIX, "tick")
