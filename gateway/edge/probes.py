"""What load balancers and orchestrators ask: does the process live, is it ready for clients, is the bus well.

Each answer is that of the worker that was asked. Where several share a port the kernel chooses which. The supervisor
looks after workers that hang by itself (gateway/server/lifeline.py), and a gateway that ends has all its workers drain
at once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Final, NamedTuple

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import add_never_cache_headers

from bus.contract import BusUnavailable, Reason
from bus.layers import get_bus, is_shared
from gateway import VERSION
from gateway.edge.failures import answer, read_only
from ticks import lookups
from ticks.access.models import ApiKey

__all__ = ["draining", "healthz", "livez", "readyz"]

logger = logging.getLogger(__name__)

PING_TIMEOUT: Final = 1.0
"""How long the bus may take to answer before the gateway counts as unavailable, in seconds."""

draining: Final = threading.Event()
"""Set once this process is told to end: it serves on for a while, and wants no more clients."""


class Obstacle(NamedTuple):
    """Why a gateway is not ready, or not all of it."""

    code: str
    detail: str


@read_only
async def livez(_request: HttpRequest) -> HttpResponse:
    """200: this worker's event loop turns. Neither bus nor database is asked, since a restart mends neither."""
    return _uncached(JsonResponse({"status": "alive", "version": VERSION}))


@read_only
async def readyz(_request: HttpRequest) -> HttpResponse:
    """200 if clients and publishers may be sent here, else 503 with all that is in the way."""
    (status, reason), database = await asyncio.gather(_usability(), _database())
    obstacles = [] if database is None else [database]
    if status == "unavailable" and reason is not None:
        obstacles.append(Obstacle(reason.value, reason.sentence))
    if draining.is_set():
        obstacles.append(Obstacle("draining", "The gateway is about to end."))
    reasons = [each._asdict() for each in obstacles]
    if obstacles:
        detail = " ".join(each.detail for each in obstacles)
        return _uncached(answer(503, "not_ready", detail, {"Retry-After": "1"}, {"reasons": reasons}))
    if reason is not None:
        reasons.append(Obstacle(reason.value, reason.sentence)._asdict())
    return _uncached(JsonResponse({"status": "ready", "reasons": reasons, "version": VERSION}))


@read_only
async def healthz(_request: HttpRequest) -> HttpResponse:
    """200 if what is published would be taken in time, else 503.

    While one of several Redis hosts is away it is 200 too: the others' symbols are served, here as anywhere.
    """
    status, reason = await _usability()
    about = {"bus": "redis" if is_shared() else "memory", "version": VERSION}
    if reason is None:
        response: HttpResponse = JsonResponse({"status": status, **about})
    elif status == "degraded":
        response = JsonResponse({"status": status, **about, "code": reason.value, "detail": reason.sentence})
    else:
        response = answer(503, reason.value, reason.sentence, {"Retry-After": "1"}, about)
    return _uncached(response)


def _uncached(response: HttpResponse) -> HttpResponse:
    add_never_cache_headers(response)
    return response


async def _usability() -> tuple[str, Reason | None]:
    """Whether the bus can be published on, and why not, or not on all of its hosts; the bus logs it."""
    try:
        async with asyncio.timeout(PING_TIMEOUT):
            reason = await get_bus().ping()
    except BusUnavailable as error:
        return "unavailable", error.reason
    except TimeoutError:
        return "unavailable", Reason.AWAY
    except Exception:
        logger.exception("Whether the bus can be used is not known")
        return "unavailable", Reason.AWAY
    return "ok" if reason is None else "degraded", reason


async def _database() -> Obstacle | None:
    """Whether it can be found out whose key one is: with PostgreSQL away, or no tables, it cannot."""
    try:
        await lookups.ask(ApiKey.objects.exists)
    except (lookups.DatabaseUnavailable, DatabaseError):
        return Obstacle("database_unavailable", "The database does not answer, or lacks its tables.")
    return None
