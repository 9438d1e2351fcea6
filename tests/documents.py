"""The blocks of code in the documentation, in their order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["DOCUMENTS", "Block", "blocks"]

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENTS: Final = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
"""README, the pages beside it, and those below docs/."""

_FENCE: Final = re.compile(r"^```([\w-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE: Final = re.compile(r"`([\w./-]+\.\w+)`[^`]*:\s*$")


@dataclass(frozen=True)
class Block:
    """What stands between two fences; ``file``: as what the text above it says that it is to be saved."""

    page: str
    line: int
    language: str
    text: str
    file: str | None
    is_below_a_command: bool
    """Right below a block of a shell."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    """The blocks of a page, whose name is relative to the project."""
    text = (ROOT / page).read_text()
    assert len(re.findall(r"^ *```", text, re.MULTILINE)) == 2 * len(_FENCE.findall(text)), f"{page}: an open fence"
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        above = text[: match.start()].rstrip().rpartition("\n\n")[2]
        named = _FILE.search(above)
        line = text.count("\n", 0, match.start()) + 1
        is_below = above.endswith("```") and bool(found) and found[-1].language == "sh"
        found.append(Block(page, line, match[1], match[2], named and named[1], is_below))
    return found
