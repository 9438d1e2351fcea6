"""The audit log: who did what to whose access, written in the transaction that did it.

What the models say (keys, users, groups and their patterns) is compared before and after, so that it makes no
difference whether the admin, a command or somebody's own code saved it. Secrets and their digests are never in it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save

from ticks.access.models import ApiKey, AuditEntry, Entitlement
from ticks.access.patterns import Patterns

__all__ = ["SYSTEM", "acting", "actor", "connect", "note", "os_user"]

SYSTEM: Final = "system"
"""Who did what nobody in particular did."""

_actor: ContextVar[str] = ContextVar("actor", default=SYSTEM)

_LONGEST: Final = 200
"""Characters of an actor and a subject."""
_MOST_NAMED: Final = 100
"""Of groups, members and permissions that an entry names; what is more is counted."""


@contextmanager
def acting(who: str) -> Iterator[None]:
    """What is done within is done by ``who``."""
    token = _actor.set(who)
    try:
        yield
    finally:
        _actor.reset(token)


def actor() -> str:
    """Who is acting."""
    return _actor.get()


def os_user() -> str:
    """Whose process this is, for commands; as the system knows it, not as the environment says."""
    try:
        return f"os user {pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # as in a container, which may be run as any number
        return f"os user {os.getuid()}"


def note(action: str, subject: str, **detail: Any) -> None:
    """Enters that the actor did it, in the transaction that is open, if one is."""
    AuditEntry.objects.create(actor=_fitting(actor()), action=action, subject=_fitting(subject), detail=detail)


def _fitting(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


# What is watched


class _Watched(NamedTuple):
    subject: Callable[[Any], str]
    fields: tuple[str, ...]
    secret: str = ""
    """A field of which an entry says no more than that it changed."""


def connect() -> None:
    """Begins to listen to what the models say; called once, when all of them are there."""
    user: Any = get_user_model()
    names = (user.USERNAME_FIELD, "is_active", "is_staff", "is_superuser")
    fields = {field.name for field in user._meta.concrete_fields}
    _watch(ApiKey, _Watched(_key, _KEY_FIELDS))
    _watch(Entitlement, _Watched(lambda one: _group(one.group), ("publish", "subscribe", "read")))
    _watch(Group, _Watched(_group, ("name",)))
    _watch(user, _Watched(_user, tuple(name for name in names if name in fields), "password"))
    for owner, field in ((user, "groups"), (user, "user_permissions"), (Group, "permissions")):
        if hasattr(owner, field):
            _watch_members(owner, field)


_KEY_FIELDS: Final = (
    "name",
    "prefix",
    "previous_until",
    "active",
    "publish",
    "subscribe",
    "read",
    "ticks_per_second",
    "connections",
    "symbols",
    "new_symbols",
    "expires_at",
    "notes",
)


def _key(key: ApiKey) -> str:
    return f"key:{key.pk} {key}"


def _user(user: Any) -> str:
    return f"user:{user.pk} {user.get_username()}"


def _group(group: Group) -> str:
    return f"group:{group.pk} {group.name}"


def _watch(model: type[Model], watched: _Watched) -> None:
    """Enters what is made, changed and deleted of a model."""
    name = model.__name__
    columns = [*watched.fields, *filter(None, [watched.secret])]

    def before(instance: Any, **_: Any) -> None:
        found = None if instance.pk is None else _stored(model, instance.pk, columns)
        vars(instance)["audited"] = found or {}

    def after(instance: Any, update_fields: Iterable[str] | None = None, **_: Any) -> None:
        old = vars(instance).pop("audited", {})
        written = columns if update_fields is None else [field for field in columns if field in update_fields]
        changes = _differences(old, {field: getattr(instance, field) for field in written}, watched.secret)
        if changes or not old:
            note(_action(model, old, changes), watched.subject(instance), **changes)

    def gone(instance: Any, **_: Any) -> None:
        note("deleted", watched.subject(instance), what=str(model._meta.verbose_name))

    pre_save.connect(before, sender=model, weak=False, dispatch_uid=f"audit before {name}")
    post_save.connect(after, sender=model, weak=False, dispatch_uid=f"audit after {name}")
    post_delete.connect(gone, sender=model, weak=False, dispatch_uid=f"audit deleted {name}")


def _stored(model: type[Model], pk: Any, columns: list[str]) -> Mapping[str, Any] | None:
    return model._base_manager.filter(pk=pk).values(*columns).first()


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], secret: str) -> dict[str, Any]:
    """Old and new value of each field that changed; of one that is made, the values that it has."""
    changes: dict[str, Any] = {}
    for field, value in new.items():
        before, after = _plain(old.get(field)), _plain(value)
        if not old:
            if after not in {None, ""} and field != secret:
                changes[field] = after
        elif before != after:
            changes[field] = "changed" if field == secret else [before, after]
    return changes


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Patterns) else value


def _action(model: type[Model], old: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    if not old:
        return "made"
    if model is ApiKey and "active" in changes:
        return "restored" if changes["active"][1] else "revoked"
    return "rotated" if model is ApiKey and "prefix" in changes else "changed"


def _watch_members(owner: type[Model], field: str) -> None:
    """Enters who comes into a group and leaves it, and the same of permissions."""

    def changed(instance: Any, action: str, reverse: bool, model: Any, pk_set: set[Any] | None, **_: Any) -> None:
        what = {"post_add": "added", "post_remove": "removed", "pre_clear": "removed"}.get(action)
        if what is None:
            return
        if pk_set is None:
            manager = getattr(instance, _reverse_name(owner, field) if reverse else field)
            pk_set = set(manager.values_list("pk", flat=True))
        if pk_set:
            named = "members" if reverse and owner is not Group else field
            note("changed", _subject_of(instance), **{named: {what: _names(model, pk_set)}})

    through = getattr(owner, field).through
    m2m_changed.connect(changed, sender=through, weak=False, dispatch_uid=f"audit {through.__name__}")


def _reverse_name(owner: type[Model], field: str) -> str:
    relation: Any = owner._meta.get_field(field).remote_field
    return str(relation.get_accessor_name())


def _subject_of(instance: Any) -> str:
    if isinstance(instance, Group):
        return _group(instance)
    if isinstance(instance, get_user_model()):
        return _user(instance)
    return f"{instance._meta.model_name}:{instance.pk} {instance}"


def _names(model: type[Model], pks: set[Any]) -> list[str]:
    found = [str(one) for one in model._base_manager.filter(pk__in=sorted(pks)[:_MOST_NAMED])]
    return sorted(found) + ([f"and {len(pks) - _MOST_NAMED} more"] if len(pks) > _MOST_NAMED else [])
