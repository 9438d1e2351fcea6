"""The client as a package: built, checked, installed into an empty environment, and run on every Python that is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from marketmux_client import SyncPublisher
from tests.servers import GatewayProcess

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "clients/python"
GUIDE = ROOT / "docs/reference/client.md"
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
TIMEOUT = 300
# Their own cache, proxies and index stay; nothing of this environment does.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}

pytestmark = pytest.mark.servers


def pythons() -> Iterator[tuple[str, str]]:
    """The interpreters of this machine, tried: a version manager's stand-ins exist for what is not installed."""
    for version in VERSIONS:
        places = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")]
        for place in filter(None, places):
            code = "import sys, ensurepip; print('%d.%d' % sys.version_info[:2])"
            run = subprocess.run([str(place), "-c", code], capture_output=True, text=True, check=False)
            if run.stdout.strip() == version:
                yield version, str(place)
                break


PYTHONS = dict(pythons())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, which is what the wheel was built from."""
    directory = tmp_path_factory.mktemp("dist")
    source = directory / "source"
    shutil.copytree(PROJECT, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info", ".mypy_cache"))
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory), str(source)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return directory


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


def test_wheel_and_sdist_are_what_an_index_takes(built: Path, wheel: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    for checker in (["twine", "check", "--strict", str(wheel), str(sdist)], ["check_wheel_contents", str(wheel)]):
        # Not in the root, whose settings of the checker are those of the server's wheel.
        run = subprocess.run([sys.executable, "-m", *checker], cwd=built, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("METADATA"))
    assert {"marketmux_client/py.typed", "marketmux_client/__main__.py"} <= names
    assert {name.partition("/")[0] for name in names} == {"marketmux_client", "marketmux_client-0.1.0.dist-info"}
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line]
    assert required == ["Requires-Dist: websockets>=16"]
    with tarfile.open(sdist) as archive:
        kept = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "src/marketmux_client/py.typed"} <= kept


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            version, marks=() if version == f"{sys.version_info[0]}.{sys.version_info[1]}" else pytest.mark.soak
        )
        for version in VERSIONS
    ],
)
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """A fresh environment with the wheel and what it asks for."""
    if request.param not in PYTHONS:
        pytest.skip(f"needs Python {request.param}")
    home = tmp_path_factory.mktemp(f"python{request.param}")
    subprocess.run([PYTHONS[request.param], "-m", "venv", str(home)], check=True, timeout=TIMEOUT, env=ENVIRONMENT)
    python = home / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)]
    run = subprocess.run(pip, capture_output=True, text=True, timeout=TIMEOUT, check=False, env=ENVIRONMENT)
    if run.returncode and ("No matching distribution" in run.stderr or "onnection" in run.stderr):
        pytest.skip(f"the package index cannot be reached: {run.stderr[-300:]}")
    assert run.returncode == 0, run.stderr
    return python


PRINT_TICKS = """
import marketmux_client
with marketmux_client.connect({url!r}, {symbol!r}, timeout=60) as feed:
    with marketmux_client.SyncPublisher({http!r}) as publisher:
        publisher.publish(*({{"symbol": {symbol!r}, "price": price}} for price in ("150.250", "150.260")))
    for tick in feed:
        print(tick.symbol, tick.price, flush=True)
        if str(tick.price) == "150.260":
            break
print(feed.counts.gaps)
"""


def test_installed_it_publishes_and_prints_ticks(python: Path, gateway: GatewayProcess, tmp_path: Path) -> None:
    symbol = f"WHEEL-{python.parts[-3]}"  # of its own: one that ticked before begins with a snapshot
    code = PRINT_TICKS.format(url=gateway.ws, http=gateway.http, symbol=symbol)
    run = subprocess.run(
        [str(python), "-W", "error", "-c", code],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-3:] == [f"{symbol} 150.250", f"{symbol} 150.260", "0"]


def test_installed_its_command_prints_ticks(python: Path, gateway: GatewayProcess, tmp_path: Path) -> None:
    """As docs/reference/client.md has it, which says which environment that is."""
    [command] = re.findall(r"```sh\npython (-m marketmux_client .+?)\n```", GUIDE.read_text())
    arguments = command.replace("ws://127.0.0.1:8000/ws", gateway.ws).split()
    with (
        SyncPublisher(gateway.http) as publisher,
        subprocess.Popen(
            [str(python), *arguments], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            publisher.publish({"symbol": "AAPL", "price": "150.250"})  # a snapshot, or a tick, whichever is faster
            assert any("  AAPL  150.250  -  -  -  " in line for line in process.stdout)
        finally:
            process.kill()


def test_installed_it_has_nothing_of_the_server(python: Path, tmp_path: Path) -> None:
    code = "import sys, marketmux_client, marketmux_client.__main__; print(*sys.modules)"
    run = subprocess.run(
        [str(python), "-c", code], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    names = {name.partition(".")[0] for name in run.stdout.split()}
    assert {"marketmux", "gateway", "ticks", "bus", "django", "msgspec", "pandas", "polars"}.isdisjoint(names)


def test_its_own_tests_pass_on_this_python(python: Path, tmp_path: Path) -> None:
    """The conformance cases, and what else needs no gateway."""
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pytest", "pytest-asyncio"]
    run = subprocess.run(pip, capture_output=True, text=True, timeout=TIMEOUT, check=False, env=ENVIRONMENT)
    if run.returncode:
        pytest.skip(f"the package index cannot be reached: {run.stderr[-300:]}")
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PROJECT / "tests")]
    run = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert run.returncode == 0, run.stdout[-5_000:] + run.stderr
