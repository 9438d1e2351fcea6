"""DRF's parser for request bodies with ticks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser

from ticks.decode import decode
from ticks.errors import TooLarge
from ticks.renderers import ExactJSONRenderer
from ticks.tick import MAX_BODY_BYTES, Tick

__all__ = ["NdjsonParser", "TickParser"]


class TickParser(BaseParser):
    """Makes ``request.data`` a list of :class:`~ticks.tick.Tick`."""

    media_type = "application/json"
    renderer_class = ExactJSONRenderer
    lines = False

    def parse(  # type: ignore[override] # the stubs know only of parsers for mappings
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> list[Tick]:
        context = parser_context or {}
        meta = context["request"].META
        coding = meta.get("HTTP_CONTENT_ENCODING", "identity")
        if coding.strip().lower() != "identity":
            raise UnsupportedMediaType(coding, f"The body has the content encoding {coding}; send it as it is.")
        body = stream.read(MAX_BODY_BYTES + 1)
        # A body whose length is over the limit need not have been read at all.
        if max(len(body), int(meta.get("CONTENT_LENGTH") or 0)) > MAX_BODY_BYTES:
            raise TooLarge(f"The body has more than {MAX_BODY_BYTES} bytes; send smaller batches.")
        return decode(body, self.lines, context.get("received"))


class NdjsonParser(TickParser):
    """The same for newline-delimited JSON, a tick a line."""

    media_type = "application/x-ndjson"
    lines = True
