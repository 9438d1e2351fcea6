"""The page of ``manage.py``'s commands, made from their parsers: ``python -m tests.commands`` writes it again."""

from __future__ import annotations

import os
from argparse import SUPPRESS, Action
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import django
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs/reference/commands.md"

INTRODUCTION: Final = """# Commands

What `manage.py` can do, run with the project's Python in the project's directory: `.venv/bin/python manage.py serve`, or
in a container `docker compose exec gateway python manage.py serve`. Django's own (`migrate`, `createsuperuser`, `check`)
are beside these, and its own options (`--help`, `--verbosity`, `--settings`) are not listed.

This page is made from the commands themselves: `.venv/bin/python -m tests.commands` writes it.
"""


def page() -> str:
    """All commands of ours, as Markdown."""
    ours = sorted(
        name for name, app in get_commands().items() if app.partition(".")[0] in {"gateway", "marketmux", "ticks"}
    )
    return INTRODUCTION + "".join(_section(name, load_command_class(get_commands()[name], name)) for name in ours)


def _section(name: str, command: BaseCommand) -> str:
    actions = [action for action in command.create_parser("manage.py", name)._actions if _is_own(action)]
    usage = " ".join([name, *(_metavar(action) for action in actions if not action.option_strings)])
    lines = ["", f"## {name}", "", f"`manage.py {usage}`: {_lower(command.help)}", ""]
    if actions:
        lines += ["| | |", "|---|---|", *(f"| `{_name(action)}` | {_help(action)} |" for action in actions), ""]
    return "\n".join(lines)


def _own() -> Iterator[str]:
    yield from ("-h", "--help")
    for action in BaseCommand().create_parser("manage.py", "")._actions:
        yield from action.option_strings


_DJANGOS: Final = frozenset(_own())


def _is_own(action: Action) -> bool:
    return action.help is not SUPPRESS and _DJANGOS.isdisjoint(action.option_strings)


def _name(action: Action) -> str:
    if not action.option_strings:
        return _metavar(action)
    takes_value = action.nargs != 0
    return ", ".join(action.option_strings) + (f" {_metavar(action)}" if takes_value else "")


def _metavar(action: Action) -> str:
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return str(action.metavar or action.dest.upper())


def _help(action: Action) -> str:
    return ((action.help or "") % vars(action)).replace("|", "\\|")


def _lower(text: str) -> str:
    return " ".join((text[:1].lower() + text[1:]).split())


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketmux.settings")
    django.setup()
    PAGE.write_text(page())
