"""The distribution: what pyproject.toml says, and what is in the wheel and the sdist that are made of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.django_project import Project, hear_an_order

ROOT: Final = Path(__file__).resolve().parent.parent
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
ZONES: Final = ("bus", "gateway", "marketmux", "ticks")
DATA: Final = {".html", ".css", ".js", ".svg", ".lua", ".txt", ".typed", ".py"}


def pinned() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    found = [Requirement(line.partition("  #")[0]) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(one.name): one for one in found}


def test_the_dependencies_are_those_of_requirements_txt_from_its_versions_on() -> None:
    pins = pinned()
    asked = {canonicalize_name(one.name): one for one in map(Requirement, PROJECT["project"]["dependencies"])}
    assert asked.keys() == pins.keys()
    for name, one in asked.items():
        [pin] = pins[name].specifier
        assert one.specifier.contains(pin.version), name
        assert one.extras == pins[name].extras
        assert name == "django" or str(one.specifier) == f">={pin.version}"


def test_the_packages_are_those_that_there_are() -> None:
    there = {
        ".".join(path.relative_to(ROOT).parent.parts) for zone in ZONES for path in (ROOT / zone).rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == there | {"marketmux.client", "marketmux.templates"}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist and the wheel, made of a copy with the tools of this environment."""
    source = tmp_path_factory.mktemp("source") / "marketmux"
    source.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    for name in (*ZONES, "templates"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    made = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--skip-dependency-check", "--outdir", str(made), "."]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def test_the_index_would_take_them(dist: Path) -> None:
    files = sorted(map(str, dist.iterdir()))
    assert len(files) == 2
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *files], check=True, capture_output=True)
    checker = Path(sys.executable).with_name("check-wheel-contents")
    [wheel] = dist.glob("*.whl")
    done = subprocess.run(
        [checker, "--config", ROOT / "pyproject.toml", wheel], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_wheel_has_all_that_the_clone_has(dist: Path) -> None:
    [wheel] = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if "dist-info" not in name}
    here = {str(path.relative_to(ROOT)) for zone in ZONES for path in files(ROOT / zone)}
    here |= {f"marketmux/{path.relative_to(ROOT)}" for path in files(ROOT / "templates")}
    assert here - packed == set()
    assert all(name.partition("/")[0] in ZONES for name in packed)


def files(directory: Path) -> list[Path]:
    found = [Path(place) / name for place, _, names in os.walk(directory, followlinks=True) for name in names]
    return [path for path in found if path.suffix in DATA and "__pycache__" not in path.parts]


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel, which borrows what it depends on from this one."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    [site] = venv.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), "install", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--quiet", *map(str, dist.glob("*.whl"))], check=True)
    return venv


def test_the_console_script_runs_the_projects_commands_without_a_clone(installed: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    script = "from django.template.loader import get_template as g; g('404.html').render(); g('gateway/index.html')"
    for arguments in (["check"], ["migrate", "--verbosity=0"], ["shell", "-c", script]):
        command = [str(installed / "bin/marketmux"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "db.sqlite3").exists()


PYTHONS: Final = [f"3.{minor}" for minor in (11, 12, 13, 14)]


@pytest.mark.soak
@pytest.mark.parametrize("django", ["5.2", "6.0"])
@pytest.mark.parametrize("version", PYTHONS)
def test_the_guide_works_on_every_python_and_django(version: str, django: str, dist: Path, tmp_path: Path) -> None:
    if django == "6.0" and version == "3.11":
        pytest.skip("Django 6.0 needs Python 3.12")
    interpreter = shutil.which(f"python{version}")
    found = interpreter and subprocess.run([interpreter, "--version"], capture_output=True, check=False).returncode == 0
    if interpreter is None or not found:
        pytest.skip(f"there is no Python {version}")
    subprocess.run([interpreter, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv/bin/python")
    wheel = next(dist.glob("*.whl"))
    pip = [python, "-m", "pip", "install", "--quiet", str(wheel), f"django~={django}.0"]
    if subprocess.run([*pip[:4], "--dry-run", "django"], capture_output=True, check=False).returncode != 0:
        pytest.skip("the index cannot be reached")
    subprocess.run(pip, check=True)
    project = Project(tmp_path / "project", python, path="")
    project.follow_the_guide()
    assert "no issues" in project.manage("check")
    assert "No changes" in project.manage("makemigrations", "--check", "--dry-run")
    with project.served() as address:
        assert httpx.get(f"http://{address}/quote").status_code == 200
        hear_an_order(project.session(), address)
