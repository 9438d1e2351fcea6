"""Node, and the JavaScript client as npm packs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["MODULES", "PACKAGE", "ROOT", "environment", "node", "packed", "run"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "clients" / "javascript"
MODULES = ROOT / "node_modules"
TIMEOUT = 240


def node() -> str:
    """The node that requirements-dev.txt brings, else one that is installed."""
    found = shutil.which("node", path=_path())
    assert found is not None, "no node: run `make test`, which installs one"
    return found


def environment() -> dict[str, str]:
    """With node on the path; a time zone and a language of its own."""
    return {**os.environ, "PATH": _path(), "TZ": "UTC", "LC_ALL": "C.UTF-8", "npm_config_offline": "true"}


def run(*command: str | Path, directory: Path = ROOT) -> str:
    """What a command prints, which must succeed."""
    known = subprocess.run(
        [str(part) for part in command],
        cwd=directory,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=TIMEOUT,
        check=False,
    )
    assert known.returncode == 0, known.stdout + known.stderr
    return known.stdout


def packed(directory: Path) -> Path:
    """The file that `npm pack` makes of the package, built in ``directory``."""
    copy = directory / "package"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("dist", "node_modules"))
    (copy / "node_modules").symlink_to(MODULES)
    npm = shutil.which("npm", path=_path())
    assert npm is not None
    run(npm, "pack", "--pack-destination", directory, directory=copy)
    (tarball,) = directory.glob("*.tgz")
    return tarball


def _path() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
