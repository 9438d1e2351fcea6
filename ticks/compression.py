"""gzip of what is read over HTTP: of answers that are long and have no secret in them, where the client takes it.

Not for a page with a form, a token or what staff alone may see: such an answer's length, next to text that somebody
else chose, tells of its secrets letter by letter (BREACH). So a view is compressed only where it says so.
"""

from __future__ import annotations

import asyncio
import re
from functools import wraps
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.middleware.gzip import GZipMiddleware
from django.utils.cache import patch_vary_headers

__all__ = ["compressed"]

_WORTH: Final = 1_000
"""Shorter answers are one packet anyway, in bytes."""

_TAKES: Final = re.compile(r"\bgzip\b(?!\s*;\s*q\s*=\s*0(?:\.0*)?\s*(?:,|\Z))")


def compressed(view: Any) -> Any:
    """A coroutine view with what Django's ``gzip_page`` does, in a thread: 150 KB take some milliseconds."""
    gzip = GZipMiddleware(view)

    @wraps(view)
    async def awaited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = await view(request, *args, **kwargs)
        if not getattr(response, "is_rendered", True) or len(response.content) < _WORTH:
            return response  # a page of DRF's is not rendered yet
        if _TAKES.search(request.META.get("HTTP_ACCEPT_ENCODING", "")):
            await asyncio.to_thread(gzip.process_response, request, response)
        else:
            patch_vary_headers(response, ("Accept-Encoding",))
        return response

    return awaited
