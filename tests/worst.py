"""The worst bodies that fit into the limits: a megabyte at most, made to cost as much processor time as they can."""

from __future__ import annotations

import json
import sys
from typing import Final

from ticks.tick import MAX_BATCH, MAX_BODY_BYTES

__all__ = ["BODIES", "HONEST", "LINES", "SLOWNESS", "VALID"]

SLOWNESS: Final = 5.0 if sys.gettrace() is not None else 1.0
"""How much longer code may take: where coverage is measured every line is counted."""


def batch(item: bytes, most: int = MAX_BATCH) -> bytes:
    """An array of the item, as often as a body may have it."""
    return b"[" + b",".join([item] * min(most, (MAX_BODY_BYTES - 2) // (len(item) + 1))) + b"]"


def filled(unit: bytes, before: bytes = b"[", after: bytes = b"1]") -> bytes:
    """As much of ``unit`` as a body has room for."""
    return before + unit * ((MAX_BODY_BYTES - len(before) - len(after)) // len(unit)) + after


def fields(count: int) -> bytes:
    return json.dumps({f"k{number}": 1 for number in range(count)}, separators=(",", ":")).encode()


def with_extra(value: bytes, name: bytes = b"k") -> bytes:
    extra = b",".join(b'"%s%02d":%s' % (name, number, value) for number in range(16))
    return (
        b'{"symbol":"AAPL","price":150.25,"timestamp":"2026-05-12T15:04:05Z","bid":1.5,"ask":1.6,"size":7,"extra":{%s}}'
        % extra
    )


HONEST: Final = batch(with_extra(b'"x"'))
"""A thousand ticks with all that a tick may have."""

VALID: Final = {
    "numbers of 32 digits": batch(with_extra(b"1" * 32)),
    "exponents": batch(with_extra(b"1.5e3")),
    "long numbers with exponents": batch(with_extra(b"1" * 20 + b".5e-11")),
    "escapes in names": batch(with_extra(b"1.5e3", rb"\u006b")),
    "escapes in a field's name": batch(with_extra(b"1.5e3").replace(b"price", rb"pr\u0069ce")),
    "escapes in strings": batch(with_extra(b'"' + rb"\u00e9" * 8 + b'"').replace(b"price", rb"pr\u0069ce")),
    "exponents everywhere": batch(
        b'{"symbol":"A","price":1.5e3,"timestamp":"2026-05-12T15:04:05+02:00","bid":1.5e3,"ask":1.5e4,"size":7e3}'
    ),
    "whitespace": filled(b" ", b"[", b"]"),
}

_WRONG: Final = b'{"symbol":"A B","price":1e99,"timestamp":"x","bid":1e99,"ask":{},"size":-1,"extra":{"a":1e99},"x":1}'

_INVALID: Final = {
    "16,000 fields": fields(16_000),
    "85,000 fields": fields(85_000),
    "950 ticks of 130 unknown fields": batch(fields(130), 950),
    "1,000 ticks of 22 unknown fields": batch(fields(22)),
    "1,000 ticks with everything wrong": batch(_WRONG),
    "1,000 empty objects": batch(b"{}"),
    "350,000 empty objects": filled(b"{},"),
    "numbers": filled(b"1,"),
    "strings": filled(b'"",'),
    "quotes": filled(b'"'),
    "backslashes": filled(rb"\\", b'["', b'"]'),
    "commas in a string": filled(b",", b'{"symbol":"', b'"}'),
    "40,000 ticks": batch(b'{"symbol":"A","price":1}', 40_000),
    "40,000 ticks, the last one wrong": batch(b'{"symbol":"A","price":1}', 40_000)[:-1] + b",1]",
    "the same field 100,000 times": filled(b',"price":1', b'{"symbol":"A"', b"}"),
    "the same name 200,000 times": filled(b'"":1,', b"{", b'"a":1}'),
    "deep arrays": filled(b"[", b"", b""),
    "deep objects": filled(b'{"a":', b"", b""),
    "many deep arrays": batch(b"[" * 450 + b"]" * 450, 2_000),
    "an extra of 140,000 objects": filled(b'"a":{},', b'{"extra":{', b'"b":1}}'),
    "a number of a million digits": filled(b"1", b'{"symbol":"A","price":', b"}"),
    "a string of a million digits": filled(b"1", b'{"symbol":"A","price":"', b'"}'),
    "an exponent of a million digits": filled(b"9", b'{"symbol":"A","price":1e', b"}"),
    "an extra of a million digits": filled(b"1", b'{"symbol":"A","price":1,"extra":{"a":', b"}}"),
    "numbers of 4,300 digits": batch(b'{"symbol":"A","price":1,"extra":{"a":%s}}' % (b"1" * 4_300)),
    "1e999999999": batch(b'{"symbol":"A","price":1e999999999}'),
    "days there are not": b"["
    + b",".join(b'{"symbol":"A","price":1,"timestamp":"%04d-02-31T15:04:05Z"}' % day for day in range(1000))
    + b"]",
    "half surrogate pairs": batch(with_extra(rb'"\ud800"')),
}

BODIES: Final = VALID | _INVALID
"""What may be sent as JSON, by what is bad about it; of VALID alone everything is published."""

LINES: Final = {
    "empty lines": b"\n" * MAX_BODY_BYTES,
    "lines of a space": b" \n" * (MAX_BODY_BYTES // 2),
    "lines of a letter": b"x\n" * (MAX_BODY_BYTES // 2),
    "40,000 lines": b'{"symbol":"A","price":1}\n' * 40_000,
    "lines of an array": (b"[" + b"1," * 500 + b"1]\n") * 1_000,
    "long lines of an array": (b"[" + b"1," * 12_000 + b"1]\n") * 40,
    "1,000 wrong lines": b"{}\n" * 1_000,
    "1,000 lines of 22 unknown fields": (fields(22) + b"\n") * 1_000,
    "1,000 lines": (with_extra(b'"x"') + b"\n") * 1_000,
}
