"""DRF's renderer for answers whose numbers are exact, and for problems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.utils.formatting import dedent

from ticks import prose
from ticks.problems import MEDIA_TYPE

__all__ = ["ExactJSONRenderer", "PageRenderer", "PublisherNegotiation", "describe"]


def describe(view: Any, html: bool = False) -> str:
    """What the docstring of a view says, on its page as HTML."""
    text = dedent(view.__class__.__doc__ or "")
    return prose.html(text) if html else text


NOTHING: Final = "Nothing here"
"""What the view is called that answers where there is nothing."""


_SHOWN: Final = 64
"""Most characters of a header that a sentence shows."""


class PublisherNegotiation(DefaultContentNegotiation):
    """DRF's negotiation, with a short cut for clients that accept anything, as publishers do.

    Where the ``Content-Type`` is none that the view takes, the answer says which it does.
    """

    def select_parser(self, request: Request, parsers: Any) -> BaseParser:
        chosen: BaseParser | None = super().select_parser(request, parsers)
        if chosen is not None:
            return chosen
        sent = request.content_type or ""
        what = f"The Content-Type is {sent[:_SHOWN]!r}" if sent else "The request has no Content-Type"
        kinds = " or ".join(f"Content-Type: {parser.media_type}" for parser in parsers)
        raise UnsupportedMediaType(sent, f"{what}; send {kinds}.")

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        anything = request.META.get("HTTP_ACCEPT", "*/*") == "*/*" and not request.META["QUERY_STRING"]
        if anything and format_suffix is None:
            return renderers[0], renderers[0].media_type
        chosen: tuple[BaseRenderer, str] = super().select_renderer(request, renderers, format_suffix)
        return chosen


class ExactJSONRenderer(JSONRenderer):
    """JSON by msgspec: a ``msgspec.Raw`` goes out as it is, so a price keeps its digits. ``?indent=`` as in DRF.

    An error is ``application/problem+json``, whatever JSON was asked for; not within the page of the browsable API.
    """

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        if data is None:
            return b""
        text = msgspec.json.encode(data, enc_hook=str) + b"\n"  # a line of its own, for curl
        context = dict(renderer_context or {})
        response = context.get("response")
        if response is not None and response.exception and response.accepted_renderer is self:
            response["Content-Type"] = MEDIA_TYPE
        if "indent" not in context and ";" not in (accepted_media_type or ""):
            return text  # what publishers get
        indent = self.get_indent(accepted_media_type or "", context)
        return msgspec.json.format(text, indent=indent) + b"\n" if indent else text


_FOR_READERS: Final = (
    ("<html>", '<html lang="en">'),
    ('role="main" aria-label="main content"', ""),
    ('data-toggle="dropdown" title="Specify', 'data-toggle="dropdown" aria-label="Formats" title="Specify'),
)
"""What screen readers need of DRF's page where its template has no block for it."""


class PageRenderer(BrowsableAPIRenderer):
    """DRF's pages, whose breadcrumbs lead only where something is."""

    template = "gateway/rest.html"

    def get_breadcrumbs(self, request: Request) -> list[tuple[str, str]]:
        crumbs: list[tuple[str, str]] = super().get_breadcrumbs(request)
        return [(name, address) for name, address in crumbs if name != NOTHING or address == request.path]

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> str:
        page: str = super().render(data, accepted_media_type, renderer_context)
        for theirs, ours in _FOR_READERS:
            page = page.replace(theirs, ours, 1)
        return page
