"""What a gateway answers to a batch, by either way, and what that means for it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

__all__ = ["ACCEPTED", "Verdict", "refusal"]

_AGAIN: Final = frozenset(
    {"bus_unavailable", "too_many_ticks", "too_many_commands", "too_many_keys", "auth_unavailable", "unavailable"}
)
"""Codes after which the same batch may be sent again."""
_PARTS: Final = frozenset({"access_denied", "too_many_streams", "too_many_new_symbols"})
"""Codes that may be about one symbol of a batch without saying which."""

_BY_HOST: Final = frozenset({"too_many_streams", "too_many_keys", "idempotency_key_reused"})
"""Codes whose ``symbols`` are those of one Redis host of several."""


class Verdict(NamedTuple):
    """``again``: send the same batch once more, after ``wait`` seconds at least. ``is_doubtful``: it may have been
    published all the same. ``errors``: mistakes by the index of the tick. ``symbols``: what the refusal is about.
    """

    is_accepted: bool = False
    is_repeated: bool = False
    code: str = ""
    message: str = ""
    again: bool = False
    wait: float = 0.0
    is_doubtful: bool = False
    errors: tuple[Mapping[str, Any], ...] = ()
    symbols: frozenset[str] = frozenset()

    @property
    def is_by_host(self) -> bool:
        """Whether the ticks of other symbols were published: on a bus of several hosts each decides for itself."""
        return self.code in _BY_HOST

    @property
    def is_about_a_part(self) -> bool:
        return self.code in _PARTS


ACCEPTED: Final = Verdict(is_accepted=True)


def refusal(answer: Mapping[str, Any], status: int = 0, wait: float = 0.0) -> Verdict:
    """``answer``: a problem of the HTTP API with its ``status``, or an ``error`` of /ws/publish."""
    code = str(answer.get("code") or f"http_{status}")
    is_late = status in {408, 425, 429} or status >= 500
    again = code in _AGAIN or (is_late and code not in _PARTS)
    return Verdict(
        code=code,
        message=str(answer.get("detail") or answer.get("message") or f"HTTP {status}"),
        again=again,
        wait=max(wait, float(answer.get("retry_after") or 0.0)),
        is_doubtful=again and (status >= 500 or code == "bus_unavailable"),
        errors=tuple(answer.get("errors") or ()),
        symbols=frozenset(map(str, answer.get("symbols") or ())),
    )
