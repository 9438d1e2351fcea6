"""Text as our docstrings and descriptions have it, as HTML: paragraphs, ``code`` and indented examples of Markdown."""

from __future__ import annotations

import re
from typing import Final

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from rest_framework.utils.formatting import dedent

__all__ = ["html"]

_CODE: Final = re.compile(r"``?([^`]+)``?")


def html(text: str) -> SafeString:
    """The text as HTML, escaped."""
    blocks = [_block(block) for block in re.split(r"\n\s*\n", text.strip("\n")) if block.strip()]
    return mark_safe("\n".join(blocks))  # noqa: S308 # nosec - each block is escaped


def _block(block: str) -> str:
    if all(line.startswith("    ") for line in block.splitlines()):
        return f"<pre><code>{escape(dedent(block))}</code></pre>"
    return f"<p>{_CODE.sub(_code, escape(block))}</p>"


def _code(match: re.Match[str]) -> str:
    return f"<code>{match[1]}</code>"
