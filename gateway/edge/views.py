"""The gateway's own pages: the demo page, metrics, and the WebSocket protocol as an AsyncAPI document."""

from __future__ import annotations

import asyncio
from typing import Final, TypedDict

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render, resolve_url
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.utils.crypto import constant_time_compare
from django.utils.http import urlencode
from django.views.decorators.csrf import csrf_exempt, ensure_csrf_cookie
from django.views.decorators.http import require_safe

from gateway.edge import workers
from gateway.edge.failures import answer, read_only
from gateway.edge.metrics import ANSWER_SECONDS, held
from gateway.edge.metrics import render as render_metrics
from gateway.protocol.asyncapi import Deployment, document, encode
from gateway.protocol.codes import CLOSURES
from gateway.server.exchange import FIGURES
from ticks import lookups, origins
from ticks.models import Instrument

__all__ = ["asyncapi", "index", "metrics", "upgrade_required"]

_ASYNCAPI_MAX_AGE: Final = 300
"""How long a cache may keep the AsyncAPI document, in seconds."""

_WEBSOCKET_PATH: Final = "/ws"


class Listed(TypedDict):
    """What the page knows of an instrument."""

    symbol: str
    name: str


class Closing(TypedDict):
    """What to do after the gateway closed a connection: ``wait`` is the least seconds before connecting again."""

    reason: str
    reconnect: bool
    wait: float


class PageConfig(TypedDict):
    """What the demo page's scripts are told (static/gateway/main.js)."""

    instruments: list[Listed]
    websocket_path: str
    ticks_url: str
    csrf_cookie: str
    max_symbols: int
    closures: dict[int, Closing]


@require_safe
@ensure_csrf_cookie
def index(request: HttpRequest) -> HttpResponse:
    """The demo page. Anybody may see it: prices come through the WebSocket, which checks who is asking."""
    try:
        instruments = lookups.ask_from_thread(_listed)
    except lookups.DatabaseUnavailable:
        return HttpResponse("The database does not answer. Try again.", status=503, headers={"Retry-After": "1"})
    config: PageConfig = {
        "instruments": instruments,
        "websocket_path": _WEBSOCKET_PATH,
        "ticks_url": reverse("ticks"),
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
        "max_symbols": settings.MARKETMUX_MAX_SYMBOLS,
        "closures": {
            closure.code: {"reason": closure.reason, "reconnect": closure.reconnect, "wait": closure.wait}
            for closure in CLOSURES
        },
    }
    login_url = f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': request.path})}"
    context = {"config": config, "anonymous": settings.MARKETMUX_ANONYMOUS, "login_url": login_url}
    return render(request, "index.html", context)


def _listed() -> list[Listed]:
    instruments = Instrument.objects.filter(active=True).order_by("symbol")
    return [{"symbol": one.symbol, "name": one.name} for one in instruments]


@csrf_exempt
async def upgrade_required(request: HttpRequest) -> HttpResponse:
    """426: these paths are spoken to through a WebSocket. A proxy that drops ``Upgrade`` is the usual reason."""
    detail = f"{request.path} is a WebSocket, and this request came without Upgrade: websocket. A proxy may drop it."
    return answer(426, "upgrade_required", detail, {"Upgrade": "websocket", "Connection": "Upgrade"})


@read_only
async def metrics(request: HttpRequest) -> HttpResponse:
    """What all workers hold and have done, for Prometheus; where there is a token, for who has it."""
    refusal = _metrics_refusal(request)
    if refusal is not None:
        return refusal
    try:
        places, kept = await asyncio.gather(workers.ask(FIGURES, seconds=ANSWER_SECONDS), held())
    except TimeoutError:
        # This worker's figures alone would look as if its predecessors' had never been.
        return _plain("The supervisor does not answer.", 503, {"Retry-After": "1"})
    return HttpResponse(await render_metrics(places, kept), content_type="text/plain; version=0.0.4; charset=utf-8")


def _metrics_refusal(request: HttpRequest) -> HttpResponse | None:
    token = settings.MARKETMUX_METRICS_TOKEN
    if not token:
        # A gateway with a public address shows its figures to nobody until somebody says to whom.
        text = "Set MARKETMUX_METRICS_TOKEN to read the metrics of a gateway with MARKETMUX_PUBLIC_URL."
        return _plain(text, 403) if settings.MARKETMUX_PUBLIC_URL else None
    scheme, _, given = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer" and constant_time_compare(given.strip(), token):
        return None
    return _plain("Send the metrics token: Authorization: Bearer <token>", 401, {"WWW-Authenticate": "Bearer"})


def _plain(text: str, status: int, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, headers=headers, content_type="text/plain; charset=utf-8")


@read_only
async def asyncapi(request: HttpRequest) -> HttpResponse:
    """The WebSocket protocol as an AsyncAPI document; its server is the public one, or the address of the request."""
    public = origins.public()
    deployment = Deployment(
        host=public.netloc if public else request.get_host(),
        secure=public.scheme == "https" if public else request.is_secure(),
        anonymous=settings.MARKETMUX_ANONYMOUS,
        session_cookie=settings.SESSION_COOKIE_NAME,
    )
    response = HttpResponse(encode(document(deployment)), content_type="application/json")
    patch_cache_control(response, public=True, max_age=_ASYNCAPI_MAX_AGE)
    return response
