"""An environment without the developer's own settings: what a test sees is what it sets."""

from __future__ import annotations

import os
from typing import Final

from gateway.wires.io_uring import Ring

__all__ = ["clean_environment", "has_io_uring"]

_OURS: Final = frozenset(
    {"ALLOWED_HOSTS", "ASGI_THREADS", "DATABASE_URL", "DEBUG", "DJANGO_SETTINGS_MODULE", "REDIS_URL", "SECRET_KEY"}
)
_SLOW: Final = "PYTHONDONTWRITEBYTECODE"
"""Hundreds of servers start, and would each compile all of our modules."""


def clean_environment() -> dict[str, str]:
    """This process's environment without the variables that the settings read, and what makes servers start slowly."""
    return {name: value for name, value in os.environ.items() if not _is_ours(name)}


def _is_ours(name: str) -> bool:
    return name in _OURS or name == _SLOW or name.startswith("MARKETMUX_")


def has_io_uring() -> bool:
    """Whether this system lets a gateway write to many clients at once."""
    try:
        Ring()
    except OSError:
        return False
    return True
