"""Logins take turns, and who guesses waits: what stands before Django's views that take passwords.

There are two limits. A worker carries out one login at a time, and a few of each address may wait. So a flood of them
costs it an entry in a table, and not a thread and a hash each. And as logins come one after the other, the second limit
sees every one. That is django-axes: after so many wrong passwords an address is refused for a while, before anything is
hashed, by all gateways that share the database.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import cache
from typing import Any, Final

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils.decorators import sync_and_async_middleware

from ticks.address import address_of_request, share_of
from ticks.refusals import refusal

__all__ = ["address_for_axes", "client_for_axes", "locked_out", "refused", "turns"]

_MOST_WAITING: Final = 64
_MOST_WAITING_EACH: Final = 4

_refused: Counter[str] = Counter()


def refused() -> int:
    """How many logins were refused unseen, because too many came or too many had failed."""
    return _refused["logins"]


@sync_and_async_middleware
def turns(get_response: Any) -> Any:
    """Middleware: one login at a time in this process. For servers of ASGI; elsewhere each has a thread of its own."""
    if not iscoroutinefunction(get_response):
        return get_response
    waiting: Counter[str] = Counter()
    turn = asyncio.Lock()

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.method != "POST" or request.path_info not in _doors():
            response: HttpResponseBase = await get_response(request)
            return response
        who = share_of(address_of_request(request))
        if waiting[who] >= _MOST_WAITING_EACH or waiting.total() >= _MOST_WAITING:
            return _refusal(request, "Too many logins at a time.", 1)
        waiting[who] += 1
        try:
            async with turn:
                answer: HttpResponseBase = await get_response(request)
            return answer
        finally:
            waiting[who] -= 1
            if not waiting[who]:
                del waiting[who]

    return middleware


@cache
def _doors() -> frozenset[str]:
    return frozenset({reverse("admin:login"), reverse("rest_framework:login")})


def address_for_axes(request: HttpRequest) -> str:
    """Whom wrong passwords are counted for: of IPv6 the network, written as its first address."""
    return share_of(address_of_request(request)).partition("/")[0] or "::"


def client_for_axes(username: str | None, ip_address: str | None, *_: Any) -> str:
    """A guess in the log. The name is quoted: who guesses may write lines of their own into it."""
    return f"{username!a} from {ip_address}"


def locked_out(request: HttpRequest, *_: Any) -> HttpResponse:
    """The answer to an address with too many wrong passwords."""
    seconds = int(settings.AXES_COOLOFF_TIME.total_seconds())
    response = _refusal(
        request, f"Too many wrong passwords came from here. Try again in {seconds // 60} minutes.", seconds
    )
    response["RateLimit-Policy"] = f'"passwords";q={settings.AXES_FAILURE_LIMIT};w={seconds}'
    response["RateLimit"] = f'"passwords";r=0;t={seconds}'
    return response


def _refusal(request: HttpRequest, text: str, seconds: int) -> HttpResponse:
    _refused["logins"] += 1
    return refusal(request, 429, "too_many_logins", text, {"Retry-After": str(seconds)})
