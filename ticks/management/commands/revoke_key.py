"""``manage.py revoke_key KEY ...``: ends keys, and what is connected by them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ticks.access.models import ApiKey
from ticks.management.keys import AuditedCommand, find_keys, printable


class Command(AuditedCommand):
    help = "Revokes keys: all that are named or, if one of them is not known, none."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("keys", nargs="+", metavar="key", help="a key's number, prefix, or exact name")

    def change(self, *, keys: list[str], **_: Any) -> Any:
        found = find_keys(keys)
        revoked = [key for key in found if key.revoke()]
        return lambda: self._tell(found, revoked)

    def _tell(self, found: list[ApiKey], revoked: list[ApiKey]) -> None:
        for key in found:
            self.stdout.write(f"{printable(str(key))} {'is' if key in revoked else 'was'} revoked.")
