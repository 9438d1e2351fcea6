"""The channel layer groups of ticks: the name of each symbol's, and the symbol of a name.

Every channel layer takes names of fewer than 100 ASCII letters, digits, ``-``, ``_`` and ``.``. Those of a symbol stand
for themselves, ``_`` is doubled, and all other characters are ``_`` and a letter or a code: ``EUR/USD`` is
``ticks.EUR_sUSD``. So names can be read, go back to their symbols, and lie side by side where symbols begin alike.

Where the name would be too long it begins so, and the rest of the symbol follows packed if it is ASCII. Of others (more
than 23 Chinese characters) a digest follows. Such a name does not go back: its symbol stands in the group's messages,
from which a process learns it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from bus.contract import Bus
from ticks.grammar import check_symbol, is_symbol

__all__ = ["GROUP_PREFIX", "beginning_of", "forget", "group_name", "known", "learn", "symbol_in", "symbol_of"]

GROUP_PREFIX: Final = "ticks."

_MOST: Final = 65_536
_ROOM: Final = 99 - len(GROUP_PREFIX)
_KEPT: Final = 38
"""Of a name that would be too long: the most that leaves room for the rest of every ASCII symbol, seven bits each."""
_DIGEST_BYTES: Final = 24
"""192 bits: two symbols with one name cannot be made up."""

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-."
_PAIRS: Final = (
    "__ /s =e ^c :n +p $d #h"  # s(lash), e(quals), c(aret), n as in coloN, p(lus), d(ollar), h(ash)
    " !b \"q %r &a 't (l )g *m ;i <f >o ?y @z [j ]k \\v `u {0 |1 }2 ~3"  # b(ang), q(uote), r as in peRcent, ...
)
_ESCAPES: Final = {" ": "_w", **{pair[0]: f"_{pair[1]}" for pair in _PAIRS.split(" ")}}
_UNESCAPES: Final = {escape: character for character, escape in _ESCAPES.items()}
_LETTERS: Final = _ALPHABET[10:36]
_SHORT: Final = 26 * 4_096
"""Code points below are a capital letter and two digits of 64 behind ``_``; those above a digit from 4 on and three."""

_ESCAPED = re.compile(r"_(?:[a-wyz0-3_]|[A-Z][0-9A-Za-z.-]{2}|[4-9][0-9A-Za-z.-]{3})")
_LONG = re.compile(rf"((?:[^_]|{_ESCAPED.pattern})*+)(_x|_-)([0-9A-Za-z.-]+)")
"""A beginning, and then a digest or the rest."""

_learned: dict[str, str] = {}
"""Symbols by the names that do not go back."""


@lru_cache(maxsize=_MOST)
def group_name(symbol: str) -> str:
    """The group that carries the ticks of ``symbol``."""
    return GROUP_PREFIX + _escape(check_symbol(symbol))


def beginning_of(text: str) -> str:
    """What the names of the groups begin with whose symbols begin with ``text``; some of others may, too."""
    return GROUP_PREFIX + _kept([_code(character) for character in text], _KEPT)


@lru_cache(maxsize=_MOST)
def symbol_of(group: str) -> str:
    """The symbol whose group ``group`` is; ``ValueError`` for any other group, and for one not learned yet."""
    name = group.removeprefix(GROUP_PREFIX)
    long = _LONG.fullmatch(name)
    if long is None:
        symbol = _unescape(name)
    elif long[2] == "_x":
        symbol = _learned.get(name, "")
    else:
        symbol = _unescape(long[1]) + _unpack(long[3])
    if not is_symbol(symbol) or GROUP_PREFIX + _escape(symbol) != group:
        raise ValueError(f"Not a group of ticks: {group!r}")
    return symbol


def symbol_in(group: str, messages: Sequence[Any]) -> str:
    """The same, and one that is not known is learned from a message of the group."""
    for message in messages[:1]:
        symbol = message.get("symbol") if isinstance(message, Mapping) else None
        if isinstance(symbol, str) and is_symbol(symbol) and group_name(symbol) == group:
            return symbol
    return symbol_of(group)


def known(groups: Sequence[str]) -> list[str]:
    """The symbols of those groups that are of ticks and whose symbols are known."""
    found = []
    for group in groups:
        if group.startswith(GROUP_PREFIX):
            try:
                found.append(symbol_of(group))
            except ValueError:
                continue
    return found


async def learn(bus: Bus, groups: Sequence[str]) -> None:
    """Asks the bus for the last message of groups whose names do not go back, and are not known yet."""
    unknown = [group for group in groups if "_x" in group and group.removeprefix(GROUP_PREFIX) not in _learned]
    unknown = [group for group in unknown if (long := _LONG.fullmatch(group)) is not None and long[2] == "_x"]
    for position in (await bus.positions(unknown) if unknown else {}).values():
        symbol = position.message.get("symbol") if isinstance(position.message, Mapping) else None
        if isinstance(symbol, str) and is_symbol(symbol):
            group_name(symbol)


def forget() -> None:
    """Forgets all that was learned; a name that is made again is learned again."""
    _learned.clear()
    group_name.cache_clear()
    symbol_of.cache_clear()


def _escape(symbol: str) -> str:
    codes = [_code(character) for character in symbol]
    name = "".join(codes)
    if len(name) <= _ROOM:
        return name
    beginning = _kept(codes, _KEPT)
    if symbol.isascii():
        return f"{beginning}_-{_pack(symbol[len(_unescape(beginning)) :])}"
    digest = blake2b(symbol.encode(), digest_size=_DIGEST_BYTES).digest()
    name = f"{beginning}_x{b64encode(digest, b'-.').decode()}"
    if len(_learned) >= _MOST:
        forget()
    _learned[name] = symbol
    return name


def _pack(text: str) -> str:
    """ASCII, six bits a digit; the first has what is left over."""
    number = 0
    for character in text:
        number = number << 7 | ord(character)
    return "".join(_ALPHABET[number >> 6 * place & 63] for place in reversed(range(-(-7 * len(text) // 6))))


def _unpack(digits: str) -> str:
    number = 0
    for digit in digits:
        number = number << 6 | _ALPHABET.index(digit)
    return "".join(chr(number >> 7 * place & 127) for place in reversed(range(6 * len(digits) // 7)))


def _unescape(name: str) -> str:
    return _ESCAPED.sub(lambda match: _character(match[0]), name)


def _kept(codes: Sequence[str], room: int) -> str:
    """As many whole codes, from the first on, as there is room for."""
    name = ""
    for code in codes:
        if len(name) + len(code) > room:
            break
        name += code
    return name


def _code(character: str) -> str:
    number = ord(character)
    if number < 128:
        return _ESCAPES.get(character, character)
    digits = _ALPHABET[number >> 6 & 63] + _ALPHABET[number & 63]
    if number < _SHORT:
        return f"_{_LETTERS[number >> 12]}{digits}"
    return f"_{4 + (number >> 18)}{_ALPHABET[number >> 12 & 63]}{digits}"


def _character(code: str) -> str:
    if code in _UNESCAPES:
        return _UNESCAPES[code]
    number = 0
    for digit in code[2:]:
        number = number << 6 | _ALPHABET.index(digit)
    if code[1] in _LETTERS:
        return chr(_LETTERS.index(code[1]) << 12 | number)
    number |= int(code[1]) - 4 << 18
    return chr(number) if number < 0x110000 else ""
