"""The locks hold what requirements.txt and requirements-dev.txt ask for, nothing else, and all of it with hashes."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


def lines(name: str) -> list[str]:
    """A file's requirements, a line each; a lock's with hashes and with the comments on who asked."""
    joined = re.sub(r"\s*\\?\n +", " ", (ROOT / name).read_text())
    return [line for line in joined.splitlines() if line and not line.startswith(("#", "-r"))]


def pins(entries: list[str]) -> set[str]:
    """Names, versions and conditions, spelled one way."""
    found = set()
    for entry in entries:
        requirement = Requirement(re.split(r"\s+(?:#|--hash)", entry)[0])
        found.add(f"{canonicalize_name(requirement.name)}{requirement.specifier} ; {requirement.marker}")
    return found


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_what_was_asked_for_is_what_is_locked(name: str) -> None:
    asked = [entry for entry in lines(f"{name}.lock") if f"-r {name}.txt" in entry]
    assert pins(asked) == pins(lines(f"{name}.txt")), "run make lock"


def test_tests_run_on_the_versions_that_the_gateway_is_installed_with() -> None:
    tested = pins(lines("requirements-dev.lock"))
    for pin in pins(lines("requirements.lock")):
        everywhere = f"{pin.partition(' ; ')[0]} ; None"
        assert pin in tested or everywhere in tested, f"{pin}: run make lock"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_everything_locked_has_a_version_and_hashes_and_no_address(name: str) -> None:
    for entry in lines(name):
        assert re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:", entry), entry
        assert "://" not in entry


def test_what_the_code_imports_is_asked_for_by_name() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = [*lines("requirements.txt"), *(line for extra in extras.values() for line in extra)]
    names = {canonicalize_name(Requirement(line.split("  #")[0]).name) for line in asked}
    distributions = packages_distributions()
    imported = {
        name
        for zone in ("bus", "ticks", "gateway", "marketmux")
        for path in (ROOT / zone).rglob("*.py")
        for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
        if name in distributions
    }
    assert "django" in imported
    assert [name for name in imported if names.isdisjoint(map(canonicalize_name, distributions[name]))] == []
