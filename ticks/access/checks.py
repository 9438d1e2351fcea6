"""System checks of what JWTs are held to (ticks/access/jwts.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks

from ticks.access.jwks import ALGORITHMS
from ticks.access.jwts import BY_SECRET
from ticks.conf import conf

__all__ = ["check_jwts", "check_jwts_deployed"]

_SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""The least that RFC 7518 has for each."""


@checks.register(checks.Tags.security)
def check_jwts(**_: Any) -> list[checks.CheckMessage]:
    secret, url = conf.MARKETMUX_JWT_SECRET, conf.MARKETMUX_JWT_JWKS_URL
    if not secret and not url:
        return []
    found = [*_needed(), *_algorithms(BY_SECRET if secret else ALGORITHMS)]
    if secret and url:
        found.append(_error("E020", "MARKETMUX_JWT_SECRET and MARKETMUX_JWT_JWKS_URL are both set.", "Remove one."))
    elif secret:
        found += _secret(secret)
    elif urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        found.append(_error("E021", "MARKETMUX_JWT_JWKS_URL is no address.", "Write https://host/path of a JWK Set."))
    return found


@checks.register(checks.Tags.security, deploy=True)
def check_jwts_deployed(**_: Any) -> list[checks.CheckMessage]:
    if urlsplit(conf.MARKETMUX_JWT_JWKS_URL).scheme != "http":
        return []
    return [
        checks.Warning(
            "MARKETMUX_JWT_JWKS_URL is not https: anybody on the way can make tokens.",
            hint="Fetch the keys over https, or over a network that nobody else is on.",
            id="ticks.W020",
        )
    ]


def _needed() -> Iterator[checks.CheckMessage]:
    for name, claim in (("MARKETMUX_JWT_ISSUER", "iss"), ("MARKETMUX_JWT_AUDIENCE", "aud")):
        if not getattr(conf, name):
            yield _error(
                "E022",
                f"{name} is not set, so no JWT is accepted.",
                f"Set {name} to what the claim {claim} of your tokens says.",
            )


def _algorithms(fitting: frozenset[str]) -> Iterator[checks.CheckMessage]:
    for algorithm in conf.MARKETMUX_JWT_ALGORITHMS:
        if algorithm not in fitting:
            yield _error(
                "E023",
                f"MARKETMUX_JWT_ALGORITHMS has {algorithm}, which is not for this kind of key.",
                f"Use one of {', '.join(sorted(fitting))}.",
            )


def _secret(secret: str) -> Iterator[checks.CheckMessage]:
    if secret == settings.SECRET_KEY:
        yield _error(
            "E024",
            "MARKETMUX_JWT_SECRET is SECRET_KEY: an application that mints JWTs could forge logins.",
            "Give it a secret of its own.",
        )
    if secret.lstrip().startswith("-----BEGIN"):
        yield _error(
            "E024",
            "MARKETMUX_JWT_SECRET is a key in PEM, and not a secret.",
            "Public keys come from MARKETMUX_JWT_JWKS_URL.",
        )
    least = max((_SECRET_BYTES.get(one, 0) for one in conf.MARKETMUX_JWT_ALGORITHMS), default=32)
    if len(secret.encode()) < least:
        yield _error(
            "E024",
            f"MARKETMUX_JWT_SECRET has fewer than {least} bytes, so no JWT is accepted.",
            "Set it to the output of: python -c 'import secrets; print(secrets.token_urlsafe(64))'",
        )


def _error(number: str, message: str, hint: str) -> checks.CheckMessage:
    return checks.Error(message, hint=hint, id=f"ticks.{number}")
