"""The hooks of the JavaScript client with React itself, in a browser."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium import webdriver

from tests.clients import tick
from tests.integration.conftest import launched
from tests.javascript.node import MODULES, PACKAGE, ROOT, run
from tests.servers import GatewayProcess, wait_until

HERE = Path(__file__).parent
PAGE = '<!doctype html><title>Quotes</title><div id="root"></div><script type="module" src="quotes.js"></script>'


class Quotes:
    """The page, and who publishes what it shows."""

    def __init__(self, driver: webdriver.Chrome, gateway: GatewayProcess, url: str) -> None:
        self._driver = driver
        self._gateway = gateway
        self._site = url

    def open(self) -> None:
        self.go_to("")
        self.wait_for("document.getElementById('status')?.textContent", "live")

    def go_to(self, page: str) -> None:
        self._driver.get(f"{self._site}/{page}?url={self._gateway.ws}")

    def publish(self, *ticks: dict[str, Any]) -> None:
        answer = httpx.post(f"{self._gateway.http}/api/v1/ticks", json=ticks, timeout=60)
        assert answer.status_code == 202, answer.text

    def look(self, expression: str) -> Any:
        return self._driver.execute_script(f"return {expression};")

    def text(self, element: str) -> Any:
        return self.look(f"document.getElementById('{element}')?.textContent")

    def wait_for(self, expression: str, value: Any) -> None:
        wait_until(lambda: self.look(expression) == value, message=f"{expression} is {self.look(expression)!r}")

    def wait_for_text(self, element: str, text: str) -> None:
        self.wait_for(f"document.getElementById('{element}')?.textContent", text)

    def show(self, *symbols: str) -> None:
        self._driver.execute_script("page.show(arguments[0]);", list(symbols))

    def sent(self, action: str) -> list[Any]:
        sent: list[Any] = self.look(
            f"page.sent.filter(({{action}}) => action === '{action}').map((one) => one.symbols)"
        )
        return sent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the page, which is not of the gateway's origin."""
    directory = tmp_path_factory.mktemp("site")
    (directory / "index.html").write_text(PAGE)
    esbuild = MODULES / "esbuild" / "bin" / "esbuild"
    mode = '--define:process.env.NODE_ENV="development"'
    run(esbuild, HERE / "quotes.js", "--bundle", "--format=esm", mode, f"--outfile={directory / 'quotes.js'}")
    (directory / "example.html").write_text(PAGE.replace("quotes.js", "example.js"))
    (directory / "example.jsx").write_text(example())
    packages = {
        "@marketmux/client": PACKAGE / "src/index.ts",
        "@marketmux/client/react": PACKAGE / "src/react.ts",
        "react": MODULES / "react",
        "react-dom": MODULES / "react-dom",
    }
    aliases = [f"--alias:{name}={path}" for name, path in packages.items()]
    out = f"--outfile={directory / 'example.js'}"
    run(esbuild, directory / "example.jsx", "--bundle", "--format=esm", "--jsx=automatic", mode, *aliases, out)
    handler = functools.partial(Quiet, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def example() -> str:
    """The page of docs/reference/javascript.md, with the gateway that its address names."""
    [code] = re.findall(r"```jsx\n(.*?)```", (ROOT / "docs/reference/javascript.md").read_text(), re.DOTALL)
    assert code.count('"ws://127.0.0.1:8000/ws"') == 1
    return str(code).replace('"ws://127.0.0.1:8000/ws"', 'new URLSearchParams(location.search).get("url")')


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def quotes(site: str, tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[Quotes]:
    driver = launched(tmp_path_factory.mktemp("browser"))
    gateway = GatewayProcess(
        tmp_path_factory.mktemp("gateway"), database=migrated_database, MARKETMUX_ALLOWED_ORIGINS=site
    )
    try:
        gateway.start()
        yield Quotes(driver, gateway, site)
    finally:
        gateway.stop()
        driver.quit()


@pytest.fixture(autouse=True)
def _opened(quotes: Quotes) -> None:
    quotes.open()


def test_a_quote_is_shown_with_all_its_digits_and_follows(quotes: Quotes) -> None:
    quotes.publish(tick("AAPL", "150.250"))
    quotes.wait_for_text("AAPL-0", "150.250")
    quotes.publish(tick("AAPL", "150.260"))
    quotes.wait_for_text("AAPL-0", "150.260")
    assert quotes.look("document.getElementById('AAPL-0').dataset.stale") == "false"


def test_strict_mode_and_many_components_subscribe_once(quotes: Quotes) -> None:
    quotes.show("AAPL", "AAPL", "MSFT")
    quotes.publish(tick("AAPL", "1"), tick("MSFT", "2.0"))
    for element, price in (("AAPL-0", "1"), ("AAPL-1", "1"), ("MSFT-2", "2.0")):
        quotes.wait_for_text(element, price)
    assert quotes.sent("subscribe") == [["AAPL"], ["MSFT"]]
    assert quotes.sent("unsubscribe") == []


def test_the_last_one_to_go_unsubscribes(quotes: Quotes) -> None:
    quotes.show("AAPL", "GONE", "GONE")
    quotes.wait_for("page.client.symbols.includes('GONE')", True)
    quotes.show("AAPL", "GONE")
    quotes.show("AAPL")
    quotes.wait_for("page.client.symbols.includes('GONE')", False)
    assert quotes.sent("unsubscribe") == [["GONE"]]
    assert quotes.look("[...page.client.symbols]") == ["AAPL"]


def test_a_burst_is_rendered_at_most_once_a_frame(quotes: Quotes) -> None:
    quotes.show("AAPL", "BURST")
    quotes.wait_for("page.client.symbols.includes('BURST')", True)
    # Where frames are slower than ten a second, as on a busy machine, a timer stands in for them.
    more = "page.commits - page.frames - performance.now() / 100"
    before = quotes.look(more)
    for start in range(1, 2_001, 200):
        quotes.publish(*(tick("BURST", price) for price in range(start, start + 200)))
    quotes.wait_for_text("BURST-1", "2000")
    # One frame for what was asked for before the count began.
    assert quotes.look(more) <= before + 1
    assert quotes.look("page.commits") < 1_000
    assert quotes.look("page.client.counts.gaps") == 0


def test_the_example_of_the_guide_shows_a_quote(quotes: Quotes) -> None:
    quotes.publish(tick("AAPL", "150.250"))
    quotes.go_to("example.html")
    quotes.wait_for("document.querySelector('#root b')?.textContent", "150.250")
    quotes.wait_for("document.querySelector('#root i').textContent", "live")
