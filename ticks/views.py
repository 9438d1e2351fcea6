"""The HTTP API: ticks come in by POST, the last one of each symbol can be read."""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import Any

import msgspec
from channels.db import database_sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest
from rest_framework import status
from rest_framework.exceptions import NotFound, ParseError
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BrowsableAPIRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ticks import bus
from ticks.authentication import MayPublish, MaySubscribe
from ticks.parsers import MAX_BODY_BYTES, NdjsonParser, TickParser
from ticks.renderers import ExactJSONRenderer, PublisherNegotiation
from ticks.serializers import TickSerializer
from ticks.tick import Tick, is_symbol

__all__ = ["ApiNotFoundView", "TickDetailView", "TickListView"]


class AsyncAPIView(APIView):
    """A DRF view whose handlers are coroutines, so that it can await the bus on the server's own event loop."""

    parser_classes = [TickParser, NdjsonParser]
    renderer_classes = [ExactJSONRenderer, BrowsableAPIRenderer]
    content_negotiation_class = PublisherNegotiation

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

        A key that was used within the last seconds takes none, and neither does a stranger's request. Django raises
        before anything is asked of the database from the loop, and DRF then starts over in a thread.
        """
        try:
            self.initial(self.request, *self.args, **self.kwargs)
        except SynchronousOnlyOperation:
            await database_sync_to_async(self.initial)(self.request, *self.args, **self.kwargs)

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

    Optional: `bid`, `ask`, `size`. Without a `timestamp` a tick gets the time of its receipt.
    """

    name = "Ticks"

    @cached_property
    def paginator(self) -> TickPages:
        return TickPages()

    def get_serializer(self, *args: Any, **kwargs: Any) -> TickSerializer:
        """What the browsable API's form shows."""
        return TickSerializer(*args, **kwargs)

    def get_permissions(self) -> list[BasePermission]:
        return [MayPublish() if self.request.method == "POST" else MaySubscribe()]

    async def get(self, request: Request) -> Response:
        page = self.paginator.paginate_queryset(await bus.symbols(), request, view=self)
        ticks = await bus.latest_of(page or [])
        return self.paginator.get_paginated_response([represent(tick) for tick in ticks.values()])

    async def post(self, request: Request) -> Response:
        ticks = request.data
        if not isinstance(ticks, list):  # DRF does not trouble a parser with an empty body
            raise ParseError("The body is empty: send a tick, or an array of ticks, as JSON.")
        await bus.publish(ticks)
        accepted = len(ticks)
        ticks.clear()  # the request is a cycle, and lives until the collector comes by; its ticks need not
        return Response({"accepted": accepted}, status=status.HTTP_202_ACCEPTED)


class TickDetailView(AsyncAPIView):
    """The last tick of one symbol."""

    permission_classes = [MaySubscribe]

    name = "Tick"

    async def get(self, request: Request, symbol: str) -> Response:
        ticks = await bus.latest_of([symbol]) if is_symbol(symbol) else {}
        if symbol not in ticks:
            raise NotFound(f"No tick of {symbol[:64]!r} has been published.")
        return Response(represent(ticks[symbol]))


class ApiNotFoundView(APIView):
    """Any other path of the API."""

    renderer_classes = AsyncAPIView.renderer_classes
    authentication_classes = []
    permission_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound("There is nothing at this path of the API.")


def represent(tick: Tick) -> dict[str, Any]:
    """The tick as a value to render: numbers as they were sent."""
    numbers = {name: getattr(tick, name) for name in ("price", "bid", "ask", "size")}
    exact = {name: msgspec.Raw(digits.encode()) for name, digits in numbers.items() if digits is not None}
    return {"symbol": tick.symbol, "price": exact.pop("price"), "timestamp": tick.timestamp, **exact}
