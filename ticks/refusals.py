"""How pages that people look at refuse: with a page, and a client that wants no HTML gets a problem."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from ticks.problems import MEDIA_TYPE, PROBLEMS, encode

__all__ = ["refusal"]


def refusal(
    request: HttpRequest, status: int, code: str, text: str, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """The answer with that ``status``; ``text`` is a sentence."""
    if request.accepts("text/html"):
        response = render(None, "ticks/refusal.html", {"title": PROBLEMS[code].title, "text": text}, status=status)
    else:
        response = HttpResponse(encode(status, code, text), status=status, content_type=MEDIA_TYPE)
    for name, value in (headers or {}).items():
        response[name] = value
    return response
