"""The OpenAPI document: valid, made from the tables, and at one with docs/reference/api.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from drf_spectacular.validation import validate_schema

from gateway.edge.openapi import document
from gateway.protocol import asyncapi as websockets
from ticks.fields import FIELDS
from ticks.parsers import NdjsonParser, TickParser
from ticks.problems import MEDIA_TYPE, PROBLEMS

REFERENCE = (Path(__file__).parents[3] / "docs" / "reference" / "api.md").read_text()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in document()["paths"].items()
    for method, operation in operations.items()
}


def test_it_is_openapi_3_1() -> None:
    assert document()["openapi"].startswith("3.1.")
    validate_schema(document())  # type: ignore[no-untyped-call]


def test_it_is_served_and_may_be_kept(client: Client) -> None:
    response = client.get("/api/v1/openapi.json")
    assert response["Content-Type"] == "application/json"
    assert "max-age=300" in response["Cache-Control"]
    assert response.json()["paths"].keys() == document()["paths"].keys()


def test_a_ticks_fields_are_those_of_the_table() -> None:
    schemas = document()["components"]["schemas"]
    names = [field.name for field in FIELDS]
    assert list(schemas["PublishedTick"]["properties"]) == names
    assert schemas["PublishedTick"]["additionalProperties"] is False
    assert list(schemas["LatestTick"]["properties"]) == [*names, "seq", "epoch"]
    assert schemas["Problem"]["properties"]["code"]["enum"] == sorted(PROBLEMS)


def test_a_body_may_be_what_the_parsers_take() -> None:
    body = OPERATIONS["POST /api/v1/ticks"]["requestBody"]
    assert body["required"]
    assert body["content"].keys() == {TickParser.media_type, NdjsonParser.media_type}


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_error_is_a_problem_and_says_what_to_do(name: str) -> None:
    for status, answer in OPERATIONS[name]["responses"].items():
        if int(status) < 400:
            continue
        of_text = name == "GET /metrics" and status != "405"
        assert answer["content"].keys() - {"text/html"} == {"text/plain" if of_text else MEDIA_TYPE}
        header = {"401": "WWW-Authenticate", "405": "Allow", "429": "Retry-After", "503": "Retry-After"}.get(status)
        assert header is None or answer["headers"][header]["required"]


def test_tokens_are_a_credential_of_all_that_keys_are_but_make_no_others() -> None:
    assert document()["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for name, operation in OPERATIONS.items():
        security = operation.get("security", [])
        is_for_tokens = {"apiKey": []} in security and name != "POST /api/v1/tokens"
        assert ({"bearer": []} in security) is is_for_tokens


def test_what_is_sometimes_in_an_answer_is_declared() -> None:
    schemas = document()["components"]["schemas"]
    for schema, names in {
        "TickPage": {"incomplete"},
        "Problem": {"symbols", "errors", "error_count", "reasons"},
        "Health": {"code", "detail"},
    }.items():
        assert names <= schemas[schema]["properties"].keys()
        assert names.isdisjoint(schemas[schema]["required"])
    assert schemas["Health"]["properties"]["status"]["enum"] == ["degraded", "ok"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_who_asks_for_html_is_answered_as_documented(client: Client, name: str) -> None:
    method, path = name.split()
    path = path.replace("{symbol}", "AAPL").replace("{code}", "not_found")
    if path == "/metrics":  # its workers are asked through the supervisor
        return
    response = client.generic(method, path, headers={"accept": "text/html"})
    kind = response["Content-Type"].partition(";")[0]
    assert kind in OPERATIONS[name]["responses"][str(response.status_code)]["content"]
    refused = client.generic("PUT", path, headers={"accept": "text/html"})
    assert refused["Content-Type"].partition(";")[0] in OPERATIONS[name]["responses"]["405"]["content"]


def test_the_reference_lists_the_same_operations() -> None:
    table = REFERENCE.split("\n## ")[0]
    listed = set(re.findall(r"^\| \[?`([A-Z]+ /[^`]*)`", table, re.MULTILINE))
    assert {re.sub(r"\?.*", "", each) for each in listed} == {
        *OPERATIONS,
        "GET /api/v1/docs",
        "GET /api/v1/docs/websockets",
    }


def test_every_status_of_the_reference_is_answered_by_some_operation() -> None:
    errors = REFERENCE.split("\n## Errors\n")[1]
    statuses = set(re.findall(r"^\| (\d{3}) \|", errors, re.MULTILINE))
    answered = {status for operation in OPERATIONS.values() for status in operation["responses"]}
    of_the_server = {"408", "414", "426", "431", "500"}
    assert statuses - of_the_server == {status for status in answered if status >= "400"}


def test_the_page_loads_nothing_from_elsewhere(client: Client) -> None:
    response = client.get("/api/v1/docs")
    page: Any = response.content.decode()
    assert re.findall(r'(?:src|href)="(?!/)', page) == []
    assert "unsafe" not in response["Content-Security-Policy"]
    for asset in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        assert finders.find(asset.removeprefix("/static/"))


def test_a_streams_events_are_messages_of_the_websocket() -> None:
    stream = OPERATIONS["GET /api/v1/stream"]
    schemas = websockets.document(websockets.Deployment("localhost", False, True, "sessionid"))["components"]["schemas"]
    assert {"tick", "snapshot", "conflated", "gap", "closing"} <= stream["x-events"].keys()
    for name, payload in stream["x-events"].items():
        assert f"| `{name}` | " in stream["description"]
        assert schemas[payload.rpartition("/")[2]]["properties"]["type"]["const"] == name
