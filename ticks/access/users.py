"""What users may do: Django's permissions say what, and a hook says with which symbols.

``MARKETMUX_ENTITLEMENTS`` names the hook: a callable that is given the user and answers with patterns for each scope,
``{"subscribe": ["AAPL", "BTC-*"], "read": ["*"]}``, or with one list for both of these. It is asked in a thread, once
for all connections of a user, and again when the user changes, when :data:`entitlements_changed` is sent, or after
:data:`CACHE_SECONDS`.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import Group
from django.dispatch import Signal
from django.http import HttpRequest
from django.utils.module_loading import import_string

from ticks.access.grant import Grant, Scope
from ticks.access.models import Entitlement
from ticks.access.patterns import ALL, NONE, Patterns
from ticks.conf import conf

__all__ = [
    "CACHE_SECONDS",
    "EVERYBODY",
    "EntitlementsUnavailable",
    "SessionRenewal",
    "UserRenewal",
    "entitlements",
    "entitlements_changed",
    "forget",
    "grant_of_session",
    "grant_of_user",
    "has_cached",
    "session_subject",
]

logger = logging.getLogger(__name__)

CACHE_SECONDS: Final = 30.0
"""After so long the hook is asked again although nothing said that its answer changed."""
_MOST_CACHED: Final = 100_000

EVERYBODY: Final = "users"
"""What the grants of all users stand on: the hook."""

Entitled = Mapping[Scope, Patterns]
Answer = Mapping[str, Iterable[str]] | Iterable[str]

entitlements_changed = Signal()
"""To be sent where the hook's answer for a user has changed: ``entitlements_changed.send(sender=..., user=user)``;
without a user, for all of them.
"""


class EntitlementsUnavailable(Exception):
    """The hook failed, or answered with what are no patterns."""


def entitlements(user: AbstractBaseUser) -> Answer:
    """The hook where none is set: permissions (``marketmux_ticks.subscribe``), for the symbols of the user's groups.

    Superusers may do everything. Who is in no group with an :class:`~ticks.access.models.Entitlement` has all symbols.
    """
    permitted: Any = user
    scopes = [scope for scope in Scope if permitted.has_perm(f"marketmux_ticks.{scope}")]
    groups = [] if not scopes or permitted.is_superuser else list(Entitlement.objects.filter(group__user=permitted.pk))
    if not groups:
        return {scope: ["*"] for scope in scopes}
    return {scope: [pattern for group in groups for pattern in getattr(group, scope)] for scope in scopes}


def grant_of_user(user: AbstractBaseUser, session: str = "") -> Grant | None:
    """What a user may do, as far as the session with that key lasts, if there is one; None if nothing is left of it.

    Asks the database, and the hook unless it was asked lately. :class:`EntitlementsUnavailable` if the hook fails.
    """
    if not user.is_active:
        return None
    entitled, groups = _entitled(user)
    if conf.MARKETMUX_ANONYMOUS:
        entitled = dict.fromkeys(Scope, ALL)  # nobody loses by saying who they are
    stands_on = {f"user:{user.pk}", *groups, EVERYBODY}
    if session:
        stands_on.add(session_subject(session))
    return Grant(
        owner=f"user:{user.pk}",
        who=f"user {user.get_username()}",
        publish=entitled.get(Scope.PUBLISH, NONE),
        subscribe=entitled.get(Scope.SUBSCRIBE, NONE),
        read=entitled.get(Scope.READ, NONE),
        stands_on=frozenset(stands_on),
        renew=SessionRenewal(session) if session else UserRenewal(user.pk),
    )


def grant_of_session(session: str) -> Grant | None:
    """What the user of a session may do; None if there is no such session, or nobody is logged in there."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session)
    user = get_user(request)
    return grant_of_user(user, session) if isinstance(user, AbstractBaseUser) else None


@dataclass(frozen=True, slots=True)
class SessionRenewal:
    """Asks for the user of a session again."""

    session: str

    def __call__(self) -> Grant | None:
        return grant_of_session(self.session)


@dataclass(frozen=True, slots=True)
class UserRenewal:
    """Asks for a user again, where there is no session."""

    pk: Any

    def __call__(self) -> Grant | None:
        user = ModelBackend().get_user(self.pk)
        return None if user is None else grant_of_user(user)


def session_subject(session: str) -> str:
    """A session as the subject of a change. Its key opens it, and so is kept nowhere else."""
    return f"session:{hashlib.sha256(session.encode()).hexdigest()}"


# The hook's answers

_lock = threading.Lock()
_cached: dict[Any, tuple[float, Entitled, frozenset[str]]] = {}
_generation = 0


def forget(pk: Any = None) -> None:
    """Asks the hook again when it is next needed: for that user or, without one, for all."""
    global _generation  # noqa: PLW0603
    with _lock:
        _generation += 1
        if pk is None:
            _cached.clear()
        else:
            _cached.pop(str(pk), None)


def has_cached() -> bool:
    """Whether what any user may do is cached."""
    return bool(_cached)


def _entitled(user: AbstractBaseUser) -> tuple[Entitled, frozenset[str]]:
    """What the user is entitled to, and the groups on which that stands."""
    found = _cached.get(str(user.pk))
    if found is not None and time.monotonic() < found[0]:
        return found[1:]
    generation = _generation
    groups = frozenset(f"group:{pk}" for pk in Group.objects.filter(user=user.pk).values_list("pk", flat=True))
    entitled = _ask(user)
    with _lock:
        if generation == _generation:  # else it may have been asked before what has changed since
            if len(_cached) >= _MOST_CACHED:
                _cached.clear()
            _cached[str(user.pk)] = time.monotonic() + CACHE_SECONDS, entitled, groups
    return entitled, groups


def _ask(user: AbstractBaseUser) -> Entitled:
    try:
        hook: Callable[[AbstractBaseUser], Answer] = (
            import_string(conf.MARKETMUX_ENTITLEMENTS) if conf.MARKETMUX_ENTITLEMENTS else entitlements
        )
        return _read(hook(user))
    except Exception as error:
        logger.exception("MARKETMUX_ENTITLEMENTS does not say what %s may do", user)
        raise EntitlementsUnavailable from error


def _read(answer: Answer) -> Entitled:
    if not isinstance(answer, Mapping):
        return dict.fromkeys((Scope.SUBSCRIBE, Scope.READ), _patterns(answer))
    # "delayed" is kept free for symbols that are seen some time later; nothing is yet.
    return {Scope(scope): _patterns(patterns) for scope, patterns in answer.items() if scope != "delayed"}


def _patterns(patterns: Iterable[str]) -> Patterns:
    return Patterns.parse(patterns) if isinstance(patterns, str) else Patterns(patterns)
