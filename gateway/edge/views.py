"""The gateway's own answers: metrics, and the WebSocket protocol as an AsyncAPI document."""

from __future__ import annotations

import asyncio
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_cache_control
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt

from gateway.edge import websockets, workers
from gateway.edge.failures import answer, read_only
from gateway.edge.metrics import ANSWER_SECONDS, held
from gateway.edge.metrics import render as render_metrics
from gateway.protocol.asyncapi import Deployment, document, encode
from gateway.server.exchange import FIGURES
from ticks import origins
from ticks.compression import compressed
from ticks.conf import conf

__all__ = ["asyncapi", "metrics", "upgrade_required", "websockets_page"]

_ASYNCAPI_MAX_AGE: Final = 300
"""How long a cache may keep the AsyncAPI document, in seconds."""


@csrf_exempt
async def upgrade_required(request: HttpRequest) -> HttpResponse:
    """426: these paths are spoken to through a WebSocket. A proxy that drops ``Upgrade`` is the usual reason."""
    detail = f"{request.path} is a WebSocket, and this request came without Upgrade: websocket. A proxy may drop it."
    return answer(426, "upgrade_required", detail, {"Upgrade": "websocket", "Connection": "Upgrade"})


@read_only
@compressed
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
    token = conf.MARKETMUX_METRICS_TOKEN
    if not token:
        # A gateway with a public address shows its figures to nobody until somebody says to whom.
        text = "Set MARKETMUX_METRICS_TOKEN to read the metrics of a gateway with MARKETMUX_PUBLIC_URL."
        return _plain(text, 403) if conf.MARKETMUX_PUBLIC_URL else None
    scheme, _, given = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer" and constant_time_compare(given.strip(), token):
        return None
    return _plain("Send the metrics token: Authorization: Bearer <token>", 401, {"WWW-Authenticate": "Bearer"})


def _plain(text: str, status: int, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, headers=headers, content_type="text/plain; charset=utf-8")


@read_only
@compressed
async def asyncapi(request: HttpRequest) -> HttpResponse:
    """The WebSocket protocol as an AsyncAPI document."""
    response = HttpResponse(encode(document(_deployment(request))) + b"\n", content_type="application/json")
    patch_cache_control(response, public=True, max_age=_ASYNCAPI_MAX_AGE)
    return response


@read_only
def websockets_page(request: HttpRequest) -> HttpResponse:
    """The same for people."""
    return render(request, "gateway/websockets.html", websockets.context(document(_deployment(request))))


def _deployment(request: HttpRequest) -> Deployment:
    """The server is the public one, or the address of the request."""
    public = origins.public()
    return Deployment(
        host=public.netloc if public else request.get_host(),
        secure=public.scheme == "https" if public else request.is_secure(),
        anonymous=conf.MARKETMUX_ANONYMOUS,
        session_cookie=settings.SESSION_COOKIE_NAME,
    )
