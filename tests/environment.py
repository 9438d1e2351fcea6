"""What tests run in: an environment without the developer's own settings, and the programs that they need."""

from __future__ import annotations

import os
import shutil
from typing import Final, NoReturn

import pytest

from gateway.wires.io_uring import Ring

__all__ = ["cannot", "clean_environment", "has_io_uring", "installed"]

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


def cannot(reason: str) -> NoReturn:
    """The test is skipped; in CI, where everything is installed, it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def installed(*names: str) -> str:
    """The path of the first program that is there; without any the test cannot run."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])  # a user's PATH may lack nginx's place
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    cannot(f"needs {' or '.join(names)} on PATH")


def has_io_uring() -> bool:
    """Whether this system lets a gateway write to many clients at once."""
    try:
        Ring()
    except OSError:
        return False
    return True
