"""docs/tutorial.md, done: its gateway, its page in a browser, its program, and what they show when the gateway goes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.conftest import StartGateway
from tests.environment import clean_environment
from tests.servers import ROOT, GatewayProcess, free_port, wait_until

PAGE = (ROOT / "docs/tutorial.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def block(language: str, part: str) -> str:
    [text] = [text for kind, text in BLOCKS if kind == language and part in text]
    return text


@pytest.fixture
def board(tmp_path: Path) -> Iterator[int]:
    """The port on which the tutorial's own command serves the page."""
    (tmp_path / "board").mkdir()
    (tmp_path / "board/index.html").write_text(block("html", "My prices"))
    port = free_port()
    words = block("sh", "http.server").replace("8001", str(port)).split()
    assert words[0] == ".venv/bin/python"
    with subprocess.Popen(
        [sys.executable, *words[1:]], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        yield port
        server.kill()


def publish(gateway: GatewayProcess, price: str = "150.250") -> str:
    """By the tutorial's curl."""
    command = block("sh", "curl").replace("127.0.0.1:8000", f"127.0.0.1:{gateway.port}").replace("150.250", price)
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout  # noqa: S602


@pytest.mark.soak
def test_the_page_is_live_stale_and_live_again(
    start_gateway: StartGateway, board: int, tmp_path: Path, driver: webdriver.Chrome
) -> None:
    origin = re.search(r"MARKETMUX_ALLOWED_ORIGINS=(\S+) make run", PAGE)
    assert origin is not None
    gateway = start_gateway(
        arguments=("--feed", "--prepare"), MARKETMUX_ALLOWED_ORIGINS=origin[1].replace("8001", str(board))
    )
    (tmp_path / "board/board.js").write_text(
        block("js", "WebSocket").replace("127.0.0.1:8000", f"127.0.0.1:{gateway.port}")
    )
    driver.get(f"http://127.0.0.1:{board}/")

    def shows(text: str) -> bool:
        return text in driver.find_element(By.TAG_NAME, "body").text

    wait_until(lambda: shows("live") and shows("AAPL") and shows("BTC-USD"), message="never live")
    assert not shows("ACME")
    assert publish(gateway) == '{"accepted":1}\n'
    wait_until(lambda: shows("ACME 150.250"), message="the price, with its zero")
    wait_until(lambda: shows(" skipped"), message="no receipt for what max_rate left out")
    gateway.stop()
    wait_until(lambda: shows("stale: no connection"))
    assert "stale" in str(driver.find_element(By.ID, "prices").get_attribute("class"))
    gateway.start()
    wait_until(lambda: shows("live"))
    publish(gateway, "151.5")
    wait_until(lambda: shows("ACME 151.5"))
    assert "stale" not in str(driver.find_element(By.ID, "prices").get_attribute("class"))


@pytest.mark.soak
def test_the_program_goes_on_where_it_stopped(start_gateway: StartGateway, redis_url: str, tmp_path: Path) -> None:
    gateway = start_gateway(redis_url)
    (tmp_path / "board.py").write_text(
        block("python", "asyncio").replace("127.0.0.1:8000", f"127.0.0.1:{gateway.port}")
    )
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    with (
        (tmp_path / "said").open("w") as said,
        subprocess.Popen([sys.executable, "board.py"], cwd=tmp_path, env=environment, stdout=said) as program,
    ):

        def says(line: str) -> bool:
            assert program.poll() is None
            return line in (tmp_path / "said").read_text()

        def published(price: str, seq: int) -> None:
            publish(gateway, price)
            wait_until(lambda: says(f"ACME {price:>12}  #{seq}\n"), message=(tmp_path / "said").read_text())

        try:
            published("1.50", 1)
            published("1.60", 2)
            gateway.stop()
            wait_until(lambda: says("stale: "))
            gateway.start()
            published("1.70", 3)
            assert not says("lost")
        finally:
            program.kill()
