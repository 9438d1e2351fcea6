"""Publishers' POSTs as our own server reads them itself (server/short.py): the shortcut, and what is around it.

The ASGI middleware of gateway/asgi.py stands between the server and the shortcut (ticks/shortcut.py) for every other
request. A short one is no ASGI event, so the steps of that middleware that concern it are called here.
"""

from __future__ import annotations

import time
from contextvars import copy_context
from typing import Any

from gateway.edge.forwarded import OnlyFromProxies
from gateway.edge.requests import REQUEST_ID, Exchanged, called, given_id, note
from gateway.edge.watch import get_watch
from gateway.server.short import Answer, Begin, Done
from ticks import intake
from ticks.conf import conf
from ticks.endpoint import FAILURE
from ticks.shortcut import Answered, Poster, Shortcut

__all__ = ["Posts"]

_ACCEPTED = 202


class Posts:
    """POSTs of ticks to ``path``. ``proxies``: what drops headers that only a proxy of ours may send."""

    def __init__(self, path: str, shortcut: Shortcut, proxies: OnlyFromProxies) -> None:
        self.path = path
        self._shortcut = shortcut
        self._proxies = proxies
        self._has_log = conf.MARKETMUX_ACCESS_LOG

    def reader(self, scope: dict[str, Any]) -> Begin:
        """As :meth:`~gateway.server.short.ShortApplication.reader`."""
        get_watch()
        self._proxies.sift(scope)
        poster = self._shortcut.poster(scope)
        return _declined if poster is None else _Alike(scope, poster, self._has_log).begin

    def note_failure(self, scope: dict[str, Any], failure: Exception) -> None:
        """As :meth:`~gateway.server.short.ShortApplication.note_failure`."""
        scope[FAILURE] = failure


def _declined(_body: bytes, _done: Done) -> bool:
    return False


class _Alike:
    """Requests of one connection that have the same head."""

    def __init__(self, scope: dict[str, Any], poster: Poster, has_log: bool) -> None:
        self._scope = scope
        self._poster = poster
        self._has_log = has_log
        self._given_id = given_id(scope["headers"])

    def begin(self, body: bytes, done: Done) -> bool:
        return copy_context().run(self._begin, body, done)

    def _begin(self, body: bytes, done: Done) -> bool:
        began = time.monotonic() if self._has_log else 0.0
        request_id = called(self._given_id)

        def answered(outcome: Answered | Exception) -> None:
            if isinstance(outcome, Exception):
                done(outcome)
                return
            intake.received_bytes["http"] += len(body)
            if self._has_log:
                note(self._scope, Exchanged(_ACCEPTED, len(outcome.body)), time.monotonic() - began)
            headers = [*outcome.headers, (REQUEST_ID, request_id)]
            done(Answer(_ACCEPTED, headers, outcome.body, bool(self._poster.grant.stands_on)))

        return self._poster.begin(body, answered)
