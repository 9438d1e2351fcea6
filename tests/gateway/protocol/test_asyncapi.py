"""The AsyncAPI document: valid, complete, and at its address for everybody."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.test import AsyncClient, Client
from jsonschema import Draft7Validator
from pytest_django import Settings

from gateway.protocol import commands, messages
from gateway.protocol.asyncapi import Deployment, document, encode
from gateway.protocol.codes import CLOSURES, ERRORS

SCHEMA = Path(__file__).resolve().parents[3] / "tests" / "data" / "asyncapi" / "3.0.0.json.gz"
PATH = "/api/v1/asyncapi.json"


DECLARED = [
    value
    for module in (commands, messages)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, msgspec.Struct) and value is not messages.Event and name[0] != "_"
]


def served(**changes: Any) -> Any:
    """The document as it is read by those it is for."""
    deployment = Deployment(host="ticks.example.com", secure=True, anonymous=False, session_cookie="sessionid")
    return json.loads(encode(document(deployment._replace(**changes))))


@pytest.fixture(scope="module")
def asyncapi() -> Draft7Validator:
    """AsyncAPI's own schema (tests/data/asyncapi/README.md)."""
    return Draft7Validator(json.loads(gzip.decompress(SCHEMA.read_bytes())))


@pytest.mark.parametrize("anonymous", [True, False])
def test_the_document_is_valid(asyncapi: Draft7Validator, anonymous: bool) -> None:
    assert [*asyncapi.iter_errors(served(anonymous=anonymous))] == []


def test_the_schema_would_notice_if_it_were_not(asyncapi: Draft7Validator) -> None:
    wrong = served()
    wrong["operations"]["subscribe"]["action"] = "take"
    assert not asyncapi.is_valid(wrong)


def test_every_payload_is_a_json_schema() -> None:
    components = served()["components"]
    for schema in [
        *components["schemas"].values(),
        *(message["payload"] for message in components["messages"].values()),
    ]:
        Draft7Validator.check_schema(schema)


def test_every_reference_leads_somewhere() -> None:
    whole = served()
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(whole))
    assert references
    for reference in references:
        found = whole
        for step in reference.split("/"):
            found = found[step]


def test_every_payload_has_a_name() -> None:
    components = served()["components"]
    for name, message in components["messages"].items():
        assert message["payload"] == {"$ref": f"#/components/schemas/{name[0].upper()}{name[1:]}"}


def nameless(schema: Any) -> Iterator[Any]:
    """What generators of clients would make a class without a name of, below the top of a schema."""
    alternatives = [part for key in ("anyOf", "oneOf", "allOf") for part in schema.get(key, [])]
    yield from (part for part in alternatives if not part.keys() & {"$ref", "type", "enum", "oneOf"})
    inner = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for part in [*alternatives, *filter(None, inner)]:
        if part.get("type") == "object" or part.keys() & {"enum", "oneOf", "allOf"}:
            yield part
        yield from nameless(part)


def test_nothing_in_a_payload_is_a_class_without_a_name() -> None:
    schemas = served()["components"]["schemas"]
    assert [(name, part) for name, schema in schemas.items() for part in nameless(schema)] == []


@pytest.mark.parametrize("part", [{"enum": ["a", "b"]}, {"type": "object"}, {"oneOf": []}])
def test_a_class_without_a_name_would_be_found(part: Any) -> None:
    assert [*nameless({"type": "object", "properties": {"a": {"type": "array", "items": part}}})] == [part]
    assert [*nameless({"anyOf": [{"type": "string"}, part]})] == [part]


def test_an_alternative_that_only_says_what_is_required_has_no_name_either() -> None:
    assert [*nameless({"oneOf": [{"$ref": "#/a"}, {"required": ["a"]}]})] == [{"required": ["a"]}]


@pytest.mark.parametrize("kind", [*DECLARED], ids=lambda kind: kind.__name__)
def test_every_declaration_is_a_schema_by_its_name(kind: type[msgspec.Struct]) -> None:
    """A struct in the language that the document does not mention is one that no client hears of."""
    schema = served()["components"]["schemas"][kind.__name__]
    config = kind.__struct_config__
    tag = [] if config.tag is None else [config.tag_field]
    assert list(schema["properties"]) == [*tag, *kind.__struct_fields__]
    assert schema.get("additionalProperties", True) is not config.forbid_unknown_fields


def test_every_message_is_on_a_channel_and_in_an_operation() -> None:
    whole = served()
    on_channels = {(channel, name) for channel, content in whole["channels"].items() for name in content["messages"]}
    in_operations = {
        tuple(reference["$ref"].split("/")[2::2])
        for operation in whole["operations"].values()
        for reference in [*operation["messages"], *operation.get("reply", {"messages": []})["messages"]]
    }
    assert in_operations == on_channels
    assert {name for _, name in on_channels} == whole["components"]["messages"].keys()


def test_the_codes_are_those_of_the_code() -> None:
    whole = served()
    assert {row["code"]: (row["meaning"], row["retry"]) for row in whole["x-error-codes"]} == {
        code.value: (kind.meaning, kind.retry) for code, kind in ERRORS.items()
    }
    assert [
        (row["code"], row["reason"], row["reconnect"], row["wait"], row["announced"]) for row in whole["x-close-codes"]
    ] == [(each.code, each.reason, each.reconnect, each.wait, each.announced) for each in CLOSURES]


def test_a_session_subscribes_and_does_not_publish() -> None:
    operations = served()["operations"]
    schemes = {
        name: [scheme["$ref"].rpartition("/")[2] for scheme in operation["security"]]
        for name, operation in operations.items()
    }
    assert schemes["subscribe"] == schemes["deliver"] == ["apiKey", "token", "session"]
    assert schemes["publish"] == ["apiKey", "token"]


def test_where_anyone_may_connect_nothing_is_asked_for() -> None:
    assert not any("security" in operation for operation in served(anonymous=True)["operations"].values())


# At its address


async def test_anybody_may_read_it(async_client: AsyncClient, settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = False
    response = await async_client.get(PATH)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.json()["asyncapi"] == "3.0.0"


async def test_it_may_be_cached(async_client: AsyncClient) -> None:
    response = await async_client.get(PATH)
    assert response.headers["Cache-Control"] == "public, max-age=300"
    assert response.headers["Vary"] == "Accept-Encoding, origin"  # which is for pages of other sites
    assert not response.cookies


def test_the_server_is_the_one_that_was_asked(client: Client, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["ticks.example.com"]
    response = client.get(PATH, headers={"host": "ticks.example.com:8443"})
    assert response.json()["servers"]["gateway"] == {"host": "ticks.example.com:8443", "protocol": "ws"}


def test_over_tls_the_server_is_wss(client: Client, settings: Settings) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    response = client.get(PATH, headers={"x-forwarded-proto": "https"})
    assert response.json()["servers"]["gateway"]["protocol"] == "wss"


def test_a_host_that_is_not_allowed_is_not_repeated(client: Client, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["ticks.example.com"]
    response = client.get(PATH, headers={"host": "evil.example.com"})
    assert response.status_code == 400


async def test_it_can_only_be_read(async_client: AsyncClient) -> None:
    assert (await async_client.post(PATH)).status_code == 405
    assert (await async_client.head(PATH)).status_code == 200


async def test_prices_keep_their_digits(async_client: AsyncClient) -> None:
    assert b'"price":150.250' in (await async_client.get(PATH)).content
