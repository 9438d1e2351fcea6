"""System checks: what is wrong with the configuration, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core import checks
from django.db import connections

from ticks.conf import conf, problems
from ticks.spans import PACKAGES, missing

__all__ = ["check_allowed_origins", "check_deployment", "check_opentelemetry", "check_public", "check_settings"]

# As browsers send it: a lower-case scheme, a host (in ASCII), and the port unless it is the usual one.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")

_LEAST_KEY: Final = 32
_LEAST_VARIETY: Final = 5
_LEAST_TOKEN: Final = 16


@checks.register()
def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Settings of the apps have the right type and size (ticks/conf.py)."""
    return [
        checks.Error(
            f"The setting {name} makes no sense: {problem}.",
            hint=f"Correct {name} in the settings, or remove it to use the default.",
            id="ticks.E006",
        )
        for name, problem in problems()
    ]


@checks.register()
def check_opentelemetry(**_: Any) -> list[checks.CheckMessage]:
    """What spans need is installed where they are on."""
    if conf.MARKETMUX_OTEL is not True or not (problem := missing()):
        return []
    return [
        checks.Error(
            f"MARKETMUX_OTEL is on, and OpenTelemetry cannot be used: {problem}.",
            hint=f"python -m pip install {PACKAGES}, or remove MARKETMUX_OTEL.",
            id="ticks.E007",
        )
    ]


@checks.register()
def check_allowed_origins(**_: Any) -> list[checks.CheckMessage]:
    return [
        checks.Error(
            f"MARKETMUX_ALLOWED_ORIGINS has an entry that is not an origin: {entry!r}",
            hint="Write scheme://host or scheme://host:port without a path, such as https://example.com, or * for any.",
            id="ticks.E003",
        )
        for entry in conf.MARKETMUX_ALLOWED_ORIGINS
        if entry != "*" and not _ORIGIN.fullmatch(entry)
    ]


@checks.register(checks.Tags.security)
def check_public(**_: Any) -> list[checks.CheckMessage]:
    """Of a gateway with a public address, before every start."""
    if not conf.MARKETMUX_PUBLIC_URL:
        return []
    messages = [*_exposures()]
    if _is_weak(settings.SECRET_KEY):
        messages.append(
            checks.Error(
                "SECRET_KEY can be guessed: who knows it logs in as anybody.",
                hint="Set SECRET_KEY to the output of: python -c 'import secrets; print(secrets.token_urlsafe(50))'",
                id="ticks.E005",
            )
        )
    return messages


@checks.register(checks.Tags.security, deploy=True)
def check_deployment(**_: Any) -> list[checks.CheckMessage]:
    """The same for a gateway that does not say its address, when it is asked whether it may be deployed."""
    if conf.MARKETMUX_PUBLIC_URL:
        return []
    messages = [*_exposures()]
    if not conf.MARKETMUX_METRICS_TOKEN:
        messages.append(
            checks.Warning(
                "/metrics is shown to everybody who reaches the gateway.",
                hint="Set MARKETMUX_METRICS_TOKEN, which Prometheus sends as Authorization: Bearer, "
                "or MARKETMUX_PUBLIC_URL, which closes it.",
                id="ticks.W005",
            )
        )
    return messages


def _exposures() -> Iterator[checks.CheckMessage]:
    if conf.MARKETMUX_ANONYMOUS:
        yield checks.Warning(
            "MARKETMUX_ANONYMOUS is on: anyone who reaches the gateway may publish prices.",
            hint="Remove MARKETMUX_ANONYMOUS and give publishers a key each: manage.py create_key NAME",
            id="ticks.W002",
        )
    if "*" in settings.ALLOWED_HOSTS:
        yield checks.Warning(
            "ALLOWED_HOSTS is *: a page may make its own name point to the gateway, and then reads it as its own.",
            hint="Name the hosts that the gateway answers to, or set MARKETMUX_PUBLIC_URL.",
            id="ticks.W003",
        )
    if "*" in conf.MARKETMUX_ALLOWED_ORIGINS:
        yield checks.Warning(
            "MARKETMUX_ALLOWED_ORIGINS is *: any web page may open WebSockets and read the API.",
            hint="List the origins whose pages may.",
            id="ticks.W004",
        )
    if 0 < len(conf.MARKETMUX_METRICS_TOKEN) < _LEAST_TOKEN:
        yield checks.Warning(
            f"MARKETMUX_METRICS_TOKEN is shorter than {_LEAST_TOKEN} characters: it can be guessed.",
            hint="Set it to the output of: python -c 'import secrets; print(secrets.token_urlsafe())'",
            id="ticks.W006",
        )
    if loose := _readable_database():
        yield checks.Warning(
            f"The database can be read by other users of this machine: {loose}",
            hint=f"It holds logins and sessions. chmod 600 {loose}*",
            id="ticks.W007",
        )


def _readable_database() -> str:
    """The path of an SQLite file that others may read, as older versions made it; empty if there is none."""
    path = connections["default"].settings_dict["NAME"]
    try:
        return str(path) if connections["default"].vendor == "sqlite" and Path(path).stat().st_mode & 0o077 else ""
    except OSError:
        return ""


def _is_weak(key: str) -> bool:
    return len(key) < _LEAST_KEY or len(set(key)) < _LEAST_VARIETY or key.startswith("django-insecure-")
