"""What the HTTP API says when it does not do what it was asked: RFC 9457 (``application/problem+json``). No I/O.

An answer has ``type``, ``title``, ``status`` and ``detail`` as the RFC has them, and beside them ``code``, which never
changes its meaning. :data:`PROBLEMS` is all that ``code`` can be: the OpenAPI document is made from it, and
docs/reference/api.md is held to it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec

from bus.contract import Reason

__all__ = ["MEDIA_TYPE", "PROBLEMS", "TYPES", "Problem", "encode", "problem", "with_status"]

MEDIA_TYPE: Final = "application/problem+json"

TYPES: Final = "/api/v1/problems/"
"""Where problems are explained: ``type`` is this and the code."""


class Problem(NamedTuple):
    """One code: the ``status`` it is answered with, what is wrong in a few words, and when that is so."""

    code: str
    status: int
    title: str
    when: str


_TABLE: Final = (
    Problem("invalid_ticks", 400, "Not valid ticks", "JSON, but not ticks; `errors` says which and why"),
    Problem("parse_error", 400, "The request cannot be read", "not JSON, not UTF-8, empty, or nested too deeply"),
    Problem(
        "invalid_idempotency_key",
        400,
        "Not an Idempotency-Key",
        "the `Idempotency-Key` is empty, longer than 255 characters, or has others than visible ASCII",
    ),
    Problem(
        "invalid_query",
        400,
        "Not a stream",
        "the address of a stream has a parameter that is unknown or not what it should be, or no `symbols`",
    ),
    Problem(
        "too_many_symbols",
        400,
        "Too many symbols for a stream",
        "the stream would have more than `MARKETMUX_MAX_SYMBOLS`",
    ),
    Problem("disallowed_host", 400, "Another host", "the `Host` is not one of `ALLOWED_HOSTS`"),
    Problem(
        "bad_request",
        400,
        "Not a request of HTTP/1.1",
        "the head of the request, or a WebSocket's handshake, is not what HTTP says, or can be read in two ways",
    ),
    Problem("not_authenticated", 401, "No credential", "the request has no key"),
    Problem(
        "authentication_failed", 401, "A credential that fails", "the key is unknown, revoked, expired or malformed"
    ),
    Problem("token_invalid", 401, "Not a token", "the token is malformed, or not signed by whom it should be"),
    Problem("token_expired", 401, "An old token", "the token is genuine, but its time is over"),
    Problem("token_not_yet_valid", 401, "An early token", "the token is genuine, but its time has not come"),
    Problem("token_wrong_issuer", 401, "A token from somebody else", "the token is genuine, but `iss` is another"),
    Problem(
        "token_wrong_claims",
        401,
        "A token with wrong claims",
        "the token is genuine, but a claim is missing or not as it should be; `detail` says which",
    ),
    Problem("token_wrong_audience", 401, "A token for something else", "the token is genuine, but not for this"),
    Problem(
        "token_revoked",
        401,
        "A token of something that has ended",
        "the key that the token was made from is revoked, or the session has ended",
    ),
    Problem(
        "several_credentials", 401, "Several credentials", "a WebSocket's handshake has more than one key or token"
    ),
    Problem(
        "credential_in_url",
        401,
        "A credential in the address",
        "the address has a parameter such as `token`, `access_token` or `key`; logs keep addresses, so it is public",
    ),
    Problem(
        "permission_denied", 403, "Not allowed", "a session where a key is needed, or no CSRF token with a session"
    ),
    Problem(
        "access_denied",
        403,
        "Not these symbols",
        "a symbol that the grant does not cover; nothing was published or subscribed",
    ),
    Problem(
        "handshake_refused",
        403,
        "The WebSocket is not opened",
        "no credential, an `Origin` or a path that is not allowed",
    ),
    Problem("not_found", 404, "Nothing there", "no such page, no tick of the symbol, no such path"),
    Problem("method_not_allowed", 405, "Not this method", "`Allow` names those that are"),
    Problem("not_acceptable", 406, "No such representation", "`Accept` asks for neither JSON nor HTML"),
    Problem("request_timeout", 408, "The request takes too long", "its head or its body was not there in time"),
    Problem("too_large", 413, "Too large", "the body has more than 1 MiB"),
    Problem(
        "uri_too_long",
        414,
        "The target is too long",
        "the first line of the request has more than 16 KB, or the query of a page of the admin more than 1 KB",
    ),
    Problem(
        "unsupported_media_type",
        415,
        "Not this kind of body",
        "`Content-Type` is none of the two, or the body has a `Content-Encoding`",
    ),
    Problem(
        "idempotency_key_reused",
        422,
        "The key is taken",
        "the `Idempotency-Key` was used for other ticks; nothing was published",
    ),
    Problem("upgrade_required", 426, "A WebSocket", "the request to a WebSocket's path came without `Upgrade`"),
    Problem("head_too_large", 431, "The head is too large", "the headers have more than 16 KB"),
    Problem(
        "too_many_ticks",
        429,
        "Too many ticks",
        "more a second than the key, or each address, may publish; nothing was published. `Retry-After` says when to "
        "come back",
    ),
    Problem(
        "too_many_new_symbols",
        429,
        "Too many new symbols",
        "more symbols that never ticked before than the key may begin in a day; nothing was published",
    ),
    Problem(
        "too_many_logins",
        429,
        "Too many logins",
        "too many logins at a time, or too many wrong passwords from the same address; people get a page that says so",
    ),
    Problem(
        "too_many_connections",
        429,
        "Too many connections",
        "the address opens more streams and WebSockets a second than it may, or all connections of the key, or of each "
        "address, are more than they may be",
    ),
    Problem(
        "symbols_taken",
        429,
        "No symbols left",
        "all connections of the key would have more symbols than it may; nothing was subscribed",
    ),
    Problem("internal_error", 500, "The gateway failed", "something went wrong; the ticks may or may not be published"),
    *(Problem(reason.value, 503, "The bus cannot be used", reason.sentence) for reason in Reason),
    Problem(
        "database_unavailable",
        503,
        "The database does not answer",
        "it is unknown whose key or session this is; nothing was published",
    ),
    Problem(
        "entitlements_unavailable",
        503,
        "It is unknown what you may do",
        "the callable of `MARKETMUX_ENTITLEMENTS` failed; nothing was published",
    ),
    Problem("not_ready", 503, "Not ready", "`/readyz` only: send clients elsewhere; `reasons` says why"),
    Problem("no_answer", 503, "No answer in time", "the gateway took too long over the request"),
    Problem(
        "too_many_streams",
        507,
        "Too many symbols",
        "the bus would have more symbols than `MARKETMUX_MAX_STREAMS`; nothing was published",
    ),
    Problem(
        "too_many_keys",
        507,
        "Too many Idempotency-Keys",
        "more of them than `MARKETMUX_MAX_KEYS` came in the time they are kept; nothing was published",
    ),
)

PROBLEMS: Final = {each.code: each for each in _TABLE}


def with_status(*statuses: int) -> list[Problem]:
    """The problems that are answered with one of these."""
    return [each for each in _TABLE if each.status in statuses]


def problem(status: int, code: str, detail: str) -> dict[str, Any]:
    """The body of an answer. ``detail``: what is wrong this time, in a sentence."""
    known = PROBLEMS.get(code)
    return {
        "type": TYPES + code if known else "about:blank",
        "title": known.title if known else HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }


def encode(status: int, code: str, detail: str) -> bytes:
    """The same as JSON, a line of its own."""
    return msgspec.json.encode(problem(status, code, detail)) + b"\n"
