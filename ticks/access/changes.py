"""What changes on which grants stand (keys, users, groups, sessions): noted where it happens, read by every gateway.

A :class:`~ticks.access.models.Change` is written in the same transaction, so that no gateway can miss it, whatever
becomes of the message on the bus that says there is something to read. Changes that no signal tells of, such as a bulk
update or SQL by hand, show when what grants stand on is compared with what it was.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.dispatch import Signal
from django.utils import timezone

from bus.layers import is_shared
from ticks.access import keys, tokens, users
from ticks.access.models import ApiKey, Change, Entitlement
from ticks.access.users import EVERYBODY, entitlements_changed, session_subject

__all__ = ["GROUP", "MESSAGE", "Reader", "apply", "changed", "connect", "fingerprints", "has_cached", "note"]

logger = logging.getLogger(__name__)

GROUP: Final = "marketmux.access"
"""The channel layer's group of all gateways, which are told there that there are changes to read."""
MESSAGE: Final = "access.changed"

_TELL_SECONDS: Final = 1.0
_QUIET_SECONDS: Final = 5.0
"""After a message that failed: who changes many things must not wait for each."""
_quiet_until = 0.0
_OVERLAP: Final = timedelta(seconds=60)
"""How long the transaction of a change may last: its number is drawn before those that are committed earlier."""
_KEPT: Final = timedelta(hours=1)
_MOST_READ: Final = 5_000

changed = Signal()
"""Sent with ``subjects`` when a change has been committed by this process, in whichever thread that was."""


# Noting


def note(*subjects: str) -> None:
    """Notes that the subjects changed, in the transaction that is open, if one is."""
    Change.objects.bulk_create([Change(subject=subject) for subject in subjects])
    apply(subjects)  # for lookups in this transaction

    def committed() -> None:
        # Again: until the commit, others' lookups found things as they were, and cached them.
        apply(subjects)
        changed.send(sender=Change, subjects=subjects)
        if is_shared():
            _tell()

    transaction.on_commit(committed)


def apply(subjects: Iterable[str]) -> None:
    """Forgets what this process has cached of the subjects."""
    tokens.forget()
    for subject in subjects:
        kind, _, pk = subject.partition(":")
        if kind == "key":
            keys.forget()
        elif kind == "user":
            users.forget(pk)
        elif kind == "group" or subject == EVERYBODY:
            users.forget()


def has_cached() -> bool:
    """Whether anything is cached that a change could concern."""
    return keys.has_cached() or tokens.has_cached() or users.has_cached()


def _tell() -> None:
    """Tells other processes. That it fails does no harm: they look by themselves every moment."""

    global _quiet_until  # noqa: PLW0603

    async def send() -> None:
        async with asyncio.timeout(_TELL_SECONDS):
            await get_channel_layer().group_send(GROUP, {"type": MESSAGE})

    if time.monotonic() < _quiet_until:
        return
    try:
        async_to_sync(send)()
    except Exception as error:  # whatever ails Redis: the change is made
        _quiet_until = time.monotonic() + _QUIET_SECONDS
        logger.debug("Could not tell other gateways of a change: %s", error)


def connect() -> None:
    """Begins to listen to what the models say; called once, when all of them are there."""
    user = get_user_model()
    _listen([post_save, post_delete], ApiKey, lambda key: f"key:{key.pk}")
    _listen([post_save, post_delete], user, lambda one: f"user:{one.pk}")
    _listen([post_save, post_delete], Entitlement, lambda entitlement: f"group:{entitlement.group_id}")
    _listen([post_delete], Group, lambda group: f"group:{group.pk}")
    _listen([post_delete], Session, lambda session: session_subject(session.session_key))
    for through in {getattr(user, name).through for name in ("groups", "user_permissions") if hasattr(user, name)}:
        m2m_changed.connect(_membership_changed, sender=through, dispatch_uid=f"access {through.__name__}")
    m2m_changed.connect(_membership_changed, sender=Group.permissions.through, dispatch_uid="access group permissions")
    user_logged_out.connect(_logged_out, dispatch_uid="access logout")
    entitlements_changed.connect(_entitlements_changed, dispatch_uid="access entitlements")


