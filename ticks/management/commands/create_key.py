"""``manage.py create_key NAME``: an API key, shown once."""

from __future__ import annotations

from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from ticks.access.grant import Scope
from ticks.access.models import ApiKey
from ticks.management.keys import AuditedCommand, expiry

_LIMITS: Final = {
    "ticks_per_second": "ticks it may publish a second",
    "connections": "WebSockets it may have at a time",
    "symbols": "symbols all its WebSockets may have",
    "new_symbols": "symbols that never ticked before which it may publish a day",
}


class Command(AuditedCommand):
    help = (
        "Creates an API key and prints it; it cannot be shown again. Without --publish, --subscribe and --read it may"
        " do everything with all symbols; with one of them, only what they say."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="who or what uses the key")
        for scope in Scope:
            parser.add_argument(f"--{scope}", metavar="PATTERNS", help="symbols: 'AAPL BTC-*', or '*' for all")
        for name, meaning in _LIMITS.items():
            parser.add_argument(f"--{name.replace('_', '-')}", metavar="N", type=int, help=meaning)
        parser.add_argument(
            "--expires", metavar="WHEN", type=expiry, help="when it ends: 30d, or a time such as 2027-01-31"
        )
        parser.add_argument("--notes", default="", help="what else there is to know about it")
        self.add_output_arguments(parser)

    def change(self, *, name: str, expires: Any, notes: str, quiet: bool, json: bool, **options: Any) -> Any:
        scopes = {scope.value: options[scope] for scope in Scope}
        if any(patterns is not None for patterns in scopes.values()):
            scopes = {scope: patterns or "" for scope, patterns in scopes.items()}
        fields = {**scopes, **{limit: options[limit] for limit in _LIMITS}, "expires_at": expires, "notes": notes}
        fields = {field: value for field, value in fields.items() if value is not None}
        try:
            ApiKey(name=name, **fields).clean_fields(exclude=["prefix", "digest"])
        except ValidationError as error:
            raise CommandError(_explained(error)) from error
        made = ApiKey.objects.issue(name, **fields)
        return lambda: self.show([made], quiet=quiet, as_json=json)


def _explained(error: ValidationError) -> str:
    return " ".join(f"{field}: {' '.join(messages)}" for field, messages in error.message_dict.items())
