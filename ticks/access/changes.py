"""Notes what changes on which grants stand: keys, users, their groups and permissions, sessions.

A :class:`~ticks.access.models.Change` is written in the same transaction, so that every gateway learns of it, whatever
becomes of the message that says there is something to read. This process forgets at once what it has cached.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.dispatch import Signal

from ticks.access import keys, users
from ticks.access.models import ApiKey, Change, Entitlement
from ticks.access.users import entitlements_changed, session_subject

__all__ = ["EVERYBODY", "apply", "changed", "connect", "note"]

EVERYBODY = "users"
"""The subject of a change that may concern every user, as one of a group does."""

changed = Signal()
"""Sent with ``subjects`` when a change has been committed by this process."""


def note(*subjects: str) -> None:
    """Notes that the subjects changed, in the transaction that is open, if one is."""
    Change.objects.bulk_create([Change(subject=subject) for subject in subjects])
    apply(subjects)  # for a lookup between the two, and for tests, whose transactions do not end

    def committed() -> None:
        # Not only before: until the commit a lookup finds things as they were, and caches them again.
        apply(subjects)
        changed.send(sender=Change, subjects=subjects)

    transaction.on_commit(committed)


def apply(subjects: Any) -> None:
    """Forgets what this process has cached of the subjects."""
    for subject in subjects:
        kind, _, pk = subject.partition(":")
        if kind == "key":
            keys.forget()
        elif kind == "user":
            users.forget(pk)
        elif subject == EVERYBODY:
            users.forget()


def connect() -> None:
    """Begins to listen to what the models say; called once, when all of them are there."""
    user = get_user_model()
    _listen([post_save, post_delete], ApiKey, lambda key: [f"key:{key.pk}"])
    _listen([post_save, post_delete], user, lambda one: [f"user:{one.pk}"])
    _listen([post_save, post_delete], Entitlement, lambda _: [EVERYBODY])
    _listen([post_delete], Group, lambda _: [EVERYBODY])
    _listen([post_delete], Session, lambda session: [session_subject(session.session_key)])
    for through in {getattr(user, name).through for name in ("groups", "user_permissions") if hasattr(user, name)}:
        m2m_changed.connect(_membership_changed, sender=through, dispatch_uid=f"access {through.__name__}")
    m2m_changed.connect(_membership_changed, sender=Group.permissions.through, dispatch_uid="access group permissions")
    user_logged_out.connect(_logged_out, dispatch_uid="access logout")
    entitlements_changed.connect(_entitlements_changed, dispatch_uid="access entitlements")


def _listen(signals: list[Any], model: type[Model], subjects: Any) -> None:
    def receive(instance: Any, update_fields: Any = None, **_: Any) -> None:
        if update_fields is None or set(update_fields) - {"last_login", "last_used_at"}:
            note(*subjects(instance))

    for number, signal in enumerate(signals):
        signal.connect(receive, sender=model, weak=False, dispatch_uid=f"access {model.__name__} {number}")


def _membership_changed(instance: Any, action: str, reverse: bool, **_: Any) -> None:
    if not action.startswith("post_"):
        return
    if isinstance(instance, Group | Permission) or reverse:
        note(EVERYBODY)
    else:
        note(f"user:{instance.pk}")


def _logged_out(request: Any, **_: Any) -> None:
    session = getattr(request, "session", None)
    if session is not None and session.session_key:
        note(session_subject(session.session_key))


def _entitlements_changed(user: Any = None, **_: Any) -> None:
    note(EVERYBODY if user is None else f"user:{user.pk}")
