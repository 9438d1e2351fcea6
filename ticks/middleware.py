"""Django's middleware for what is true of every answer: HTTPS, the host's name, and pages of other origins.

The short way of publishers' POSTs (ticks/endpoint.py) calls the same classes, so that it answers as Django would.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import SplitResult

from asgiref.sync import iscoroutinefunction
from corsheaders.middleware import CorsMiddleware
from csp.middleware import CSPMiddleware
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponsePermanentRedirect
from django.middleware.common import CommonMiddleware
from django.utils.decorators import sync_and_async_middleware

from ticks import origins
from ticks.probes import PROBES

__all__ = ["Cors", "Hosts", "Policy", "keep_method", "kept"]

Response = TypeVar("Response", bound=HttpResponseBase)


@sync_and_async_middleware
def keep_method(get_response: Any) -> Any:
    """After a redirect to HTTPS clients repeat what they sent: around Django's SecurityMiddleware."""
    if not iscoroutinefunction(get_response):
        return lambda request: kept(request, get_response(request))

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = await get_response(request)
        return kept(request, response)

    return middleware


def kept(request: HttpRequest, response: Response) -> Response:
    """The response, with 308 in place of 301: after that a publisher would get the list of ticks, and take its 200 for
    success.
    """
    if response.status_code == HTTPStatus.MOVED_PERMANENTLY and request.method not in ("GET", "HEAD"):
        response.status_code = HTTPStatus.PERMANENT_REDIRECT
    return response


class Hosts(CommonMiddleware):
    """Refuses a Host that is not allowed, except of those who ask whether the gateway lives. Whatever view made a JSON
    answer, it ends its line before its length is counted: a shell prompt behind it begins another.
    """

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        return None if request.path_info in PROBES else super().process_request(request)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if isinstance(response, HttpResponse) and _is_json(response):
            response.content += b"" if response.content.endswith(b"\n") or not response.content else b"\n"
        return super().process_response(request, response)


def _is_json(response: HttpResponse) -> bool:
    return "json" in response.get("Content-Type", "") and "Content-Encoding" not in response


class Policy(CSPMiddleware):
    """The Content-Security-Policy, on the event loop: nothing in it blocks, and a thread would cost more than it."""

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        self.process_request(request)
        response: Any = self.get_response(request)
        return self.process_response(request, await response)


class Cors(CorsMiddleware):
    """Tells browsers which other origins' pages may read answers of the API: those that may open a WebSocket.

    Without credentials: a page of another origin sends a key or a token, which it was given, and never the cookie of
    its user. With cookies each listed origin could act as the user who is logged in, and ``*`` could not be
    had at all.
    """

    def origin_found_in_white_lists(self, origin: str, url: SplitResult) -> bool:
        return origins.is_listed(origin)
