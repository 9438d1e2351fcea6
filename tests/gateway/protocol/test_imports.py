"""The language does no I/O, and depends on nothing that does."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import gateway.protocol

MODULES = [module.name for module in pkgutil.iter_modules(gateway.protocol.__path__)]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_the_language_loads_no_framework(module: str) -> None:
    """Neither itself nor by what it imports."""
    program = (
        f"import gateway.protocol.{module}, sys; "
        "print(*{name.partition('.')[0] for name in sys.modules} & {'django', 'channels', 'redis', 'daphne', 'twisted'})"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.split() == []
