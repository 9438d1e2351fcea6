"""Every place that writes out a tick's fields has those of the table, in its order where order shows.

After a line was added to ticks/fields.py, each failure here names a place that does not have the field yet.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from django.core.management import call_command

from gateway.protocol.asyncapi import Deployment, document
from gateway.protocol.frames import texts
from gateway.protocol.messages import snapshot_frame, tick_frame
from marketmux_client import events, messages
from tests.conformance import PUBLISHERS, Conformance
from ticks.decode import decode_carefully, decode_fast
from ticks.extra import extra
from ticks.fields import FIELDS, OPTIONAL
from ticks.grammar import check_symbol, number, size, timestamp
from ticks.models import RecordedTick
from ticks.recorded_admin import RecordedTickAdmin
from ticks.tick import Placed, Tick, TickMessage
from ticks.views import represent

ROOT: Final = Path(__file__).resolve().parents[2]

NAMES: Final = [field.name for field in FIELDS]
OPTIONAL_NAMES: Final = [field.name for field in OPTIONAL]

SAMPLES: Final[dict[Any, str]] = {
    check_symbol: '"EUR/USD"',
    number: "1.0850",
    size: "1000000",
    timestamp: '"2026-05-12T15:04:05.123456789Z"',
    extra: '{"venue":"XNAS","fee":0.0030,"lots":3,"late":false,"note":null}',
}
"""A value of each kind of field, as JSON."""

BODY: Final = "{" + ",".join(f'"{field.name}":{SAMPLES[field.rule]}' for field in FIELDS) + "}"
"""A tick with every field, as compact JSON."""

EXACT: Final[dict[str, Any]] = json.loads(BODY, parse_float=Decimal, parse_int=Decimal)
"""Its values."""


def full_tick() -> Tick:
    return Tick(**{field.name: SAMPLES[field.rule].strip('"') for field in FIELDS})


# The table


def test_the_table_begins_with_what_every_tick_has() -> None:
    assert [field.presence for field in FIELDS] == ["required", "required", "received"] + ["optional"] * len(OPTIONAL)
    assert NAMES[:3] == ["symbol", "price", "timestamp"]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_rule_leaves_alone_what_is_in_the_form_of_ticks(field: Any) -> None:
    text = SAMPLES[field.rule].strip('"')
    assert field.rule(text) == text


# ticks/tick.py


def test_the_struct_has_every_field() -> None:
    kinds = {field.name: field.type for field in msgspec.structs.fields(Tick)}
    optional = {field.name: field.presence == "optional" for field in FIELDS}
    assert kinds == {name: str | None if optional[name] else str for name in NAMES}
    assert list(kinds) == NAMES


def test_the_json_of_a_tick_has_every_field() -> None:
    assert f"{{{full_tick().json()}}}" == BODY


def test_the_message_of_a_tick_has_every_field() -> None:
    message = full_tick().message()
    assert list(message) == ["type", *NAMES]
    assert Tick.from_message(message) == full_tick()


def test_the_type_of_messages_has_every_field() -> None:
    assert list(TickMessage.__annotations__) == ["type", *NAMES]
    assert {name for name, kind in TickMessage.__annotations__.items() if "NotRequired" in str(kind)} == set(
        OPTIONAL_NAMES
    )


# Publishing and reading over HTTP


@pytest.mark.parametrize("way", [decode_fast, decode_carefully])
def test_every_field_can_be_published(way: Callable[[bytes], list[Tick]]) -> None:
    assert way(BODY.encode()) == [full_tick()]


def test_the_answer_about_the_last_tick_has_every_field() -> None:
    answer = msgspec.json.encode(represent(Placed(full_tick(), 7, "5f3a9c1e"))).decode()
    assert answer == BODY.removesuffix("}") + ',"seq":7,"epoch":"5f3a9c1e"}'


# The database


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_there_is_a_column_for_every_field(field: Any) -> None:
    column: Any = RecordedTick._meta.get_field(field.name)
    assert (column.max_length, column.blank) == (field.length, field.presence == "optional")


@pytest.mark.django_db
def test_every_field_is_recorded() -> None:
    tick = full_tick()
    RecordedTick.objects.record([Placed(tick, 1041, "5f3a9c1e")])
    recorded = RecordedTick.objects.get()
    assert {name: getattr(recorded, name) for name in NAMES} == {name: getattr(tick, name) for name in NAMES}


@pytest.mark.django_db
def test_the_migrations_make_every_column() -> None:
    out = StringIO()
    call_command("makemigrations", "marketmux_ticks", dry_run=True, skip_checks=True, stdout=out)
    assert out.getvalue().strip() == "No changes detected in app 'marketmux_ticks'"


def test_the_admin_shows_every_field() -> None:
    assert [name for name in NAMES if name not in RecordedTickAdmin.list_display] == []


# The WebSocket protocol for machines


def test_the_document_has_every_field_of_what_is_published() -> None:
    schema = document(Deployment("127.0.0.1:8000", False, False, "sessionid"))["components"]["schemas"]["PublishedTick"]
    assert list(schema["properties"]) == [*schema["required"], *(n for n in NAMES if n not in schema["required"])]
    assert sorted(schema["properties"]) == sorted(NAMES)
    assert schema["required"] == [field.name for field in FIELDS if field.presence == "required"]


def test_the_document_has_null_for_what_publishers_may_leave_out() -> None:
    side = Conformance(document(Deployment("127.0.0.1:8000", False, False, "sessionid"))).client[PUBLISHERS]
    tick = json.loads(BODY)
    for field in FIELDS:
        assert side.takes({**tick, field.name: None}) is (field.presence != "required")


# The Python client


@pytest.mark.parametrize("event", [events.Tick, events.Snapshot])
def test_the_events_of_the_client_have_every_field(event: type[events.Quote]) -> None:
    fields = {field.name: field.default is None for field in dataclasses.fields(event) if field.name != "trace"}
    assert sorted(fields.keys() - {"seq", "epoch"}) == sorted(NAMES)
    assert {name for name, is_optional in fields.items() if is_optional} == set(OPTIONAL_NAMES)


def test_the_client_reads_every_field() -> None:
    [tick] = texts(tick_frame(full_tick().json(), 7))
    [snapshot] = texts(snapshot_frame(full_tick().json(), 7, "5f3a9c1e"))
    assert dataclasses.asdict(messages.tick(messages.decode(tick))) == {**EXACT, "seq": 7, "trace": None}
    assert dataclasses.asdict(messages.snapshot(messages.decode(snapshot))) == {
        **EXACT, "seq": 7, "epoch": "5f3a9c1e", "trace": None
    }  # fmt: skip


# The JavaScript client, and the demo page, which is made of it


def test_the_javascript_client_declares_every_field() -> None:
    source = (ROOT / "clients/javascript/src/events.ts").read_text()
    [declared] = re.findall(r"interface Price<N> \{\n(.*?)\n\}", source, re.DOTALL)
    properties = re.findall(r"^  readonly (\w+): (.*);$", declared, re.MULTILINE)
    assert {name for name, _ in properties} == {*NAMES, "seq", "trace"}
    optional = [name for name, kind in properties if kind.endswith("| null") and name != "trace"]
    assert optional == OPTIONAL_NAMES


# The documents


def page(name: str) -> str:
    return (ROOT / "docs/reference" / name).read_text()


def named(text: str) -> list[str]:
    return re.findall(r"`(\w+)`", text)


def test_the_description_of_the_http_api_has_every_field() -> None:
    text = page("api.md").split("\n## A tick\n")[1].split("\n\n**")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", text, re.MULTILINE)
    assert [(name, presence) for names, presence in rows for name in named(names)] == [
        (field.name, "the time of receipt if absent" if field.presence == "received" else field.presence)
        for field in FIELDS
    ]
    [example] = re.findall(r"^```json\n(.*?)\n```$", text, re.MULTILINE)
    assert list(json.loads(example)) == NAMES


def test_the_description_of_group_messages_has_every_field() -> None:
    [paragraph] = [text for text in page("api.md").split("\n\n") if text.startswith("A group message is")]
    assert [name for name in NAMES if f'"{name}"' not in paragraph and f"`{name}`" not in paragraph] == []


def test_the_description_of_the_websocket_protocol_has_every_field() -> None:
    [paragraph] = [text for text in page("protocol.md").split("\n\n") if text.startswith("**`tick`**")]
    assert [name for name in OPTIONAL_NAMES if name not in named(paragraph)] == []


def test_the_description_of_the_client_has_every_field() -> None:
    [fields] = re.findall(r"^\| `Tick` \| (.*?) \|", page("client.md"), re.MULTILINE)
    assert named(fields) == [field.name for field in dataclasses.fields(events.Tick)]
