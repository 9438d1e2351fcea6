"""The HTTP API: ticks come in by POST, the last one of each symbol can be read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

import msgspec
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest
from msgspec.structs import astuple
from rest_framework import status
from rest_framework.exceptions import NotAuthenticated, NotFound, ParseError, PermissionDenied
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from ticks import intake, lookups, publish, shares
from ticks.access import tokens
from ticks.access.grant import Grant, Scope
from ticks.access.patterns import Patterns
from ticks.authentication import (
    CredentialAuthentication,
    MayPublish,
    MayRead,
    SessionAuthentication,
    grant_of,
    look_up,
)
from ticks.errors import AccessDenied, InvalidIdempotencyKey, exception_handler
from ticks.fields import FIELDS
from ticks.grammar import instant, is_symbol, moment
from ticks.origin import Origin, checked_traceparent, received_now
from ticks.parsers import NdjsonParser, TickParser, TokenRequest, TokenRequestParser
from ticks.publish import key_of
from ticks.renderers import NOTHING, ExactJSONRenderer, PageRenderer, PublisherNegotiation, describe
from ticks.serializers import TickSerializer
from ticks.tick import MAX_BODY_BYTES, Placed, Tick

__all__ = ["AccessView", "ApiNotFoundView", "TickDetailView", "TickListView", "TokenView"]


class ExplicitView(APIView):
    """A DRF view that is the same whatever a project's ``REST_FRAMEWORK`` says."""

    parser_classes = [TickParser, NdjsonParser]
    renderer_classes = [ExactJSONRenderer, PageRenderer]
    content_negotiation_class = PublisherNegotiation
    authentication_classes = [CredentialAuthentication, SessionAuthentication]
    permission_classes = [MayRead]
    throttle_classes = []  # ticks/shares.py counts
    versioning_class = None

    def get_exception_handler(self) -> Any:
        return exception_handler

    def get_view_description(self, html: bool = False) -> str:
        return describe(self, html)


class AsyncAPIView(ExplicitView):
    """A view whose handlers are coroutines, so that it can await the bus on the server's own event loop."""

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        """DRF's dispatch step by step, with the handler awaited."""
        self.args, self.kwargs = args, kwargs
        self.request = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        try:
            await self._admit()
            answer = self._handler()(self.request, *args, **kwargs)
            response = await answer if inspect.isawaitable(answer) else answer
        except Exception as error:  # DRF sorts them, and raises what is not its own
            response = self.handle_exception(error)
        self.response = self.finalize_response(self.request, response, *args, **kwargs)
        if isinstance(self.request.accepted_renderer, ExactJSONRenderer):
            self.response.render()  # takes no database either; Django renders what is not rendered yet in a thread
        return self.response

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # DRF takes a request without a length, which is what a chunked one is, for an empty one.
        request.META.setdefault("CONTENT_LENGTH", str(MAX_BODY_BYTES))
        return super().initialize_request(request, *args, **kwargs)

    async def _admit(self) -> None:
        """Negotiates, authenticates and checks permissions: on the event loop, unless that takes the database.

        A login takes it, and neither a key nor a stranger's request does. Django raises before anything is asked of the
        database from the loop, and DRF then starts over in a thread.
        """
        await look_up(self.request)
        try:
            self.initial(self.request, *self.args, **self.kwargs)
        except SynchronousOnlyOperation:
            await lookups.ask(self.initial, self.request, *self.args, **self.kwargs)

    def _handler(self) -> Any:
        method = (self.request.method or "").lower()
        if method not in self.http_method_names:
            return self.http_method_not_allowed
        return getattr(self, method, self.http_method_not_allowed)


class TickPages(PageNumberPagination):
    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1_000


