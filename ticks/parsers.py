"""DRF's parsers: request bodies with ticks, and those that ask for a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, Final

import msgspec
from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.parsers import BaseParser

from ticks.access.credentials import Audience
from ticks.access.grant import Scope
from ticks.decode import decode
from ticks.errors import TooLarge
from ticks.renderers import ExactJSONRenderer
from ticks.tick import MAX_BODY_BYTES, Tick

__all__ = ["NdjsonParser", "TickParser", "TokenRequest", "TokenRequestParser"]

_MAX_TOKEN_REQUEST: Final = 65_536


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


class TokenRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What a token is to be for: ``scopes`` None is all that the caller may do."""

    audience: Audience = Audience.WS
    scopes: dict[Scope, list[str]] | None = None


class TokenRequestParser(BaseParser):
    """Makes ``request.data`` a :class:`TokenRequest`."""

    media_type = "application/json"
    renderer_class = ExactJSONRenderer

    def parse(  # type: ignore[override] # the stubs know only of parsers for mappings
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> TokenRequest:
        body = stream.read(_MAX_TOKEN_REQUEST + 1)
        if len(body) > _MAX_TOKEN_REQUEST:
            raise TooLarge(f"The body has more than {_MAX_TOKEN_REQUEST} bytes.")
        try:
            return msgspec.json.decode(body, type=TokenRequest) if body.strip() else TokenRequest()
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise ParseError(f"The body does not ask for a token: {error}.") from error
