"""The database of a gateway as another program sees it, which reads it and locks it: SQLite's file, or PostgreSQL."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

__all__ = ["SQLITE", "change", "locked", "rows"]

SQLITE: Final = "sqlite:///"


def rows(url: str, query: str) -> list[Any]:
    """What a query of the database at ``url`` finds."""
    with _connected(url) as connection:
        return list(connection.execute(query).fetchall())


def change(url: str, *statements: str) -> None:
    with _connected(url) as connection:
        for statement in statements:
            connection.execute(statement)


@contextlib.contextmanager
def locked(url: str, *, for_readers: bool = False) -> Iterator[None]:
    """Somebody else writes and does not come to an end; ``for_readers``: one cannot even read."""
    with _connected(url) as connection:
        if url.startswith(SQLITE):
            if for_readers:
                connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute(f"BEGIN {'EXCLUSIVE' if for_readers else 'IMMEDIATE'}")
        else:
            names = ", ".join(name for (name,) in connection.execute(TABLES).fetchall())
            connection.execute("BEGIN")
            connection.execute(f"LOCK TABLE {names} IN {'ACCESS EXCLUSIVE' if for_readers else 'EXCLUSIVE'} MODE")
        yield
        connection.execute("ROLLBACK")


TABLES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


def _connected(url: str) -> AbstractContextManager[Any]:
    """A connection on which each statement counts at once; any thread may use it."""
    if url.startswith(SQLITE):
        path = url.removeprefix(SQLITE)
        return contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
    import psycopg  # noqa: PLC0415 - not everywhere

    return contextlib.closing(psycopg.connect(url, autocommit=True))
