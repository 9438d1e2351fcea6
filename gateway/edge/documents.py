"""What the gateway says of its HTTP API: the OpenAPI document, a page that shows it, and what a problem means."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.cache import patch_cache_control

from gateway.edge.failures import read_only
from ticks.compression import compressed
from ticks.problems import PROBLEMS

__all__ = ["api_page", "openapi", "problem_kind"]

_MAX_AGE: Final = 300
"""How long a cache may keep a document, in seconds."""

_CONTENT_SECURITY_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "connect")),
        "img-src 'self' data:",  # Swagger UI's icons
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


@read_only
@compressed
async def openapi(_request: HttpRequest) -> HttpResponse:
    """The HTTP API as an OpenAPI document. Not on the event loop: the first time it takes a moment to make."""
    response = HttpResponse(await asyncio.to_thread(_openapi), content_type="application/json")
    patch_cache_control(response, public=True, max_age=_MAX_AGE)
    return response


def _openapi() -> bytes:
    from gateway.edge.openapi import document  # noqa: PLC0415 - what makes it is a fifth of all that a start would import

    return msgspec.json.encode(document(), enc_hook=str) + b"\n"


@read_only
def api_page(request: HttpRequest) -> HttpResponse:
    """The same for people: Swagger UI, served from here."""
    response = render(request, "gateway/api.html")
    response["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    return response


@read_only
async def problem_kind(_request: HttpRequest, code: str) -> HttpResponse:
    """What a code means: where the ``type`` of a problem leads."""
    if code not in PROBLEMS:
        raise Http404
    response = JsonResponse(PROBLEMS[code]._asdict())
    patch_cache_control(response, public=True, max_age=_MAX_AGE)
    return response
