"""``manage.py create_key NAME``: an API key, shown once."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ticks.access.models import ApiKey


class Command(BaseCommand):
    help = "Creates an API key for publishing and subscribing, and prints it. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="who or what uses the key")

    def handle(self, *, name: str, **_: Any) -> None:
        try:
            ApiKey(name=name).clean_fields(exclude=["prefix", "digest"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        key, plaintext = ApiKey.objects.issue(name)
        self.stdout.write(f"The key of {key.name}, shown this once:\n\n    {plaintext}\n\n")
        self.stdout.write(f"Send it as a header:\n\n    Authorization: Api-Key {plaintext}")