class TickListView(AsyncAPIView):
    """Publish ticks, or read the last tick of each symbol.

    POST one tick, or an array of up to 1,000, or as many lines of JSON (application/x-ndjson); all of them are
    published or, if one is invalid, none.

        {"symbol": "AAPL", "price": 150.25, "timestamp": "2026-05-12T15:04:05Z"}

    Optional: `bid`, `ask`, `size`, `extra`. Without a `timestamp` a tick gets the time of its receipt.
    """

    name = "Ticks"

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        self.received = received_now()
        response = await super().dispatch(request, *args, **kwargs)
        if request.method == "POST":
            intake.publications[f"http|{_result(response)}"] += 1
        return response

    @cached_property
    def paginator(self) -> TickPages:
        return TickPages()

    def get_serializer(self, *args: Any, **kwargs: Any) -> TickSerializer:
        """What the browsable API's form shows."""
        return TickSerializer(*args, **kwargs)

    def get_permissions(self) -> list[BasePermission]:
        return [MayPublish() if self.request.method == "POST" else MayRead()]

    async def get(self, request: Request) -> Response:
        after = request.query_params.get("after")
        if after is not None:
            return await self._get_behind(request, after)
        patterns = grant_of(request).read
        page = await publish.page_of(patterns, 0, 0)
        places: Any = self.paginator.paginate_queryset(range(page.total), request, view=self)
        if places:
            page = await publish.page_of(patterns, places[0], len(places))
        latest = await _latest(page.symbols)
        response = self.paginator.get_paginated_response(latest)
        return _marked(response, page.is_whole and len(latest) == len(page.symbols))

    async def _get_behind(self, request: Request, after: str) -> Response:
        """The page behind a symbol, with the way to the next one: what comes and goes meanwhile moves nothing."""
        if after and not is_symbol(after):
            raise ParseError("after is a symbol, or empty for the first page.")
        size = self.paginator.get_page_size(request) or TickPages.page_size
        page = await publish.page_of(grant_of(request).read, 0, size, after)
        symbols = page.symbols
        address = request.build_absolute_uri()
        following = replace_query_param(address, "after", symbols[-1]) if len(symbols) == size else None
        latest = await _latest(symbols)
        answer = {"count": page.total, "next": following, "previous": None, "results": latest}
        return _marked(Response(answer), page.is_whole and len(latest) == len(symbols))

    async def post(self, request: Request, failure: Exception | None = None) -> Response:
        """``failure``: what became of the publication, where that is known already."""
        if failure is not None:
            raise failure
        origin = Origin(self.received, checked_traceparent(request.META.get("HTTP_TRACEPARENT")))
        received = request.parser_context["received"] = moment(origin.received)
        sent = request.META.get("HTTP_IDEMPOTENCY_KEY")
        if sent is not None:
            return await self._post_once(request, key_of(sent), origin, received)
        ticks = _ticks_of(request)
        headers = await _admitted(request, ticks)
        await publish.publish(ticks, None, grant_of(request), "http", origin)
        return _accepted(ticks, headers)

    async def _post_once(self, request: Request, key: str | None, origin: Origin, received: str) -> Response:
        """Publishes the ticks unless they were published under the same key before.

        The same ticks may come again, and those without a time of their own were ``received`` at another then.
        """
        if key is None:
            raise InvalidIdempotencyKey
        ticks = _ticks_of(request)
        headers = await _admitted(request, ticks)
        grant = grant_of(request)
        idempotency = publish.idempotency(key, grant.owner, ticks, received)
        is_published = await publish.publish(ticks, idempotency, grant, "http", origin)
        response = _accepted(ticks, headers)
        if not is_published:
            response.headers["Idempotency-Replayed"] = "true"
        return response


class TickDetailView(AsyncAPIView):
    """The last tick of one symbol."""

    permission_classes = [MayRead]

    name = "Tick"

    async def get(self, request: Request, symbol: str) -> Response:
        if is_symbol(symbol) and grant_of(request).denied(Scope.READ, [symbol]):
            raise AccessDenied([symbol])
        latest = await publish.latest_of([symbol]) if is_symbol(symbol) else {}
        if symbol not in latest:
            raise NotFound(f"No tick of {symbol[:64]!r} has been published.")
        return Response(represent(latest[symbol]))


class AccessView(AsyncAPIView):
    """What you may do and, with `?symbol=AAPL`, whether that is so for a symbol and by which pattern."""

    permission_classes = []

    name = "Access"

    async def get(self, request: Request) -> Response:
        symbol = request.query_params.get("symbol")
        if symbol is not None and not is_symbol(symbol):
            raise ParseError("symbol is a symbol.")
        return Response(represent_grant(grant_of(request), symbol))


