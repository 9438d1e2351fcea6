"""Problems (ticks/problems.py) as Django's answers: of plain views, and of what fails before or outside any view.

Below ``/api/`` every error is a problem. Elsewhere, where people look, it is Django's page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, TypeVar, cast

import msgspec
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt

from ticks.problems import MEDIA_TYPE, problem

__all__ = ["answer", "bad_request", "not_found", "read_only", "server_error"]

View = TypeVar("View", bound=Callable[..., Any])


def answer(
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> HttpResponse:
    """A problem, with ``more`` members."""
    body = msgspec.json.encode({**problem(status, code, detail), **(more or {})}) + b"\n"
    return HttpResponse(body, status=status, content_type=MEDIA_TYPE, headers=headers)


def read_only(view: View) -> View:
    """For a view that machines read: any other method than GET and HEAD is a problem, with or without a CSRF token."""

    def refusal(request: HttpRequest) -> HttpResponse | None:
        if request.method in {"GET", "HEAD"}:
            return None
        return answer(405, "method_not_allowed", "This can only be read.", {"Allow": "GET, HEAD"})

    async def awaited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return refusal(request) or await view(request, *args, **kwargs)

    def called(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return refusal(request) or view(request, *args, **kwargs)

    decorated = wraps(view)(awaited if iscoroutinefunction(view) else called)
    return cast(View, csrf_exempt(decorated))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's ``handler400``: for a Host that is not ours, above all."""
    if not _is_of_the_api(request):
        return defaults.bad_request(request, exception)
    code = "disallowed_host" if isinstance(exception, DisallowedHost) else "bad_request"
    return answer(400, code, str(exception))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's ``handler404``."""
    if not _is_of_the_api(request):
        return defaults.page_not_found(request, exception)
    return answer(404, "not_found", "There is nothing at this path.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's ``handler500``; what failed is in the log."""
    if not _is_of_the_api(request):
        return defaults.server_error(request)
    return answer(500, "internal_error", "The gateway failed; nothing is known to be done.")


def _is_of_the_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")
