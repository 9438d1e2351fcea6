"""JSON Schemas of declared messages, for the AsyncAPI and the OpenAPI document: whatever has a title has a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gateway.protocol.values import ref

__all__ = ["named_schemas"]

Json = dict[str, Any]

_TYPES: Final = {str: "string", bool: "boolean", int: "integer"}


def named_schemas(types: Iterable[Any]) -> Json:
    """The schemas of all these types and of all that they name with a title, by name."""
    schemas, components = msgspec.json.schema_components(types, ref_template=ref("{name}")["$ref"])
    named: Json = {}
    for schema in (*schemas, *components.values()):
        _lift(schema, named)
    return named


def _lift(schema: Any, named: Json) -> Any:
    """The schema with all that has a title moved to ``named``, and a reference to it left in its place.

    What msgspec says of a field with an empty default is not so on the wire: there it is not null, but missing.
    """
    match schema:
        case {"anyOf": [kind, {"type": "null"}], "default": None, **others}:
            lifted = _lift(kind, named)
            return lifted if "$ref" in lifted else {**lifted, **others}
        case {"enum": [constant], **others}:  # generators of clients read a constant with a type alone
            return {**others, "const": constant, "type": _TYPES[type(constant)]}
        case {"title": str(title), **rest}:
            named[title] = named.get(title, {}) | _lift(rest, named)
            return ref(title)
        case dict():
            return {key: _lift(value, named) for key, value in schema.items() if value or key != "default"}
        case list():
            return [_lift(item, named) for item in schema]
    return schema
