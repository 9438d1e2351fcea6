"""What the database holds of who may what: API keys, what groups of users may see, and what has changed lately."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Never

from django import forms
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from ticks.access.grant import Grant, Limits, Scope
from ticks.access.patterns import Patterns

__all__ = [
    "LIMITS",
    "ROTATION",
    "ApiKey",
    "AppendOnly",
    "AuditEntry",
    "Change",
    "Connection",
    "Entitlement",
    "KeyRenewal",
    "Permission",
    "key_digest",
]

_KEY_START: Final = "mmx_"
_KEY_BYTES: Final = 32
_PREFIX_LENGTH: Final = 12
_SUBJECT_LENGTH: Final = 100
ROTATION: Final = timedelta(hours=24)
"""How long the secret that was replaced goes on to be valid, unless said otherwise."""


LIMITS: Final = ("ticks_per_second", "connections", "symbols", "new_symbols")
"""The fields of a key that say how much of everything."""


if TYPE_CHECKING:
    PatternsText = models.TextField[Any, Patterns]
else:
    PatternsText = models.TextField


class PatternsFormField(forms.CharField):
    """Patterns in a form: they have changed if they cover something else."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return Patterns.parse(str(initial or "")) != Patterns.parse(data or "")
        except ValueError:
            return True


class PatternsField(PatternsText):
    """Patterns as text, a space between them; empty covers nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"blank": True, "default": "", **kwargs})

    def from_db_value(self, value: str | None, *_: Any) -> Patterns:
        return Patterns.parse(value or "")

    def to_python(self, value: Any) -> Patterns:
        if isinstance(value, Patterns):
            return value
        try:
            return Patterns.parse(value or "")
        except ValueError as error:
            raise ValidationError(str(error), code="invalid_pattern") from error

    def pre_save(self, model_instance: models.Model, add: bool) -> Patterns:
        patterns = self.to_python(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, patterns)  # what was given as text is what it would be when read again
        return patterns

    def get_prep_value(self, value: Any) -> str:
        return str(self.to_python(value))

    def formfield(self, **kwargs: Any) -> Any:
        return super().formfield(**{"form_class": PatternsFormField, **kwargs})

    def value_to_string(self, obj: models.Model) -> str:
        return self.get_prep_value(self.value_from_object(obj))

    def get_default(self) -> Patterns:
        return self.to_python(super().get_default())


class Permission(models.Model):  # noqa: DJ008 - there are none
    """Holds the permissions that users and groups can be given; it has no table."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [
            (Scope.PUBLISH.value, "Can publish ticks"),
            (Scope.SUBSCRIBE.value, "Can subscribe to ticks"),
            (Scope.READ.value, "Can read the last ticks"),
        ]


class HeardQuerySet(models.QuerySet[Any]):
    """Of what grants are made of: who updates several at once is heard as one who saves them.

    Gateways and the audit log hear of what is saved; SQL's UPDATE would tell neither. ``bulk_create`` and
    ``bulk_update`` of a queryset are refused for the same reason.
    """

    UNHEARD: Final = frozenset({"last_used_at"})
    """What says nothing of who may do what."""

    def update(self, **values: Any) -> int:
        if values.keys() <= self.UNHEARD:
            return super().update(**values)
        if any(hasattr(value, "resolve_expression") for value in values.values()):
            raise TypeError("The audit log has to know the values: save one by one what has an expression for one.")
        with transaction.atomic():
            found = list(self.select_for_update())
            for one in found:
                for name, value in values.items():
                    setattr(one, name, value)
                one.save(update_fields=list(values))
        return len(found)

    def bulk_create(self, *_: Any, **__: Any) -> Never:
        raise TypeError("Nobody would hear of them: save them one by one.")


