"""The short way in for publishers: POST /api/v1/ticks goes from the server straight to its DRF view, on the event loop.

Django's own handler gives every request a thread, for middleware that may block, and switching there and back costs
several times what the view does. A publisher's POST needs none of that middleware: no session, no CSRF token, no
page. So this endpoint does the rest of the handler's work (the body, the host, HTTPS, the response's headers) and calls
the same view, with the same authentication, parsers and errors. What is in order need not even come to the view
(ticks/shortcut.py). All other requests go to Django, and so do those that a browser may have sent: with a cookie, or
asking for a page.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any, Final

from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.security import SecurityMiddleware

from ticks import intake, problems
from ticks.middleware import Cors, kept
from ticks.tick import MAX_BODY_BYTES

__all__ = ["FAILURE", "Headers", "Middleware", "TicksEndpoint"]

logger = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
View = Callable[..., Any]
FAILURE: Final = "marketmux.failure"
"""In the scope of a request that is tried already: the exception that it ended with."""
Shortcut = Callable[[dict[str, Any], bytes], Awaitable[tuple[Headers, bytes] | None]]

_RECEIVE_TIMEOUT: Final = ASGIRequest.body_receive_timeout


class Middleware:
    """What Django's does for every request and answer, for what does not go through it."""

    def __init__(self) -> None:
        self._security = SecurityMiddleware(_unused)
        self._headers = {secure: _headers_of(self._security, secure) for secure in (False, True)}
        self._cors = Cors(_unused)

    def redirect(self, request: ASGIRequest) -> HttpResponse | None:
        """To HTTPS, where that is a must."""
        redirect = self._security.process_request(request)
        return None if redirect is None else kept(request, redirect)

    def headers(self, request: ASGIRequest) -> Headers:
        """What every answer to the request has."""
        headers = self._headers[request.is_secure()]
        if "HTTP_ORIGIN" not in request.META:
            return headers
        response = HttpResponse()
        del response["Content-Type"]
        self._cors.add_response_headers(request, response)
        return headers + _encoded(response)


class TicksEndpoint:
    """ASGI application: answers publishers' POSTs to ``path`` with ``view``, and passes all else to ``django``.

    ``shortcut`` is asked first (ticks/shortcut.py). What it raises is handed to the view as ``failure``.
    """

    def __init__(
        self, path: str, view: View, django: Application, middleware: Middleware, shortcut: Shortcut | None = None
    ) -> None:
        self._path = path
        self._view = view
        self._django = django
        self._middleware = middleware
        self._shortcut = shortcut

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if not self._is_from_a_publisher(scope):
            is_post = scope["path"] == self._path and scope["method"] == "POST"
            await self._django(scope, _counted(receive) if is_post else receive, send)
            return
        body = await _read(receive)
        if body is None:
            return
        intake.received_bytes["http"] += len(body)
        failure = scope.get(FAILURE)
        if self._shortcut is not None and failure is None:
            try:
                answered = await self._shortcut(scope, body)
            except Exception as error:  # the view sorts them
                failure = error
            else:
                if answered is not None:
                    await send({"type": "http.response.start", "status": 202, "headers": answered[0]})
                    await send({"type": "http.response.body", "body": answered[1]})
                    return
        request = ASGIRequest(scope, BytesIO(body))
        await _send(send, await self._answer(request, failure), self._middleware.headers(request))

    def _is_from_a_publisher(self, scope: dict[str, Any]) -> bool:
        if scope["path"] != self._path or scope["method"] != "POST" or scope.get("query_string"):
            return False
        return not any(
            name == b"cookie" or (name == b"accept" and b"text/" in value.lower()) for name, value in scope["headers"]
        )

    async def _answer(self, request: ASGIRequest, failure: Exception | None) -> HttpResponse:
        """What Django would answer, without the headers of its middleware."""
        redirect = self._middleware.redirect(request)
        return await self._viewed(request, failure) if redirect is None else redirect

    async def _viewed(self, request: ASGIRequest, failure: Exception | None) -> HttpResponse:
        try:
            request.get_host()
            known = {} if failure is None else {"failure": failure}
            response: HttpResponse = await self._view(request, **known)
        except DisallowedHost as error:
            return _problem(400, "disallowed_host", str(error))
        except Exception:
            logger.exception("POST %s failed", self._path)
            return _problem(500, "internal_error", "The gateway failed; nothing is known to be published.")
        finally:
            request.close()
        return response


def _counted(receive: Any) -> Any:
    """``receive`` of a publisher whose body Django reads: with a cookie, or a query."""

    async def counted() -> Any:
        event = await receive()
        intake.received_bytes["http"] += len(event.get("body", b""))
        return event

    return counted


async def _read(receive: Any) -> bytes | None:
    """The request's body, or enough of it to show that it is too long; None if the client left before its end."""
    event = await receive()
    body: bytes = event.get("body", b"")
    if not event.get("more_body", False):
        return None if event["type"] == "http.disconnect" else body
    chunks, size = [body], len(body)
    while event.get("more_body", False) and size <= MAX_BODY_BYTES:
        event = await asyncio.wait_for(receive(), _RECEIVE_TIMEOUT)
        if event["type"] == "http.disconnect":
            return None
        chunks.append(event.get("body", b""))
        size += len(chunks[-1])
    return b"".join(chunks)


async def _send(send: Any, response: HttpResponse, more: Headers) -> None:
    headers = [*_encoded(response), (b"content-length", str(len(response.content)).encode()), *more]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})


def _headers_of(security: SecurityMiddleware, secure: bool) -> Headers:
    """What the middleware adds to every answer. It is the same each time, so it is asked once."""
    scheme = "https" if secure else "http"
    request = ASGIRequest({"path": "", "method": "POST", "headers": [], "scheme": scheme}, BytesIO())
    response = HttpResponse()
    del response["Content-Type"]
    security.process_response(request, response)
    return _encoded(response)


def _encoded(response: HttpResponse) -> Headers:
    return [(name.lower().encode("ascii"), value.encode("latin1")) for name, value in response.items()]


def _unused(_request: HttpRequest) -> HttpResponseBase:
    """What middleware is made around; the endpoint calls its steps itself."""
    raise NotImplementedError


def _problem(status: int, code: str, detail: str) -> HttpResponse:
    return HttpResponse(problems.encode(status, code, detail), status=status, content_type=problems.MEDIA_TYPE)
