"""Spans of publications."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from pytest_django.fixtures import Settings

from bus.contract import LimitReached
from bus.memory import MemoryBus
from ticks import otel, publish
from ticks.origin import Origin
from ticks.spans import publication_spans
from ticks.tick import Tick

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
RECEIVED = 1_778_598_245_000_007
TICK = Tick("A", "1", "2026-05-12T15:04:05Z")


@pytest.fixture(autouse=True)
def read_again() -> Iterator[None]:
    """The setting is read again."""
    publication_spans.cache_clear()
    yield
    publication_spans.cache_clear()


@pytest.fixture
def spans(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    settings.MARKETMUX_OTEL = True
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(otel, "exported", lambda: otel.PublicationSpans(provider))
    return exporter


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The notes that reach the bus."""
    notes: list[bytes] = []

    class Noted(MemoryBus):
        async def publish(self, batch, idempotency=None, note=b""):  # type: ignore[no-untyped-def]
            notes.append(note)
            return await super().publish(batch, idempotency, note)

    noted = Noted()
    monkeypatch.setattr(publish, "get_bus", lambda: noted)
    return notes


async def test_a_publication_is_a_child_of_its_request(spans: InMemorySpanExporter, bus: list[bytes]) -> None:
    await publish.publish([TICK, TICK], way="http", origin=Origin(RECEIVED, f"00-{TRACE}-{PARENT}-01"))
    [span] = spans.get_finished_spans()
    assert (span.name, span.kind, span.start_time) == ("publish ticks", SpanKind.PRODUCER, RECEIVED * 1_000)
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert span.attributes is not None
    assert (span.attributes["marketmux.way"], span.attributes["messaging.batch.message_count"]) == ("http", 2)
    # What is done with its ticks is a child of the span.
    assert Origin.of(bus[0]) == Origin(RECEIVED, f"00-{TRACE}-{span.context.span_id:016x}-01")


async def test_a_publication_without_a_trace_begins_one(spans: InMemorySpanExporter, bus: list[bytes]) -> None:
    await publish.publish([TICK])
    [span] = spans.get_finished_spans()
    assert span.parent is None
    own = span.context
    assert Origin.of(bus[0]).traceparent == f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"


async def test_a_failure_is_in_the_span(
    spans: InMemorySpanExporter, bus: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise LimitReached("streams")

    monkeypatch.setattr(MemoryBus, "publish", refuse)
    with pytest.raises(LimitReached):
        await publish.publish([TICK])
    [span] = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR


async def test_off_there_is_nothing(bus: list[bytes], settings: Settings) -> None:
    given = f"00-{TRACE}-{PARENT}-00"
    await publish.publish([TICK], origin=Origin(RECEIVED, given))
    assert publication_spans() is None
    assert Origin.of(bus[0]) == Origin(RECEIVED, given)


@pytest.mark.parametrize("name", ["opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"])
async def test_without_its_packages_there_is_a_sentence(
    name: str,
    bus: list[bytes],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.MARKETMUX_OTEL = True
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "ticks.otel")
    with pytest.raises(
        SystemCheckError, match=r"ticks\.E007.*MARKETMUX_OTEL is on[\s\S]*pip install opentelemetry-sdk"
    ):
        call_command("check")
    await publish.publish([TICK])
    assert Origin.of(bus[0]).received
    assert "No spans, although MARKETMUX_OTEL is on" in caplog.text
