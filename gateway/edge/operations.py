"""The operations of Django REST framework's views, for the OpenAPI document: what they take and answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any, Final

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiViewExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiRequest, OpenApiResponse, extend_schema, extend_schema_view

from gateway.protocol.values import ref
from ticks.problems import MEDIA_TYPE, with_status
from ticks.publish import MAX_KEY_LENGTH
from ticks.tick import MAX_BATCH

__all__ = ["BEARER", "BEARER_SCHEME", "HEADERS", "HTML", "JSON", "PAGE", "Credential", "Json", "Session", "meaning"]

Json = dict[str, Any]

JSON: Final = "application/json"
HTML: Final = "text/html"
_ASKED: Final = (400, 401, 403, 406, 503)
"""What any question to the API may be answered with, beside its answer."""
HEADERS: Final = {
    401: ("WWW-Authenticate", "The scheme to authenticate with."),
    405: ("Allow", "The methods that there are."),
    429: ("Retry-After", "Seconds to wait."),
    503: ("Retry-After", "Seconds to wait."),
}


def _described(view: Any, **operations: Any) -> type:
    """The view with its operations described."""
    handlers = {name: _with_schema(getattr(view, name)) for name in operations}
    described = type("Described", (view,), {**handlers, "schema": AutoSchema()})
    return extend_schema_view(**operations)(described)


def _with_schema(handler: Any) -> Any:
    """The handler, whose description is drf-spectacular's, whatever a project's ``DEFAULT_SCHEMA_CLASS`` is."""

    @wraps(handler)
    def operation(*args: Any, **kwargs: Any) -> Any:
        return handler(*args, **kwargs)

    operation.kwargs = {"schema": AutoSchema}  # type: ignore[attr-defined]
    return operation


PAGE: Final = {"type": "string", "description": "A page of the browsable API, for who asks for HTML."}


def _answers(status: int, schema: str, description: str, *refusals: int) -> dict[tuple[int, str], OpenApiResponse]:
    """What an operation answers: a schema, or problems with these statuses."""
    answers = {(status, JSON): OpenApiResponse(ref(schema), description)}
    for refusal in sorted(refusals):
        answers[refusal, MEDIA_TYPE] = OpenApiResponse(ref("Problem"), meaning(refusal))
    # The same within a page, for people.
    return answers | {(code, HTML): OpenApiResponse(PAGE, each.description) for (code, _), each in answers.items()}


def meaning(status: int) -> str:
    kinds = [problem for problem in with_status(status) if problem.code != "handshake_refused"]
    return "\n".join(f"- `{kind.code}`: {kind.when}" for kind in kinds)


def _headers(statuses: Sequence[int]) -> list[OpenApiParameter]:
    return [
        OpenApiParameter(name, str, OpenApiParameter.HEADER, required=True, description=text, response=[status])
        for status, (name, text) in HEADERS.items()
        if status in statuses
    ]


def _query(name: str, schema: Json, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, schema, OpenApiParameter.QUERY, description=description)


_TICKS: Final = {
    "anyOf": [ref("PublishedTick"), {"type": "array", "items": ref("PublishedTick"), "maxItems": MAX_BATCH}]
}
_LINES: Final = {"type": "string", "description": "A tick in each line, as JSON; empty lines are skipped."}
_KEY: Final = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": f"^[!-~]{{1,{MAX_KEY_LENGTH}}}$"},
    OpenApiParameter.HEADER,
    description="The publisher's own: the ticks are published once, however often they come under it.",
)
_REPLAYED: Final = OpenApiParameter(
    "Idempotency-Replayed",
    {"const": "true", "type": "string"},
    OpenApiParameter.HEADER,
    description="The ticks were published before.",
    response=[202],
)
_TAKEN: Final = (*_ASKED, 413, 415)
_PUBLISHED: Final = (*_TAKEN, 422, 429, 507)


class Ticks(OpenApiViewExtension):
    """``/api/v1/ticks``."""

    target_class = "ticks.views.TickListView"

    def view_replacement(self) -> type:
        return _described(
            self.target_class,
            get=extend_schema(
                operation_id="listTicks",
                summary="The latest tick of each symbol",
                description="In pages, in the order of the symbols' groups: alphabetical for letters and digits.",
                parameters=[
                    _query("page", {"type": "string", "pattern": "^([1-9][0-9]{0,6}|last)$"}, "A number, or `last`."),
                    _query("page_size", {"type": "integer", "minimum": 1}, "100 if not given, and at most 1,000."),
                    _query("after", ref("After"), "In place of `page`: the symbols behind this one."),
                    *_headers(_ASKED),
                ],
                responses=_answers(200, "TickPage", "A page.", *_ASKED, 404),
            ),
            post=extend_schema(
                operation_id="publishTicks",
                summary="Publish ticks",
                description="All of the ticks are published, in their order, or none.",
                parameters=[_KEY, _REPLAYED, *_headers(_PUBLISHED)],
                request={
                    JSON: OpenApiRequest(_TICKS),
                    "application/x-ndjson": OpenApiRequest(_LINES),
                },
                responses=_answers(202, "Accepted", "The ticks are with the bus.", *_PUBLISHED),
            ),
        )


class Tick(OpenApiViewExtension):
    """``/api/v1/ticks/{symbol}``."""

    target_class = "ticks.views.TickDetailView"

    def view_replacement(self) -> type:
        return _described(
            self.target_class,
            get=extend_schema(
                operation_id="getTick",
                summary="The latest tick of one symbol",
                description="A slash in the symbol may be written as it is or as `%2F`.",
                parameters=[OpenApiParameter("symbol", ref("Symbol"), OpenApiParameter.PATH), *_headers(_ASKED)],
                responses=_answers(200, "LatestTick", "The tick.", *_ASKED, 404),
            ),
        )


class Access(OpenApiViewExtension):
    """``/api/v1/access``."""

    target_class = "ticks.views.AccessView"

    def view_replacement(self) -> type:
        return _described(
            self.target_class,
            get=extend_schema(
                operation_id="getAccess",
                summary="What the caller may do",
                description="With a symbol: whether that is so for it, and by which pattern.",
                parameters=[_query("symbol", ref("Symbol"), "The symbol asked about."), *_headers(_ASKED)],
                responses=_answers(200, "Access", "What it may do.", *_ASKED),
            ),
        )


class Tokens(OpenApiViewExtension):
    """``/api/v1/tokens``."""

    target_class = "ticks.views.TokenView"

    def view_replacement(self) -> type:
        return _described(
            self.target_class,
            post=extend_schema(
                operation_id="makeToken",
                summary="A token for a browser or another service",
                description="It allows what the caller may do, or the part of it that is asked for, for a minute.",
                parameters=_headers(_TAKEN),
                request={JSON: OpenApiRequest(ref("TokenRequest"))},
                responses=_answers(200, "Token", "The token.", *_TAKEN),
            ),
        )


class Nodes(OpenApiViewExtension):
    """``/api/v1/nodes``."""

    target_class = "gateway.edge.staff.NodesView"

    def view_replacement(self) -> type:
        return _described(
            self.target_class,
            get=extend_schema(
                operation_id="listNodes",
                summary="All workers of all gateways, and their figures",
                description="For staff. Each worker says every two seconds how it is.",
                parameters=_headers(_ASKED),
                responses=_answers(200, "Picture", "The workers.", *_ASKED),
            ),
        )


class Connections(OpenApiViewExtension):
    """``/api/v1/connections``."""

    target_class = "gateway.edge.staff.ConnectionsView"

    def view_replacement(self) -> type:
        return _described(
            self.target_class,
            get=extend_schema(
                operation_id="listConnections",
                summary="Who is connected",
                description="For staff that may view connections: the oldest 500 of those that are meant.",
                parameters=[
                    _query("q", {"type": "string"}, "Part of a key's name, a user's or an address; or a symbol."),
                    _query("after", {"type": "string"}, "Where to go on: `next` of the page before."),
                    *_headers(_ASKED),
                ],
                responses=_answers(200, "Connections", "The connections.", *_ASKED),
            ),
        )


class Credential(OpenApiAuthenticationExtension):
    target_class = "ticks.authentication.CredentialAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> Json:
        text = "`Api-Key` and the key (`manage.py create_key`)."
        return {"type": "apiKey", "in": "header", "name": "Authorization", "description": text}

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        return [{self.name: []}, {BEARER: []}]


class Session(OpenApiAuthenticationExtension):
    target_class = "ticks.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> Json:
        text = "A login. Other methods than GET need the CSRF token in `X-CSRFToken`."
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME, "description": text}


BEARER: Final = "bearer"
BEARER_SCHEME: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of `POST /api/v1/tokens`, or a JWT of your own application.",
}