def _listen(signals: list[Any], model: type[Model], subject: Any) -> None:
    def receive(instance: Any, update_fields: Any = None, created: bool = False, **_: Any) -> None:
        is_new = created and model is not Entitlement  # on which nobody stands yet
        if not is_new and (update_fields is None or set(update_fields) - {"last_login", "last_used_at"}):
            note(subject(instance))

    for number, signal in enumerate(signals):
        signal.connect(receive, sender=model, weak=False, dispatch_uid=f"access {model.__name__} {number}")


def _membership_changed(instance: Any, action: str, pk_set: Any, model: type[Model], **_: Any) -> None:
    """Users, groups and permissions are brought together, from either side."""
    if action == "pre_clear" and isinstance(instance, Group):
        note(f"group:{instance.pk}")  # of whom, is known no more when it is done; they are asked for after the commit
    if not action.startswith("post_"):
        return
    kind = {get_user_model(): "user", Group: "group"}
    if (own := kind.get(type(instance))) == "user" or (own == "group" and model is Permission):
        note(f"{own}:{instance.pk}")
    elif (other := kind.get(model)) is not None and pk_set is not None:
        note(*[f"{other}:{pk}" for pk in pk_set])
    elif own is None:
        note(EVERYBODY)  # all that had a permission


def _logged_out(request: Any, **_: Any) -> None:
    session = getattr(request, "session", None)
    if session is not None and session.session_key:
        note(session_subject(session.session_key))


def _entitlements_changed(user: Any = None, **_: Any) -> None:
    note(EVERYBODY if user is None else f"user:{user.pk}")


# Reading


class Reader:
    """Reads on in the table of changes. Asks the database."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}
        self._behind: int | None = None

    def read(self) -> set[str]:
        """The subjects that changed since it was read last; at first those of the last minute.

        Changes are committed in another order than that of their numbers, so those of the last minute are looked at
        again.
        """
        now = timezone.now()
        rows = Change.objects.filter(at__gt=now - _OVERLAP) if self._behind is None else Change.objects.all()
        found = list(rows.filter(pk__gt=self._behind or 0).order_by("pk").values_list("pk", "subject")[:_MOST_READ])
        new = {subject for pk, subject in found if pk not in self._seen}
        for pk, _ in found:
            self._seen.setdefault(pk, now)
        old = [pk for pk, at in self._seen.items() if at < now - _OVERLAP]
        self._behind = max(old, default=self._behind or 0)
        for pk in old:
            del self._seen[pk]
        apply(new)
        return new

    def prune(self) -> None:
        """Deletes what every gateway has read."""
        Change.objects.filter(at__lt=timezone.now() - _KEPT).delete()


def fingerprints(subjects: Collection[str]) -> Mapping[str, Any]:
    """How the keys and users among ``subjects`` are now; without those that are gone. Asks the database."""
    pks: dict[str, list[str]] = {"key": [], "user": []}
    for subject in subjects:
        kind, _, pk = subject.partition(":")
        if pk and kind in pks:
            pks[kind].append(pk)
    user = get_user_model()
    fields = {"key": [field.attname for field in ApiKey._meta.concrete_fields if field.name != "last_used_at"]}
    fields["user"] = ["pk", "password", *(name for name in ("is_active", "is_superuser") if hasattr(user, name))]
    found: dict[str, Any] = {}
    for kind, objects in (("key", ApiKey.objects), ("user", user.objects)):
        if pks[kind]:
            rows = objects.filter(pk__in=pks[kind]).values_list("pk", *fields[kind])
            found |= {f"{kind}:{row[0]}": row for row in rows}
    return found
