"""``manage.py rotate_key KEY``: a new secret for a key, beside the one it has for some time still."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ticks.access.models import ROTATION
from ticks.management.keys import AuditedCommand, duration, find_keys, printable


class Command(AuditedCommand):
    help = "Gives keys a new secret, and prints it; it cannot be shown again. The old one stays valid for some time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("keys", nargs="+", metavar="key", help="a key's number, prefix, or exact name")
        end = parser.add_mutually_exclusive_group()
        end.add_argument(
            "--overlap", type=duration, default=ROTATION, help="how long both are valid: 15m, 24h (default), 7d"
        )
        end.add_argument("--now", action="store_true", help="the old secret ends at once, and who is connected by it")
        self.add_output_arguments(parser)

    def change(self, *, keys: list[str], overlap: timedelta, now: bool, quiet: bool, json: bool, **_: Any) -> Any:
        rotated = []
        for key in find_keys(keys):
            if key.state in {"revoked", "expired"}:
                raise CommandError(f"{printable(str(key))} is {key.state}; a new secret would be of no use.")
            rotated.append((key, key.rotate(timedelta() if now else overlap)))
            key.save()

        def done() -> None:
            self.show(rotated, quiet=quiet, as_json=json)
            if not quiet and not json and rotated[0][0].previous_until is not None:
                until = "has ended" if now else f"is valid until {rotated[0][0].previous_until:%Y-%m-%d %H:%M:%S} UTC"
                self.stdout.write(f"\nThe secret before it {until}; any other has ended.")

        return done
