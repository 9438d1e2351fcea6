"""Which sessions there are: looked up for many cookies at once, so that made-up ones cost no query each.

Django looks a session up for each request that asks who its user is. A cookie whose session does not exist is dropped
before that, as if it had not been sent. Where sessions are kept elsewhere than in the database nothing is asked of it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.http import parse_cookie
from django.utils import timezone

from ticks import lookups
from ticks.access.shares import limited

__all__ = ["OnlyOpenSessions", "is_open", "session_in"]

_KNOWN_SECONDS: Final = 30.0
_MOST_KNOWN: Final = 10_000
_known: OrderedDict[str, float] = OrderedDict()
"""Until when sessions that were found are not asked about again. That they may have ended matters not: Django asks."""

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]


def session_in(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The key of the session that a cookie names, as Django reads it; empty if none does."""
    cookies = [value.decode("latin1") for name, value in headers if name == b"cookie"]
    return parse_cookie("; ".join(cookies)).get(settings.SESSION_COOKIE_NAME, "") if cookies else ""


async def is_open(session: str) -> bool:
    """Whether there is such a session; true where only Django can tell. :class:`~ticks.lookups.DatabaseUnavailable`."""
    store = import_module(settings.SESSION_ENGINE).SessionStore
    if not issubclass(store, DatabaseStore) or _known.get(session, 0.0) > time.monotonic():
        return True
    if await _unknown.ask(session) is None:
        limited["unknown_sessions"] += 1
        return False
    _known[session] = time.monotonic() + _KNOWN_SECONDS
    _known.move_to_end(session)
    if len(_known) > _MOST_KNOWN:
        _known.popitem(last=False)
    return True


def _find(sessions: Sequence[str]) -> Mapping[str, bool]:
    model = import_module(settings.SESSION_ENGINE).SessionStore.get_model_class()
    found = model.objects.filter(session_key__in=sessions, expire_date__gt=timezone.now())
    return dict.fromkeys(found.values_list("session_key", flat=True), True)


_unknown = lookups.Gathered(_find)


class OnlyOpenSessions:
    """ASGI middleware around Django: drops the cookie of a session that does not exist."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        session = session_in(scope["headers"])
        if session and not await _may_be_open(session):
            scope["headers"] = list(_without_session(scope["headers"]))
        await self._application(scope, receive, send)


async def _may_be_open(session: str) -> bool:
    try:
        return await is_open(session)
    except lookups.DatabaseUnavailable:
        return True  # which Django finds out, if it needs to know, and answers


def _without_session(headers: Headers) -> Iterable[tuple[bytes, bytes]]:
    name = settings.SESSION_COOKIE_NAME.encode()
    for header in headers:
        if header[0] != b"cookie":
            yield header
            continue
        kept = [cookie for cookie in header[1].split(b";") if cookie.partition(b"=")[0].strip() != name]
        if kept:
            yield b"cookie", b";".join(kept)
