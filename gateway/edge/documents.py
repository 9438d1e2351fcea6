"""What the gateway says of its HTTP API: the OpenAPI document, a page that shows it, and what a problem means."""

from __future__ import annotations

from typing import Final

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe

from ticks.problems import PROBLEMS

__all__ = ["problem_kind"]

_MAX_AGE: Final = 300
"""How long a cache may keep a document, in seconds."""


@require_safe
async def problem_kind(_request: HttpRequest, code: str) -> HttpResponse:
    """What a code means: where the ``type`` of a problem leads."""
    if code not in PROBLEMS:
        raise Http404
    response = JsonResponse(PROBLEMS[code]._asdict())
    patch_cache_control(response, public=True, max_age=_MAX_AGE)
    return response
