"""The HTTP API as an OpenAPI 3.1 document: drf-spectacular goes over the views, and what it cannot see is said here.

That is what a body may be and what is answered, with which headers. Schemas come from the declarations in answers.py,
error codes from the table in ticks/problems.py; views that are not DRF's are added at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, wraps
from typing import Any, Final

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiViewExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.settings import patched_settings
from drf_spectacular.utils import OpenApiParameter, OpenApiRequest, OpenApiResponse, extend_schema, extend_schema_view

from gateway import VERSION
from gateway.edge.answers import SCHEMAS
from gateway.edge.event_docs import EXAMPLE, described
from gateway.protocol.values import ref
from ticks.conf import conf
from ticks.problems import MEDIA_TYPE, TYPES, with_status
from ticks.publish import MAX_KEY_LENGTH
from ticks.tick import MAX_BATCH

__all__ = ["complete", "document"]

Json = dict[str, Any]

_JSON: Final = "application/json"
_HTML: Final = "text/html"
_ASKED: Final = (400, 401, 403, 406, 503)
"""What any question to the API may be answered with, beside its answer."""
_HEADERS: Final = {
    401: ("WWW-Authenticate", "The scheme to authenticate with."),
    405: ("Allow", "The methods that there are."),
    429: ("Retry-After", "Seconds to wait."),
    503: ("Retry-After", "Seconds to wait."),
}


_ABOUT: Final = {
    "OAS_VERSION": "3.1.0",
    "TITLE": "MarketMux",
    "DESCRIPTION": "Market data: ticks in over HTTP, the last one of each symbol out. WebSockets are in asyncapi.json.",
    "VERSION": VERSION,
    "LICENSE": {"name": "MIT"},
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "PREPROCESSING_HOOKS": [],
    "POSTPROCESSING_HOOKS": ["gateway.edge.openapi.complete"],
}


@cache
def document() -> Json:
    """The document, whose server is the one that serves it."""
    with patched_settings(_ABOUT):
        made: Json = SchemaGenerator(urlconf="gateway.urls").get_schema(request=None, public=True)
    return made


# The views of Django REST framework


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


_PAGE: Final = {"type": "string", "description": "A page of the browsable API, for who asks for HTML."}


def _answers(status: int, schema: str, description: str, *refusals: int) -> dict[tuple[int, str], OpenApiResponse]:
    """What an operation answers: a schema, or problems with these statuses."""
    answers = {(status, _JSON): OpenApiResponse(ref(schema), description)}
    for refusal in sorted(refusals):
        answers[refusal, MEDIA_TYPE] = OpenApiResponse(ref("Problem"), _meaning(refusal))
    # The same within a page, for people.
    return answers | {(code, _HTML): OpenApiResponse(_PAGE, each.description) for (code, _), each in answers.items()}


def _meaning(status: int) -> str:
    kinds = [problem for problem in with_status(status) if problem.code != "handshake_refused"]
    return "\n".join(f"- `{kind.code}`: {kind.when}" for kind in kinds)


def _headers(statuses: Sequence[int]) -> list[OpenApiParameter]:
    return [
        OpenApiParameter(name, str, OpenApiParameter.HEADER, required=True, description=text, response=[status])
        for status, (name, text) in _HEADERS.items()
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
                    _JSON: OpenApiRequest(_TICKS),
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
                request={_JSON: OpenApiRequest(ref("TokenRequest"))},
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
        return [{self.name: []}, {_BEARER: []}]


class Session(OpenApiAuthenticationExtension):
    target_class = "ticks.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> Json:
        text = "A login. Other methods than GET need the CSRF token in `X-CSRFToken`."
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME, "description": text}


_BEARER: Final = "bearer"
_BEARER_SCHEME: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of `POST /api/v1/tokens`, or a JWT of your own application.",
}

# The other views

_FOR_STAFF: Final = {"listNodes", "listConnections"}
_FOR_ALL: Final = {"getAccess"}
"""What nobody needs a credential for, and answers according to it."""


def complete(result: Json, **_: Any) -> Json:
    """drf-spectacular's last step: the schemas, the views that are Django's alone, and what holds everywhere."""
    result["paths"] = {**result["paths"], **_plain_paths()}
    after = {**SCHEMAS["Symbol"], "pattern": SCHEMAS["Symbol"]["pattern"].replace("{1,", "{0,")}
    result["components"]["schemas"] = {**SCHEMAS, "After": after, "Document": {"type": "object"}}
    result["components"]["securitySchemes"][_BEARER] = _BEARER_SCHEME
    for operation in (each for path in result["paths"].values() for each in path.values()):
        is_page = any(_HTML in answer["content"] for answer in operation["responses"].values())
        operation["responses"].setdefault("405", _refusal(405, {_HTML: {"schema": _PAGE}} if is_page else {}))
        if operation["operationId"] in _FOR_STAFF:
            operation["security"] = [{Session.name: []}]
        elif "security" in operation and (conf.MARKETMUX_ANONYMOUS or operation["operationId"] in _FOR_ALL):
            operation["security"].append({})
        if operation["operationId"] == "makeToken":  # of a token none is made
            operation["security"].remove({_BEARER: []})
    result["paths"]["/api/v1/ticks"]["post"]["requestBody"]["required"] = True
    result["servers"] = [{"url": "/"}]
    result["x-problems"] = [problem._asdict() for problem in with_status(*range(400, 600))]
    return result


_CODE: Final = {"name": "code", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[a-z_]+$"}}


def _plain_paths() -> Json:
    text = {"text/plain": {"schema": {"type": "string"}}}
    metrics = {
        "401": _refused("There is a metrics token, and this is not it.", text, 401),
        "403": _refused("The gateway has a public address and no metrics token.", text, 403),
        "503": _refused("The supervisor does not answer.", text, 503),
    }
    return {
        "/api/v1/stream": _stream(),
        "/livez": _get("getAlive", "Whether the worker lives", _json("Alive"), {}),
        "/readyz": _get("getReady", "Whether clients may be sent here", _json("Ready"), {"503": _refusal(503)}),
        "/healthz": _get("getHealth", "Whether the gateway is well", _json("Health"), {"503": _refusal(503)}),
        "/metrics": _get("getMetrics", "What a worker holds and has done, for Prometheus", text, metrics),
        "/api/v1/openapi.json": _get("getOpenApi", "This document", _json("Document"), {}),
        "/api/v1/asyncapi.json": _get("getAsyncApi", "The WebSockets, as an AsyncAPI document", _json("Document"), {}),
        TYPES + "{code}": _get(
            "getProblem", "What the code of a problem means", _json("Kind"), {"404": _refusal(404)}, [_CODE]
        ),
    }


def _stream() -> Json:
    parameters = [
        {"name": name, "in": place, "required": name == "symbols", "schema": schema, "description": text}
        for name, place, schema, text in (
            ("symbols", "query", {"type": "string"}, "Symbols joined by commas, or `*`."),
            ("max_rate", "query", {"type": "number"}, "Ticks a second of each symbol at most."),
            ("snapshot", "query", {"type": "boolean"}, "Whether the last ticks come first; true if not given."),
            ("Last-Event-ID", "header", {"type": "string"}, "The last `id` of the stream that this goes on with."),
        )
    ]
    refusals = {str(status): _refusal(status) for status in (400, 401, 403, 429, 503)}
    text = {"text/event-stream": {"schema": {"type": "string"}, "example": EXAMPLE}}
    path = _get("streamTicks", "Ticks as server-sent events: the messages of `/ws`", text, refusals, parameters)
    path["get"] |= described()
    path["get"]["security"] = [{Credential.name: []}, {_BEARER: []}, {Session.name: []}]
    return path


def _json(schema: str) -> Json:
    return {_JSON: {"schema": ref(schema)}}


def _get(name: str, summary: str, content: Json, refusals: Json, parameters: Sequence[Json] = ()) -> Json:
    answers = {"200": {"description": summary, "content": content}, **refusals}
    operation = {"operationId": name, "summary": summary, "tags": ["gateway"], "parameters": [*parameters]}
    return {"get": {**operation, "responses": answers}}


def _refusal(status: int, more: Json | None = None) -> Json:
    content = {MEDIA_TYPE: {"schema": ref("Problem")}, **(more or {})}
    return _refused(_meaning(status), content, status)


def _refused(description: str, content: Json, status: int) -> Json:
    answer: Json = {"description": description, "content": content}
    if status in _HEADERS:
        name, text = _HEADERS[status]
        answer["headers"] = {name: {"description": text, "required": True, "schema": {"type": "string"}}}
    return answer
