"""The HTTP API as an OpenAPI 3.1 document: drf-spectacular goes over the views, and what it cannot see is said here.

operations.py describes the views of Django REST framework. Schemas come from the declarations in answers.py, codes from
the table in ticks/problems.py; views that are Django's alone are added at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings

from gateway import VERSION
from gateway.edge.answers import SCHEMAS
from gateway.edge.event_docs import EXAMPLE, described
from gateway.edge.operations import (
    BEARER,
    BEARER_SCHEME,
    HEADERS,
    HTML,
    JSON,
    PAGE,
    Credential,
    Json,
    Session,
    meaning,
)
from gateway.protocol.values import ref
from ticks.conf import conf
from ticks.problems import MEDIA_TYPE, TYPES, with_status

__all__ = ["complete", "document"]

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


_FOR_STAFF: Final = {"listNodes", "listConnections"}
_FOR_ALL: Final = {"getAccess"}
"""What nobody needs a credential for, and answers according to it."""


def complete(result: Json, **_: Any) -> Json:
    """drf-spectacular's last step: the schemas, the views that are Django's alone, and what holds everywhere."""
    result["paths"] = {**result["paths"], **_plain_paths()}
    after = {**SCHEMAS["Symbol"], "pattern": SCHEMAS["Symbol"]["pattern"].replace("{1,", "{0,")}
    result["components"]["schemas"] = {**SCHEMAS, "After": after, "Document": {"type": "object"}}
    result["components"]["securitySchemes"][BEARER] = BEARER_SCHEME
    for operation in (each for path in result["paths"].values() for each in path.values()):
        is_page = any(HTML in answer["content"] for answer in operation["responses"].values())
        operation["responses"].setdefault("405", _refusal(405, {HTML: {"schema": PAGE}} if is_page else {}))
        if operation["operationId"] in _FOR_STAFF:
            operation["security"] = [{Session.name: []}]
        elif "security" in operation and (conf.MARKETMUX_ANONYMOUS or operation["operationId"] in _FOR_ALL):
            operation["security"].append({})
        if operation["operationId"] == "makeToken":  # of a token none is made
            operation["security"].remove({BEARER: []})
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
    path["get"]["security"] = [{Credential.name: []}, {BEARER: []}, {Session.name: []}]
    return path


def _json(schema: str) -> Json:
    return {JSON: {"schema": ref(schema)}}


def _get(name: str, summary: str, content: Json, refusals: Json, parameters: Sequence[Json] = ()) -> Json:
    answers = {"200": {"description": summary, "content": content}, **refusals}
    operation = {"operationId": name, "summary": summary, "tags": ["gateway"], "parameters": [*parameters]}
    return {"get": {**operation, "responses": answers}}


def _refusal(status: int, more: Json | None = None) -> Json:
    content = {MEDIA_TYPE: {"schema": ref("Problem")}, **(more or {})}
    return _refused(meaning(status), content, status)


def _refused(description: str, content: Json, status: int) -> Json:
    answer: Json = {"description": description, "content": content}
    if status in HEADERS:
        name, text = HEADERS[status]
        answer["headers"] = {name: {"description": text, "required": True, "schema": {"type": "string"}}}
    return answer
