"""The tests' database, which is emptied after tests that commit: the audit log's triggers would not let that be."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

__all__ = ["drop_audit_triggers", "migrate_to"]

APPEND_ONLY: Any = import_module("ticks.migrations.0005_append_only")


def drop_audit_triggers() -> None:
    with connection.cursor() as cursor:
        for statement in APPEND_ONLY.dropped(APPEND_ONLY.TABLE)[connection.vendor]:
            cursor.execute(statement)


def migrate_to(target: tuple[str, str] | None = None) -> None:
    """Migrates the tests' database to a migration, or to the last ones."""
    executor = MigrationExecutor(connection)
    executor.migrate([target] if target else executor.loader.graph.leaf_nodes())
    if target is None:
        drop_audit_triggers()
