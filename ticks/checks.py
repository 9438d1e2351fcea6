"""System checks: what is wrong with the configuration, and what to do about it."""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from django.core import checks

from bus.redis.address import parse

__all__ = ["check_allowed_origins", "check_anonymous", "check_environment", "check_secret_key"]

# As browsers send it: a lower-case scheme, a host (in ASCII), and the port unless it is the usual one.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


@checks.register()
def check_environment(**_: Any) -> list[checks.CheckMessage]:
    return [
        checks.Error(
            f"The environment variable {name} makes no sense: {problem}",
            hint=f"Correct {name} in the environment or in .env, or remove it to use the default.",
            id="ticks.E001",
        )
        for name, problem in settings.ENVIRONMENT_PROBLEMS.items()
    ]


@checks.register()
def check_redis_url(**_: Any) -> list[checks.CheckMessage]:
    try:
        parse(settings.REDIS_URL or "redis://")
    except ValueError as error:
        return [
            checks.Error(
                f"REDIS_URL is not the address of a Redis: {error}",
                hint="Write redis://host:6379/0, rediss://... for TLS, unix:///path/to/socket, or for Sentinel "
                "redis+sentinel://host:26379,host:26379/service/0.",
                id="ticks.E004",
            )
        ]
    return []


@checks.register()
def check_allowed_origins(**_: Any) -> list[checks.CheckMessage]:
    return [
        checks.Error(
            f"MARKETMUX_ALLOWED_ORIGINS has an entry that is not an origin: {entry!r}",
            hint="Write scheme://host or scheme://host:port without a path, such as https://example.com, or * for any.",
            id="ticks.E003",
        )
        for entry in settings.MARKETMUX_ALLOWED_ORIGINS
        if entry != "*" and not _ORIGIN.fullmatch(entry)
    ]


@checks.register(checks.Tags.security)
def check_secret_key(**_: Any) -> list[checks.CheckMessage]:
    if settings.DEBUG or not settings.SECRET_KEY_IS_EPHEMERAL:
        return []
    return [
        checks.Warning(
            "SECRET_KEY is not set: every process makes up its own, and logins end with it.",
            hint="Set SECRET_KEY to the output of: python -c 'import secrets; print(secrets.token_urlsafe(50))'",
            id="ticks.W001",
        )
    ]


@checks.register(checks.Tags.security, deploy=True)
def check_anonymous(**_: Any) -> list[checks.CheckMessage]:
    if not settings.MARKETMUX_ANONYMOUS:
        return []
    return [
        checks.Warning(
            "MARKETMUX_ANONYMOUS is on: anyone who reaches the gateway may publish prices.",
            hint="Remove MARKETMUX_ANONYMOUS and give publishers a key each: manage.py create_key NAME",
            id="ticks.W002",
        )
    ]