class Entitlement(models.Model):
    """The symbols that the members of a group may have to do with, as far as their permissions go.

    Who is in no group with an entitlement may have to do with all symbols, as far as their permissions go.
    """

    group = models.OneToOneField(Group, on_delete=models.CASCADE, related_name="entitlement")
    publish = PatternsField(help_text="Symbols that members may publish: AAPL BTC-* or * for all.")
    subscribe = PatternsField(help_text="Symbols that members may subscribe to.")
    read = PatternsField(help_text="Symbols whose last tick members may read.")

    objects = HeardQuerySet.as_manager()

    def __str__(self) -> str:
        return f"Entitlement of {self.group}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        with transaction.atomic():  # with what is noted of it
            super().save(*args, **kwargs)


class ApiKeyManager(models.Manager["ApiKey"]):
    def get_queryset(self) -> HeardQuerySet:
        return HeardQuerySet(self.model, using=self._db)

    def issue(self, name: str, **fields: Any) -> tuple[ApiKey, str]:
        """A new key and its plaintext, which exists nowhere else from here on."""
        key = self.model(name=name, **fields)
        plaintext = key.draw()
        key.save(using=self._db)
        return key, plaintext

    def find(self, plaintext: str) -> ApiKey | None:
        """The key whose plaintext this is, if it is valid."""
        digest = key_digest(plaintext)
        return next((key for key in self._with([digest]) if key.grant(digest) is not None), None)

    def grants_of(self, digests: Sequence[str]) -> dict[str, Grant]:
        """What those allow who hold the secrets with these digests, by digest; of those that are valid.

        The digest is what is compared, by the database's index: its timing tells nothing about the plaintext.
        """
        found = ((digest, key.grant(digest)) for key in self._with(digests) for digest in key.digests)
        wanted = frozenset(digests)
        return {digest: grant for digest, grant in found if grant is not None and digest in wanted}

    def _with(self, digests: Sequence[str]) -> models.QuerySet[ApiKey]:
        of_either = Q(digest__in=digests) | Q(previous_digest__in=digests)
        return self.filter(of_either, active=True).order_by()


