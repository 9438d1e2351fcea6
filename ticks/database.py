"""Connections to the database in threads of requests.

Django keeps a connection for the next request that the same thread serves. Under ASGI each request has a thread of its
own (asgiref's ``ThreadSensitiveContext``), which ends with it: the connection would stay open until the garbage
collector comes by it, and a database that has room for a hundred is soon full.
"""

from __future__ import annotations

from typing import Any

from django.core.signals import request_finished
from django.db import connections

__all__ = ["connect"]


def connect() -> None:
    """From now on a request leaves no connection behind."""
    request_finished.connect(_close)


def _close(**_: Any) -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:  # of a test that calls the application in its own thread
            connection.close()
