"""The tests' settings, with a line in the file ``QUERIES`` for every query to the tables of keys and sessions."""

import os
from typing import Any

from django.db.backends.signals import connection_created

from tests.gateway_settings import *  # noqa: F403

_LOG = os.open(os.environ["QUERIES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _counted(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    for table in ("marketmux_ticks_apikey", "django_session"):
        if sql.startswith("SELECT") and f'FROM "{table}"' in sql:
            os.write(_LOG, f"{table}\n".encode())
    return execute(sql, params, many, context)


def _count(connection: Any, **_: Any) -> None:
    connection.execute_wrappers.append(_counted)


connection_created.connect(_count)
