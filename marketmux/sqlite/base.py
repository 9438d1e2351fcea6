"""Django's SQLite, whose files are for the gateway's user alone: they hold logins, sessions and the hashes of keys."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from django.db.backends.sqlite3 import base

__all__ = ["DatabaseWrapper"]


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        _create_private(str(conn_params["database"]))
        return super().get_new_connection(conn_params)


def _create_private(path: str) -> None:
    """Makes the file before SQLite does, which gives its log and its shared memory the same permissions."""
    if path == ":memory:" or path.startswith("file:"):
        return
    with contextlib.suppress(OSError):  # it is there, or cannot be, which SQLite says better
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
