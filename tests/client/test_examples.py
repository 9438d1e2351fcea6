"""The examples of the documentation and of the package's README, run as they are printed, against a gateway."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from marketmux_client import SyncPublisher
from tests.client.fake import TIMEOUT
from tests.servers import GatewayProcess

ROOT = Path(__file__).resolve().parents[2]
PUBLISH = ROOT / "docs/how-to/publish-from-python.md"
CLIENT = ROOT / "docs/reference/client.md"
README = ROOT / "clients/python/README.md"


def example(page: Path, contains: str) -> str:
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL) if contains in code)
    return str(code)


def run(code: str, gateway: GatewayProcess, tmp_path: Path) -> str:
    code = code.replace("127.0.0.1:8000", f"{gateway.host}:{gateway.port}").replace(', key="mmx_..."', "")
    program = tmp_path / "example.py"
    program.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients/python/src")}
    result = subprocess.run(
        [sys.executable, str(program)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_script_publishes_ten_thousand_ticks(gateway: GatewayProcess, tmp_path: Path) -> None:
    assert "accepted=10000," in run(example(PUBLISH, "10_000"), gateway, tmp_path)


def test_a_publisher_tells_what_was_refused_and_why(gateway: GatewayProcess, tmp_path: Path) -> None:
    printed = re.search(r"It prints\n\n```\n(.*?)```", PUBLISH.read_text(), re.DOTALL)
    assert printed is not None
    assert run(example(PUBLISH, "not a number"), gateway, tmp_path) == printed[1]


def test_a_publisher_drinks_a_source(gateway: GatewayProcess, tmp_path: Path) -> None:
    assert run(example(PUBLISH, "drink(source())"), gateway, tmp_path) == "2 ticks accepted\n"


def test_a_script_reads_a_price(gateway: GatewayProcess, tmp_path: Path) -> None:
    with SyncPublisher(gateway.http, close_timeout=TIMEOUT) as publisher:
        publisher.publish({"symbol": "ACME", "price": "150.250"})
    printed = run(example(CLIENT, "marketmux_client.connect"), gateway, tmp_path)
    assert printed.startswith("ACME 150.250 Latest(quote=Snapshot(")


def test_the_readme_publishes(gateway: GatewayProcess, tmp_path: Path) -> None:
    assert run(example(README, "SyncPublisher"), gateway, tmp_path) == ""


@pytest.mark.parametrize("page", [PUBLISH, CLIENT, README])
def test_every_example_is_python(page: Path) -> None:
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        compile(code, str(page), "exec")
