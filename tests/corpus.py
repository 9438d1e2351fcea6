"""The corpus of bad input: ``tests/data/corpus``, a file for each kind, whose first lines say how it is written.

Bytes are text there, a character each (Latin-1). ``⟨x*3⟩`` is xxx, and ``⟨word⟩`` is what the runner has for the word.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

__all__ = ["KINDS", "cases", "filled"]

_FOLDER: Final = Path(__file__).with_name("data") / "corpus"
KINDS: Final = ("heads", "bodies", "frames", "handshakes", "credentials")

_REPEATED: Final = re.compile(r"⟨([^⟨⟩]*)\*(\d+)⟩", re.DOTALL)
_WORD: Final = re.compile(r"⟨(\w+)⟩")


def cases(kind: str) -> list[Any]:
    """The cases of a kind, as parameters of a test that are named as they are."""
    found = tomllib.loads((_FOLDER / f"{kind}.toml").read_text())["case"]
    return [pytest.param(case, id=case["name"]) for case in found]


def filled(text: str, words: Mapping[str, str]) -> bytes:
    """The bytes that a text of the corpus stands for."""
    text = _WORD.sub(lambda match: words[match[1]], text)
    return _REPEATED.sub(lambda match: match[1] * int(match[2]), text).encode("latin1")
