"""The console script ``marketmux``, and ``python -m marketmux``: the commands of manage.py where there is no clone."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketmux.settings")
    from django.core.management import execute_from_command_line  # noqa: PLC0415 - Ctrl-C may come during the import

    try:
        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
