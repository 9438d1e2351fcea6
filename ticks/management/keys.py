"""What the commands for API keys share: how keys are named, times written, and secrets printed."""

from __future__ import annotations

import json
import re
from argparse import ArgumentTypeError
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from ticks.access import audit
from ticks.access.grant import Scope
from ticks.access.models import LIMITS, ApiKey, key_digest

__all__ = ["AuditedCommand", "duration", "expiry", "find_keys", "instant", "past", "printable", "represent"]

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST: Final = timedelta(days=36_500)
_MOST_NAMED: Final = 10


class AuditedCommand(BaseCommand):
    """A command whose work is one transaction, and is entered in the audit log as that of the system's user."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        with audit.acting(audit.os_user()):
            return super().execute(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            done = self.change(**options)
        done()

    def change(self, *args: Any, **options: Any) -> Any:
        """Does it, and returns what prints it: nothing is told of what is not committed."""
        raise NotImplementedError

    def add_output_arguments(self, parser: CommandParser) -> None:
        output = parser.add_mutually_exclusive_group()
        output.add_argument("--quiet", action="store_true", help="print the secret and nothing else")
        output.add_argument("--json", action="store_true", help="print an object a line")

    def show(self, keys: Sequence[tuple[ApiKey, str]], *, quiet: bool, as_json: bool) -> None:
        """Prints keys with their new secrets: the only time they are seen."""
        for key, plaintext in keys:
            if quiet:
                self.stdout.write(plaintext)
            elif as_json:
                self.stdout.write(json.dumps({"key": plaintext, **represent(key)}))
            else:
                self.stdout.write(f"The key of {printable(key.name)}, shown this once:\n\n    {plaintext}\n\n")
                self.stdout.write(f"Send it as a header:\n\n    Authorization: Api-Key {plaintext}")


def represent(key: ApiKey) -> dict[str, Any]:
    """A key without its secrets, as JSON."""
    return {
        "id": key.pk,
        "name": key.name,
        "prefix": key.prefix,
        "state": key.state,
        **{scope.value: list(key.scope(scope)) for scope in Scope},
        "limits": {name: getattr(key, name) for name in LIMITS},
        "created_at": _written(key.created_at),
        "expires_at": _written(key.expires_at),
        "previous_until": _written(key.previous_until),
        "last_used_at": _written(key.last_used_at),
        "notes": key.notes,
    }


def _written(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def find_keys(words: Sequence[str]) -> list[ApiKey]:
    """The keys that are meant, each once and locked; :class:`CommandError` if it is not clear which."""
    return list({key.pk: key for word in words for key in [_find(word)]}.values())


def _find(word: str) -> ApiKey:
    """By number, by (the beginning of) a secret, or by name."""
    meant = Q(name=word) | Q(prefix=word) | Q(digest=key_digest(word)) | Q(previous_digest=key_digest(word))
    if re.fullmatch("[0-9]{1,18}", word):
        meant |= Q(pk=int(word))
    found: QuerySet[ApiKey] = ApiKey.objects.select_for_update().filter(meant)
    keys = list(found[: _MOST_NAMED + 1])
    if not keys:
        raise CommandError(f"There is no key {printable(word)!r}. manage.py list_keys has them all.")
    if len(keys) > 1:
        some = ", ".join(f"{key.pk} ({key.prefix}…, {key.state})" for key in keys[:_MOST_NAMED])
        more = " and more" if len(keys) > _MOST_NAMED else ""
        raise CommandError(
            f"{printable(word)!r} may be any of these keys: {some}{more}. Name it by its number or prefix."
        )
    return keys[0]


def duration(text: str) -> timedelta:
    """Reads ``90s``, ``15m``, ``24h``, ``30d`` or ``2w``."""
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    try:
        length = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    except OverflowError:
        length = None
    if length is None or length > _LONGEST:
        raise ArgumentTypeError(f"not a length of time: {text!r}; write 90s, 15m, 24h, 30d or 2w")
    return length


def instant(text: str) -> datetime:
    """Reads a time (``2027-01-31``, ``2027-01-31T12:00``, in UTC unless it says otherwise)."""
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"not a time: {text!r}; write 2027-01-31 or 2027-01-31T12:00:00Z") from None


def past(text: str) -> datetime:
    """Reads a time, or how long ago it was."""
    try:
        return timezone.now() - duration(text) if re.fullmatch("[0-9]+[a-z]", text) else instant(text)
    except OverflowError:
        raise ArgumentTypeError(f"too long ago: {text!r}") from None


def expiry(text: str) -> datetime:
    """Reads a time to come, or a length of time from now."""
    at = timezone.now() + duration(text) if re.fullmatch("[0-9]+[a-z]", text) else instant(text)
    if at <= timezone.now():
        raise ArgumentTypeError(f"it is past already: {text!r}")
    return at


def printable(text: str) -> str:
    """A name for a terminal: nothing in it moves the cursor or changes a colour."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
