#!/usr/bin/env python
"""Django's command line for the MarketMux project."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketmux.settings")
    from django.core.management import execute_from_command_line  # noqa: PLC0415 - Ctrl-C may come during the import

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
