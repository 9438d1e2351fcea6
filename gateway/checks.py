"""System checks of a project that has the gateway among its apps: what it still lacks, and the lines that add it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.urls import NoReverseMatch, reverse

from ticks.conf import conf

__all__ = ["check_project"]

_APPS: Final = ("ticks", "rest_framework", "django.contrib.sessions", "django.contrib.staticfiles")
_MIDDLEWARE: Final = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)


@checks.register()
def check_project(**_: Any) -> list[checks.CheckMessage]:
    return [*_missing()]


def _missing() -> Iterator[checks.CheckMessage]:
    for name in _APPS:
        if not apps.is_installed(name):
            yield _error("E001", f"The gateway needs {name} in INSTALLED_APPS.", f'Add "{name}".')
    if not getattr(settings, "ASGI_APPLICATION", None):
        yield _error(
            "E002",
            "ASGI_APPLICATION is not set, so there is nothing to serve.",
            'Set it to the application in the project\'s asgi.py, such as "mysite.asgi.application", and let that file '
            "end: from gateway.asgi import with_gateway; application = with_gateway(application)",
        )
    try:
        reverse("marketmux:ticks")
    except NoReverseMatch:
        yield _error(
            "E003",
            "The project's URLs do not have the gateway's.",
            'Add path("", include("gateway.urls")) to urlpatterns, after those of the project.',
        )
    for name in _MIDDLEWARE:
        if not _is_used(name):
            yield checks.Warning(
                f"{name} is not in MIDDLEWARE: users who are logged in are strangers to the HTTP API.",
                hint=f'Add "{name}".',
                id="gateway.W001",
            )
    if conf.MARKETMUX_ALLOWED_ORIGINS and not _is_used("ticks.middleware.Cors"):
        yield checks.Warning(
            "MARKETMUX_ALLOWED_ORIGINS is set, and browsers let its pages use WebSockets but not read the HTTP API.",
            hint='Add "ticks.middleware.Cors" to MIDDLEWARE, after SecurityMiddleware.',
            id="gateway.W002",
        )


def _is_used(middleware: str) -> bool:
    return middleware in settings.MIDDLEWARE


def _error(number: str, message: str, hint: str) -> checks.CheckMessage:
    return checks.Error(message, hint=hint, id=f"gateway.{number}")
