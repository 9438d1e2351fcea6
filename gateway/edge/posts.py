"""Publishers' POSTs as our own server reads them itself (server/short.py): the shortcut, and what is around it.

The ASGI middleware of gateway/asgi.py stands between the server and the shortcut (ticks/shortcut.py) for every other
request. A short one is no ASGI event, so the steps of that middleware that concern it are called here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from gateway.edge.forwarded import OnlyFromProxies
from gateway.edge.requests import REQUEST_ID, Exchanged, identify, note
from gateway.edge.watch import get_watch
from gateway.server.short import Answer
from ticks import intake
from ticks.access.grant import NOBODY
from ticks.conf import conf
from ticks.endpoint import FAILURE
from ticks.shortcut import Answered, Shortcut

__all__ = ["Posts"]

_ACCEPTED = 202

Done = Callable[[Answer | Exception], None]


class Posts:
    """POSTs of ticks to ``path``. ``proxies``: what drops headers that only a proxy of ours may send."""

    def __init__(self, path: str, shortcut: Shortcut, proxies: OnlyFromProxies) -> None:
        self.path = path
        self._shortcut = shortcut
        self._proxies = proxies
        self._has_log = conf.MARKETMUX_ACCESS_LOG

    def begin(self, scope: dict[str, Any], body: bytes, done: Done) -> bool:
        """As :meth:`~gateway.server.short.ShortApplication.begin`."""
        return copy_context().run(self._begin, scope, body, done)

    def note_failure(self, scope: dict[str, Any], failure: Exception) -> None:
        """As :meth:`~gateway.server.short.ShortApplication.note_failure`."""
        scope[FAILURE] = failure

    def _begin(self, scope: dict[str, Any], body: bytes, done: Done) -> bool:
        began = time.monotonic() if self._has_log else 0.0
        get_watch()
        self._proxies.sift(scope)
        request_id = identify(scope)

        def answered(outcome: Answered | Exception) -> None:
            if isinstance(outcome, Exception):
                done(outcome)
                return
            intake.received_bytes["http"] += len(body)
            if self._has_log:
                note(scope, Exchanged(_ACCEPTED, len(outcome.body)), time.monotonic() - began)
            headers = [*outcome.headers, (REQUEST_ID, request_id)]
            done(Answer(_ACCEPTED, headers, outcome.body, bool(scope.get("grant", NOBODY).stands_on)))

        return self._shortcut.begin(scope, body, answered)
