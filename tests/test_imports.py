"""The arrows between the zones: marketmux -> gateway -> ticks -> bus, and inside the gateway edge -> fanout -> wires ->
server -> protocol. Nothing points back up, and the core runs without Django, Redis and Daphne.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What each room may import beside itself. A module belongs to the longest name that it starts with, so "gateway" is its
# version and the alias `gateway.layers`.
MAY_IMPORT: dict[str, set[str]] = {
    "bus": set(),
    "ticks": {"bus"},
    "gateway": {"bus"},
    "gateway.protocol": {"bus", "ticks", "gateway"},
    "gateway.server": {"gateway.protocol"},  # knows no ticks
    "gateway.wires": {"gateway.protocol", "gateway.server"},
    "gateway.fanout": {"bus", "ticks", "gateway.protocol", "gateway.wires"},
    "gateway.edge": {
        "bus",
        "ticks",
        "gateway",
        "gateway.protocol",
        "gateway.server",
        "gateway.wires",
        "gateway.fanout",
    },
    "gateway.admin": {"ticks", "gateway.edge"},
    "gateway.apps": {"bus", "gateway", "gateway.server", "gateway.checks"},
    "gateway.asgi": {"ticks", "gateway.server", "gateway.edge"},
    "gateway.checks": {"ticks"},
    "gateway.loadtest": set(),  # a client, which may run anywhere
    "gateway.management": {"bus", "ticks", "gateway.protocol", "gateway.server", "gateway.edge", "gateway.loadtest"},
    "gateway.templatetags": {"gateway.edge"},
    "marketmux": {"bus", "ticks", "gateway", "gateway.asgi", "marketmux.client"},
    "marketmux.client": set(),  # a library of its own: a link to it
    "marketmux_client": set(),
}
ZONES = dict.fromkeys(("bus", "ticks", "gateway", "marketmux"), ROOT)
ZONES["marketmux_client"] = ROOT / "clients/python/src"
FRAMEWORKS = {
    "asgiref",
    "autobahn",
    "channels",
    "channels_redis",
    "daphne",
    "django",
    "redis",
    "rest_framework",
    "twisted",
}


def test_imports_follow_the_arrows() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules()
        for imported in imports(path)
        if imported.partition(".")[0] in ZONES and room(imported) not in MAY_IMPORT[room(name)] | {room(name)}
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("pure", ["bus.contract", "gateway.protocol", "gateway.fanout"])
def test_the_core_runs_without_the_frameworks(pure: str) -> None:
    names = [name for name, _ in modules() if f"{name}.".startswith(f"{pure}.")]
    assert names
    loaded = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", loaded, *names], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not FRAMEWORKS & {name.partition(".")[0] for name in run.stdout.split()}


def modules() -> Iterator[tuple[str, Path]]:
    """Our modules by name."""
    for zone, folder in ZONES.items():
        for path in sorted((folder / zone).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


def imports(path: Path) -> Iterator[str]:
    """The names it imports, wherever in the file, types included; ``from a import b`` counts as ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name: str) -> str:
    """The room a module, or a name out of one, belongs to."""
    return max((room for room in MAY_IMPORT if f"{name}.".startswith(f"{room}.")), key=len)
