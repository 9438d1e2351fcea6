"""System checks of the project: what its environment says."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks

from bus.redis.address import parse

__all__ = ["check_environment", "check_redis_url", "check_secret_key"]


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
                hint="Write redis://host:6379/0, rediss://... for TLS, unix:///path/to/socket, "
                "redis+sentinel://host:26379,host:26379/service/0 for Sentinel, or redis+cluster://host:6379,host:6379.",
                id="ticks.E004",
            )
        ]
    return []


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