class TokenView(AsyncAPIView):
    """A token for a WebSocket's handshake, or a request, within a minute.

    It allows what your key or login allows, or the part of it that you ask for:

        {"audience": "ws", "scopes": {"subscribe": ["AAPL", "BTC-*"]}}

    `audience` is `ws` for /ws, `publish` for /ws/publish, or `http` for this API.
    """

    permission_classes = []
    parser_classes = [TokenRequestParser]

    name = "Token"

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # Who asks for everything need send nothing, and then says nothing of its type.
        request.META["CONTENT_TYPE"] = request.META.get("CONTENT_TYPE") or "application/json"
        return super().initialize_request(request, *args, **kwargs)

    async def post(self, request: Request) -> Response:
        grant = grant_of(request)
        if not grant.stands_on:
            raise NotAuthenticated
        if not tokens.can_issue(grant):
            raise PermissionDenied("Tokens are made from a key or a login, and not from tokens.")
        wanted = request.data if isinstance(request.data, TokenRequest) else TokenRequest()  # of an empty body
        try:
            scopes = None if wanted.scopes is None else tokens.patterns_of(wanted.scopes)
            _check_covered(grant, scopes or {})
            token = tokens.issue(grant, wanted.audience, scopes)
        except ValueError as error:
            raise ParseError(str(error)) from error
        body = {"token": token.text, "audience": wanted.audience, "expires_at": instant(token.expires)}
        return Response(body, headers={"Cache-Control": "no-store"})


class ApiNotFoundView(ExplicitView):
    """There is nothing at this address."""

    name = NOTHING

    authentication_classes = []
    permission_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound("There is nothing at this path of the API.")


def _result(response: Response) -> str:
    """What became of a publication, in a word."""
    if response.status_code != status.HTTP_202_ACCEPTED:
        return str(response.data["code"])
    return "repeated" if "Idempotency-Replayed" in response.headers else "published"


def _marked(response: Response, is_whole: bool) -> Response:
    """Says so where the symbols of a host that is away are neither listed nor counted."""
    if not is_whole:
        response.data["incomplete"] = True
    return response


async def _latest(symbols: list[str]) -> list[dict[str, Any]]:
    return [represent(one) for one in (await publish.latest_of(symbols)).values()]


def _ticks_of(request: Request) -> list[Tick]:
    ticks = request.data
    if not isinstance(ticks, list):  # DRF does not trouble a parser with an empty body
        raise ParseError("The body is empty: send a tick, or an array of ticks, as JSON.")
    return ticks


async def _admitted(request: Request, ticks: list[Tick]) -> Mapping[str, str]:
    """Headers that say what is left to who may publish the ticks."""
    grant = grant_of(request)
    if denied := publish.denied_symbols(grant, ticks):
        raise AccessDenied(denied)
    headers = shares.take(grant, len(ticks))
    await shares.check_new(grant, ticks)
    return headers


def _check_covered(grant: Grant, scopes: Mapping[Scope, Patterns]) -> None:
    denied = [
        f"{scope} {pattern}"
        for scope, patterns in scopes.items()
        for pattern in patterns
        if Patterns([pattern]) & grant.of(scope) != Patterns([pattern])
    ]
    if denied:
        raise AccessDenied(denied)


def _accepted(ticks: list[Tick], headers: Mapping[str, str]) -> Response:
    accepted = len(ticks)
    ticks.clear()  # the request is a cycle, and lives until the collector comes by; its ticks need not
    return Response({"accepted": accepted}, status=status.HTTP_202_ACCEPTED, headers=headers or None)


def represent_grant(grant: Grant, symbol: str | None) -> dict[str, Any]:
    """A grant for its holder: each scope with its patterns and, if a symbol is asked for, the one that covers it."""

    def of(scope: Scope) -> dict[str, Any]:
        patterns = grant.of(scope)
        if symbol is None:
            return {"patterns": list(patterns)}
        rule = patterns.rule(symbol)
        return {"patterns": list(patterns), "allowed": rule is not None, "rule": rule}

    return {
        "who": grant.who,
        "symbol": symbol,
        **{scope.value: of(scope) for scope in Scope},
        "limits": asdict(grant.limits),
        "expires_at": None if grant.expires is None else instant(grant.expires),
    }


def represent(latest: Placed) -> dict[str, Any]:
    """The last tick of a symbol as a value to render: numbers as they were sent."""
    tick, seq, epoch = latest
    values = {
        field.name: text if field.kind == "string" else msgspec.Raw(text.encode())
        for field, text in zip(FIELDS, astuple(tick), strict=True)
        if text is not None
    }
    return {**values, "seq": seq, "epoch": epoch}