class ApiKey(models.Model):
    """A program that publishes, subscribes or reads. The database knows the digests of its secrets only.

    A plain SHA-256 is enough where a password would need a slow hash: 256 random bits cannot be guessed. While a secret
    is rotated both are valid: the one before until ``previous_until``.
    """

    name = models.CharField(max_length=100, help_text="Who or what uses the key.")
    prefix = models.CharField(max_length=_PREFIX_LENGTH, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    previous_digest = models.CharField(max_length=64, unique=True, null=True, editable=False)  # noqa: DJ001 - unique
    previous_until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    active = models.BooleanField(default=True, help_text="Untick to revoke the key.")
    publish = PatternsField(default="*", help_text="Symbols it may publish: AAPL BTC-* or * for all; empty for none.")
    subscribe = PatternsField(default="*", help_text="Symbols it may subscribe to.")
    read = PatternsField(default="*", help_text="Symbols whose last tick it may read.")
    ticks_per_second = models.PositiveIntegerField(null=True, blank=True, help_text="Ticks it may publish a second.")
    connections = models.PositiveIntegerField(null=True, blank=True, help_text="WebSockets it may have at a time.")
    symbols = models.PositiveIntegerField(null=True, blank=True, help_text="Symbols all its WebSockets may have.")
    new_symbols = models.PositiveIntegerField(
        null=True, blank=True, help_text="Symbols that never ticked before which it may publish a day."
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="When it ends by itself.")
    last_used_at = models.DateTimeField(null=True, editable=False)
    notes = models.TextField(blank=True)

    objects = ApiKeyManager()

    class Meta:
        verbose_name = "API key"
        ordering = ["name", "pk"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def save(self, *args: Any, **kwargs: Any) -> None:
        with transaction.atomic():  # with what is noted of it
            super().save(*args, **kwargs)

    @property
    def state(self) -> str:
        """``revoked``, ``expired``, ``rotating`` while two secrets are valid, or ``active``."""
        now = timezone.now()
        if not self.active:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "rotating" if self.previous_until is not None and self.previous_until > now else "active"

    @property
    def digests(self) -> tuple[str, ...]:
        """Of its secret and, if it was rotated, of the one before."""
        return (self.digest,) if self.previous_digest is None else (self.digest, self.previous_digest)

    def scope(self, scope: Scope) -> Patterns:
        """The symbols with which it may do that."""
        patterns: Patterns = getattr(self, scope)
        return patterns

    def draw(self) -> str:
        """Gives the key a new secret and returns its plaintext."""
        plaintext = _KEY_START + secrets.token_urlsafe(_KEY_BYTES)
        self.prefix = plaintext[:_PREFIX_LENGTH]
        self.digest = key_digest(plaintext)
        return plaintext

    def rotate(self, overlap: timedelta = ROTATION) -> str:
        """Gives the key a new secret beside the one it has, which is valid for ``overlap`` still; not saved yet.

        One that was rotated before and is still valid ends now.
        """
        self.previous_digest, self.previous_until = self.digest, timezone.now() + overlap
        return self.draw()

    def revoke(self) -> bool:
        """Ends the key; false if it was revoked already."""
        if not self.active:
            return False
        self.active = False
        self.save(update_fields=["active"])
        return True

    def grant(self, digest: str) -> Grant | None:
        """What the key allows who holds the secret with that digest; None if it is not valid (any more)."""
        expires = self._expires(digest)
        if not self.active or (expires is not None and expires <= time.time()):
            return None
        return Grant(
            owner=f"key:{self.pk}",
            who=str(self),
            publish=self.publish,
            subscribe=self.subscribe,
            read=self.read,
            limits=Limits(self.ticks_per_second, self.connections, self.symbols, self.new_symbols),
            expires=expires,
            stands_on=frozenset({f"key:{self.pk}"}),
            renew=KeyRenewal(self.pk, digest),
        )

    def _expires(self, digest: str) -> float | None:
        ends = [] if self.expires_at is None else [self.expires_at.timestamp()]
        if digest != self.digest:
            is_previous = digest == self.previous_digest and self.previous_until is not None
            ends.append(self.previous_until.timestamp() if is_previous and self.previous_until else 0.0)
        return min(ends, default=None)


@dataclass(frozen=True, slots=True)
class KeyRenewal:
    """Asks the database for a key again, by its number; for the secret that was shown, by its digest."""

    pk: int
    digest: str

    def __call__(self) -> Grant | None:
        key = ApiKey.objects.filter(pk=self.pk).first()
        return None if key is None else key.grant(self.digest)


class Change(models.Model):
    """That something changed on which grants may stand: each gateway reads on from where it was, every second.

    Written in the transaction of the change, so none is ever without the other. ``subject`` is as in
    ``Grant.stands_on``.
    """

    subject = models.CharField(max_length=_SUBJECT_LENGTH)
    at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.subject} at {self.at:%Y-%m-%d %H:%M:%S}"


class AppendOnly(Exception):
    """Somebody tried to change or delete an entry of the audit log."""


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    def update(self, **_: Any) -> Never:
        raise AppendOnly

    def delete(self) -> Never:
        raise AppendOnly


class AuditEntry(models.Model):
    """Who did what to whose access. Entries are added and read; nothing changes or removes one.

    Triggers in the database see to that too (migration 0005). SQLite makes a table anew when a column is altered: such
    a migration has to make its triggers again.
    """

    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.CharField(max_length=200, help_text="Who did it.")
    action = models.CharField(max_length=50)
    subject = models.CharField(max_length=200, help_text="What it was done to.")
    detail = models.JSONField(default=dict)

    objects = AuditQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ["-pk"]
        indexes = [models.Index(fields=["action", "subject"], name="marketmux_audit_action_subject")]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.subject}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnly
        super().save(*args, **{**kwargs, "force_insert": True})

    def delete(self, *_: Any, **__: Any) -> Never:
        raise AppendOnly


class Connection(models.Model):  # noqa: DJ008 - there are none
    """Stands for the WebSockets that are open, in the admin and its permissions; it has no table."""

    class Meta:
        managed = False
        default_permissions = ("view", "change")


def key_digest(plaintext: str) -> str:
    return hashlib.sha256(plaintext.encode()).hexdigest()
