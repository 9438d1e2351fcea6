"""Spans of publications for OpenTelemetry: an extra that is off by default, and then costs a look at a name.

What needs its packages is in ticks/otel.py, which is imported when ``MARKETMUX_OTEL`` is on.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from typing import Final, Protocol, cast

from ticks.conf import conf
from ticks.origin import Origin

__all__ = ["PACKAGES", "Spans", "missing", "publication_spans"]

logger = logging.getLogger(__name__)

PACKAGES: Final = "opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
"""What has to be installed."""


class Spans(Protocol):
    """Makes spans."""

    def publication(self, origin: Origin, way: str, ticks: int) -> AbstractContextManager[Origin]:
        """A span from the receipt of a batch to the end of the context, which gives the batch's place in the trace."""


@cache
def publication_spans() -> Spans | None:
    """None while spans are off."""
    if not conf.MARKETMUX_OTEL:
        return None
    if problem := missing():
        logger.warning("No spans, although MARKETMUX_OTEL is on: %s", problem)
        return None
    return cast("Spans", import_module("ticks.otel").exported())


def missing() -> str:
    """Why OpenTelemetry cannot be used; empty if it can."""
    try:
        import_module("ticks.otel")
    except ImportError as error:
        return str(error)
    return ""
