"""Spans by OpenTelemetry's SDK, which go where its own ``OTEL_`` variables say. Imported only where it is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, use_span
from opentelemetry.trace import TracerProvider as AnyProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ticks.origin import Origin

__all__ = ["PublicationSpans", "exported"]

_propagator = TraceContextTextMapPropagator()


class PublicationSpans:
    """Spans of publications, by the tracer of a provider."""

    def __init__(self, provider: AnyProvider) -> None:
        self._tracer = provider.get_tracer("marketmux")

    @contextmanager
    def publication(self, origin: Origin, way: str, ticks: int) -> Iterator[Origin]:
        """A child of the request's ``traceparent``, if it had one, and the parent of what is done with its ticks."""
        span = self._tracer.start_span(
            "publish ticks",
            _propagator.extract({"traceparent": origin.traceparent}),
            SpanKind.PRODUCER,
            {"marketmux.way": way, "messaging.system": "marketmux", "messaging.batch.message_count": ticks},
            start_time=origin.received * 1_000,
        )
        own = span.get_span_context()
        with use_span(span, end_on_exit=True):
            yield origin._replace(traceparent=f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}")


def exported() -> PublicationSpans:
    """Spans that are sent in batches, by a thread, over OTLP and HTTP."""
    resource = Resource({SERVICE_NAME: "marketmux"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return PublicationSpans(provider)
