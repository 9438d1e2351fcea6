"""The API's error answers: a problem (ticks/problems.py), with ``errors`` and ``error_count`` where there are items.

``errors`` names the first mistakes and ``error_count`` says how many there are: an answer is not to be many times as
long as what was asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypedDict

from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler as default_handler

from bus.contract import BusUnavailable, IdempotencyConflict, LimitReached, Reason, Refusal
from ticks.access.shares import OverShare
from ticks.access.users import EntitlementsUnavailable
from ticks.lookups import DatabaseUnavailable
from ticks.problems import problem
from ticks.publish import MAX_KEY_LENGTH, concerned
from ticks.shares import rate_limit

__all__ = [
    "MAX_ERRORS",
    "AccessDenied",
    "DatabaseRefusal",
    "IdempotencyKeyReused",
    "InvalidIdempotencyKey",
    "InvalidTicks",
    "ItemError",
    "ServiceUnavailable",
    "TooLarge",
    "TooMuch",
    "TooMuchKept",
    "about",
    "exception_handler",
    "explain",
    "explain_denied",
]


MAX_ERRORS: Final = 50
"""Most mistakes that one answer names."""

_NAMED: Final = 5
"""Most symbols that a sentence names."""


class ItemError(TypedDict):
    """One mistake: in which item (0 for a single tick), in which field (empty if in none), and what it is."""

    index: int
    field: str
    code: str
    message: str


class InvalidTicks(exceptions.APIException):
    """The body is JSON, but not a batch of ticks; nothing of it was published."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "invalid_ticks"

    def __init__(self, errors: list[ItemError], count: int | None = None) -> None:
        """``errors``: the first :data:`MAX_ERRORS` of ``count``, or all of them."""
        super().__init__("Nothing was published: at least one tick is invalid.")
        self.errors = errors
        self.count = len(errors) if count is None else count


class TooLarge(exceptions.APIException):
    """The body has more bytes than one request may have."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


class DatabaseRefusal(exceptions.APIException):
    """The database, which knows the keys and the logins, did not answer."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The database does not answer, so it cannot be found out who is asking. Try again."
    default_code = "database_unavailable"
    wait = 1


class EntitlementsRefusal(exceptions.APIException):
    """What the user may do could not be found out."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "It could not be found out what you may do. Try again."
    default_code = "entitlements_unavailable"
    wait = 1


class InvalidIdempotencyKey(exceptions.APIException):
    """The header ``Idempotency-Key`` is no key; nothing was published."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_detail = (
        f"An Idempotency-Key has 1 to {MAX_KEY_LENGTH} visible ASCII characters, in double quotes or without."
    )
    default_code = "invalid_idempotency_key"


class IdempotencyKeyReused(exceptions.APIException):
    """The publisher used the key for other ticks; nothing was published."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_code = "idempotency_key_reused"


class AccessDenied(exceptions.APIException):
    """The request is for symbols that its grant does not cover."""

    status_code = status.HTTP_403_FORBIDDEN
    default_code = "access_denied"

    def __init__(self, symbols: Sequence[str]) -> None:
        super().__init__(explain_denied(symbols))


class ServiceUnavailable(exceptions.APIException):
    """The bus cannot be used; ``code`` says why."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    wait = 1  # seconds; DRF makes it the Retry-After header

    def __init__(self, reason: Reason, symbols: Sequence[str] = ()) -> None:
        """``symbols``: those that it is about, where others are served."""
        super().__init__(f"{reason.sentence}{about(symbols)} Try again.", reason.value)


class TooMuch(exceptions.APIException):
    """Somebody has had a share of what all may have; ``wait`` says when there is more."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS

    def __init__(self, error: OverShare) -> None:
        super().__init__(error.message, f"too_many_{error.what}")
        self.wait = math.ceil(error.wait)
        self.headers = rate_limit(error.what, error.limit, 0, error.wait)


class TooMuchKept(exceptions.APIException):
    """The bus keeps as much as it may; nothing was published."""

    status_code = status.HTTP_507_INSUFFICIENT_STORAGE

    def __init__(self, error: LimitReached) -> None:
        super().__init__(explain(error), f"too_many_{error.what}")


def explain(error: IdempotencyConflict | LimitReached) -> str:
    """Why nothing was published, or what was not, in a sentence."""
    why = "The key was used for other ticks"
    if isinstance(error, LimitReached):
        what = "symbols" if error.what == "streams" else "idempotency keys"
        why = f"There are as many {what} as there may be"
    if not error.places:
        return f"{why}; nothing was published."
    return f"{why}; not all was published.{about(concerned(error))}"


def about(symbols: Sequence[str]) -> str:
    """Which symbols of several a sentence is about; nothing if it is all of them."""
    if not symbols:
        return ""
    more = f" and {len(symbols) - _NAMED} more" if len(symbols) > _NAMED else ""
    return f" This is about {', '.join(symbols[:_NAMED])}{more}."


def explain_denied(symbols: Sequence[str]) -> str:
    """Which symbols are denied, in a sentence."""
    more = len(symbols) - MAX_ERRORS
    return f"No access to {', '.join(symbols[:MAX_ERRORS])}{f' and {more} more' if more > 0 else ''}."


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's handler, in the API's own format."""
    symbols = concerned(error) if isinstance(error, Refusal) else []
    if isinstance(error, BusUnavailable):
        error = ServiceUnavailable(error.reason, symbols)
    elif isinstance(error, DatabaseUnavailable):
        error = DatabaseRefusal()
    elif isinstance(error, EntitlementsUnavailable):
        error = EntitlementsRefusal()
    elif isinstance(error, IdempotencyConflict):
        error = IdempotencyKeyReused(explain(error))
    elif isinstance(error, LimitReached):
        error = TooMuchKept(error)
    elif isinstance(error, OverShare):
        error = TooMuch(error)
    response = default_handler(error, context)
    if response is not None and isinstance(response.data, dict):
        body = problem(response.status_code, _code(response), str(response.data.get("detail", "")))
        if symbols:
            body["symbols"] = symbols
        if isinstance(error, InvalidTicks):
            body["errors"] = error.errors
            body["error_count"] = error.count
        elif isinstance(error, TooMuch):
            for name, value in error.headers.items():
                response.headers[name] = value
        response.data = body
    return response


def _code(response: Response) -> str:
    detail = response.data.get("detail")
    return str(getattr(detail, "code", "error"))
