"""``/debug/``: what a worker does and holds, and a profile of it, for superusers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from asgiref.sync import async_to_sync
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from gateway.edge import workers
from gateway.edge.inspection import LOOK, MEMORY, TRACE, Block, Look
from gateway.edge.profiling import BAR_HEIGHT, BUSY, MOST_SECONDS, PROFILE, SPEEDSCOPE, WIDTH
from ticks.access import audit

__all__ = ["staff_debug", "staff_speedscope"]

_SECONDS: Final = 10.0
"""How long a worker may take; one that is very busy is who is looked at."""


class _Silent(Exception):
    """The worker did not answer in time."""


@require_http_methods(["GET", "HEAD", "POST"])
def debug(request: HttpRequest) -> HttpResponse:
    """The page, and what its buttons do."""
    number = _worker(request)
    return _act(request, number) if request.method == "POST" else _page(request, number)


@require_GET
def speedscope(request: HttpRequest) -> HttpResponse:
    """The last profile, as speedscope.app reads it."""
    number = _worker(request)
    try:
        file, _ = _ask(SPEEDSCOPE, b"", number)
    except _Silent:
        return HttpResponse("The worker does not answer.\n", status=503, content_type="text/plain")
    if not file:
        raise Http404("No profile was taken of this worker.")
    name = f'attachment; filename="worker-{number}.speedscope.json"'
    return HttpResponse(file, content_type="application/json", headers={"Content-Disposition": name})


staff_debug: Final = admin.site.admin_view(debug)
staff_speedscope: Final = admin.site.admin_view(speedscope)


def _worker(request: HttpRequest) -> int:
    """Which is asked for: by its number, or the one that answers."""
    user: Any = request.user
    if not user.is_superuser:
        raise PermissionDenied
    asked = request.GET.get("worker", str(workers.number()))
    if not (asked.isascii() and asked.isdecimal() and len(asked) < 5):
        raise Http404("Workers have numbers.")
    return int(asked)


def _ask(topic: str, text: bytes, number: int) -> tuple[bytes, int]:
    """The answer of a worker, the newer one while it is replaced; and how many workers there are."""
    try:
        places = async_to_sync(workers.ask)(topic, text, seconds=_SECONDS, worker=number)
    except TimeoutError:
        raise _Silent from None
    if number >= len(places):
        raise Http404("There is no such worker.")
    if not places[number].answers:
        raise _Silent
    return places[number].answers[-1], len(places)


def _act(request: HttpRequest, number: int) -> HttpResponse:
    action, seconds = request.POST.get("action"), request.POST.get("seconds", "")
    try:
        if action == PROFILE:
            if not (seconds.isascii() and seconds.isdecimal() and 1 <= int(seconds[:4]) <= MOST_SECONDS):
                return _page(request, number, f"A profile takes 1 to {MOST_SECONDS} seconds.", 400)
            if _ask(PROFILE, seconds.encode(), number)[0] == BUSY:
                return _page(request, number, "A profile of this worker is being taken.", 409)
            audit.note("profiled", f"worker:{number}", seconds=int(seconds))
        elif action in {"on", "off"}:
            _ask(TRACE, str(action).encode(), number)
            audit.note("changed", f"worker:{number}", tracemalloc=action)
        else:
            return _page(request, number, "There is no such action.", 400)
    except _Silent:
        return _page(request, number, "The worker does not answer.", 503)
    return HttpResponseRedirect(f"{reverse('marketmux:debug')}?worker={number}", status=HTTPStatus.SEE_OTHER)


def _page(request: HttpRequest, number: int, error: str = "", status: int = 200) -> HttpResponse:
    look: Look | None = None
    blocks: list[Block] = []
    count = 0
    try:
        answer, count = _ask(LOOK, b"", number)
        look = msgspec.json.decode(answer, type=Look)
        if look.traced_bytes and "memory" in request.GET:
            blocks = msgspec.json.decode(_ask(MEMORY, b"", number)[0], type=list[Block])
    except _Silent:
        error, status = error or "The worker does not answer.", 503
    context = {
        **admin.site.each_context(request),
        "title": f"Worker {number}",
        "number": number,
        "numbers": range(count),
        "error": error,
        "look": look,
        "blocks": blocks,
        "most_seconds": MOST_SECONDS,
        **_graph(look),
    }
    response = TemplateResponse(request, "gateway/debug.html", context, status=status)
    if look is not None and look.profile is not None and look.profile.is_running and request.method == "GET":
        response["Refresh"] = "2"
    return response


def _graph(look: Look | None) -> dict[str, Any]:
    """The sizes of the flame graph."""
    bars = look.profile.bars if look is not None and look.profile is not None else []
    height = max((bar.y for bar in bars), default=0) + BAR_HEIGHT
    return {"width": WIDTH, "height": height, "bar_height": BAR_HEIGHT - 1}
