"""The demo page in a real browser: headless Chromium from the system, driven through the chromedriver beside it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.conftest import StartGateway
from tests.servers import GatewayProcess, wait_until

RECONNECT_TIMEOUT = 45.0
WIDE = (1280, 800)
NARROW = (420, 800)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Page:
    """The demo page of a gateway, and what somebody in front of it sees and does."""

    def __init__(self, driver: webdriver.Chrome, gateway: GatewayProcess) -> None:
        self.driver = driver
        self.gateway = gateway

    def open(self, state: str = "live") -> Page:
        self.driver.get(f"{self.gateway.http}/")
        self.wait_for_state(state)
        return self

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """What stands there, empty if there is no such element."""
        try:
            return self.find(selector).text
        except (NoSuchElementException, StaleElementReferenceException):
            return ""

    def symbols(self) -> list[str]:
        rows = self.driver.find_elements(By.CSS_SELECTOR, "tbody tr")
        return [str(row.get_attribute("data-symbol")) for row in rows if row.is_displayed()]

    def cell(self, symbol: str, name: str) -> str:
        return self.text(f"{row(symbol)} [data-cell='{name}']")

    def wait_for_state(self, state: str, timeout: float = 10.0) -> None:
        body = f"body[data-connection='{state}']"
        wait_until(lambda: bool(self.driver.find_elements(By.CSS_SELECTOR, body)), timeout, f"never {state}")

    def wait_for_cell(self, symbol: str, name: str, text: str) -> None:
        wait_until(lambda: self.cell(symbol, name) == text, message=f"{symbol} {name} is {self.cell(symbol, name)!r}")

    def wait_for_text(self, selector: str, text: str) -> None:
        wait_until(lambda: text in self.text(selector), message=f"{selector} is {self.text(selector)!r}")

    def subscribe(self, symbols: str) -> None:
        self.fill("#subscribe-symbols", symbols, Keys.ENTER)

    def unsubscribe(self, symbol: str) -> None:
        self.find(f"{row(symbol)} button").click()

    def publish(self, **fields: str) -> None:
        for name, text in fields.items():
            self.fill(f"#publish-{name}", text)
        self.find("#publish button").click()

    def fill(self, selector: str, *keys: str) -> None:
        field = self.find(selector)
        field.clear()
        field.send_keys(*keys)

    def resize(self, size: tuple[int, int]) -> None:
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def complaints(self) -> list[str]:
        """What the browser's console holds since the last call, beside messages of no consequence."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]  # type: ignore[no-untyped-call]


def row(symbol: str) -> str:
    return f"tr[data-symbol='{symbol}']"


def publish(gateway: GatewayProcess, *ticks: dict[str, Any]) -> None:
    """Publishes ticks whose prices are strings, so that their digits are the ones that are sent."""
    httpx.post(f"{gateway.http}/api/v1/ticks", json=list(ticks)).raise_for_status()


# Keeps the page's WebSockets where a test can reach them, and lets it put the clock forward.
SPY = """
    window.sockets = [];
    window.WebSocket = class extends WebSocket {
        constructor(url) { super(url); window.sockets.push(this); }
    };
    window.skipped = 0;
    const now = performance.now.bind(performance);
    performance.now = () => now() + window.skipped;
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = Options()
    options.binary_location = installed(*BROWSERS)
    for argument in (
        "--headless=new",
        "--no-sandbox",  # which root cannot have, and CI often is root
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        f"--window-size={WIDE[0]},{WIDE[1]}",
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With both paths given, selenium has nothing to look for and nothing to download.
    driver = webdriver.Chrome(options, Service(executable_path=installed("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def driver(chromium: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """The browser, which afterwards is on no page and remembers none."""
    yield chromium
    chromium.get("about:blank")
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    chromium.get_log("browser")  # type: ignore[no-untyped-call]


def installed(*names: str) -> str:
    """The path of the first program that is there; without any the test is skipped, in CI it fails."""
    for name in names:
        if found := shutil.which(name):
            return found
    reason = f"needs {' or '.join(names)} on PATH"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def seeded(chromium: webdriver.Chrome, gateway: GatewayProcess) -> GatewayProcess:
    """The module's gateway with the mock market's instruments, and no feed: nothing moves unless a test moves it.

    It asks for the browser first, since without one there is nothing to start it for.
    """
    gateway.manage("seed_instruments")
    return gateway


@pytest.fixture
def page(driver: webdriver.Chrome, seeded: GatewayProcess) -> Iterator[Page]:
    """The page, open and live. A test that makes the browser complain looks at ``complaints`` itself."""
    page = Page(driver, seeded)
    page.resize(WIDE)
    yield page.open()
    assert page.complaints() == []


@pytest.fixture
def spied(page: Page) -> Iterator[Page]:
    """The page, with ``SPY`` in it."""
    source = {"source": SPY}
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", source)
    yield page.open()
    page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


# What it shows


def test_shows_the_active_instruments(page: Page) -> None:
    assert page.symbols() == sorted(page.symbols())
    assert {"AAPL", "BRK.B", "EUR/USD", "^GSPC"} <= set(page.symbols())
    assert page.cell("AAPL", "name") == "Apple Inc."
    assert page.text("#count") == str(len(page.symbols()))


def test_says_when_it_is_live(page: Page) -> None:
    assert page.text("#connection") == "Live"
    wait_until(lambda: re.fullmatch(r"\d+ ms", page.text("#latency")) is not None)


def test_a_price_moves_when_a_tick_is_published(page: Page) -> None:
    page.subscribe("MOVES")
    publish(page.gateway, {"symbol": "MOVES", "price": "200.00", "bid": "199.99", "ask": "200.01"})
    page.wait_for_cell("MOVES", "price", "200.00")
    publish(page.gateway, {"symbol": "MOVES", "price": "201.00", "bid": "200.99", "ask": "201.01"})
    page.wait_for_cell("MOVES", "price", "201.00")

    assert page.cell("MOVES", "change") == "+1.00"
    assert page.cell("MOVES", "percent") == "+0.50%"
    assert page.cell("MOVES", "bid") == "200.99"
    assert page.cell("MOVES", "ask") == "201.01"
    assert page.find(row("MOVES")).get_attribute("data-trend") == "up"
    assert page.cell("MOVES", "updated").endswith(("now", "1s", "2s"))
    wait_until(lambda: bool(page.find(f"{row('MOVES')} svg .line").get_attribute("d")))


def test_a_falling_price_shows_a_minus(page: Page) -> None:
    page.subscribe("FALLS")
    publish(page.gateway, {"symbol": "FALLS", "price": "1.25"})
    page.wait_for_cell("FALLS", "price", "1.25")
    publish(page.gateway, {"symbol": "FALLS", "price": "-0.75"})
    page.wait_for_cell("FALLS", "price", "-0.75")
    assert page.cell("FALLS", "change") == "\u22122.00"
    assert page.cell("FALLS", "percent") == "\u2212160.00%"


@pytest.mark.parametrize("price", ["150.250", "0.10", "100", "-3.50", "9007199254740993.000000001000"])
def test_digits_are_kept(page: Page, price: str) -> None:
    publish(page.gateway, {"symbol": "AAPL", "price": price})
    page.wait_for_cell("AAPL", "price", price)


def test_a_symbol_that_ticked_before_has_its_price_at_once(page: Page) -> None:
    publish(page.gateway, {"symbol": "QUIET", "price": "7.70"})
    page.subscribe("QUIET")
    page.wait_for_cell("QUIET", "price", "7.70")


def test_after_a_burst_the_newest_price_stands(page: Page) -> None:
    publish(page.gateway, *({"symbol": "TSLA", "price": f"{number}.10"} for number in range(1_000)))
    page.wait_for_cell("TSLA", "price", "999.10")


def test_says_quietly_what_was_skipped_because_it_was_behind(spied: Page) -> None:
    script = """
        const data = '{"type":"conflated","reason":"slow","skipped":{"AAPL":1200,"TSLA":34}}';
        for (const _ of [1, 2]) window.sockets[0].dispatchEvent(new MessageEvent("message", { data }));
    """
    spied.driver.execute_script(script)
    spied.wait_for_text("#skipped", "2,468")
    spied.wait_for_text("#notices", "2,468 (AAPL 2,400, TSLA 68)")


def test_narrow_screens_show_everything_without_scrolling_sideways(page: Page) -> None:
    publish(page.gateway, {"symbol": "AAPL", "price": "150.250"})
    page.resize(NARROW)
    page.wait_for_cell("AAPL", "price", "150.250")
    width, room = page.driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width <= room


def test_everything_comes_from_the_gateway(page: Page) -> None:
    script = "return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)"
    assert set(page.driver.execute_script(script)) == {page.gateway.http}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"price": 150.250}', {"price": "150.250"}),
        ('[0, -1.50e+10, "1.0", "a\\"2.0", true, null]', ["0", "-1.50e+10", "1.0", 'a"2.0', True, None]),
        ('{"1": {"a\\\\": 12345678901234567890.10}}', {"1": {"a\\": "12345678901234567890.10"}}),
        ("[01]", "SyntaxError"),
        ("[1.]", "SyntaxError"),
    ],
)
def test_numbers_are_read_as_their_text(page: Page, text: str, value: Any) -> None:
    script = """
        const [text, done] = arguments;
        import("/static/gateway/exact.js").then(({ parse }) => parse(text)).then(done, (error) => done(error.name));
    """
    assert page.driver.execute_async_script(script, text) == value


# Subscribing


def test_subscribes_to_any_symbol(page: Page) -> None:
    page.subscribe("$X:Y+Z#_-1 OTHER")
    assert page.symbols()[:2] == ["OTHER", "$X:Y+Z#_-1"]
    publish(page.gateway, {"symbol": "$X:Y+Z#_-1", "price": "1.0"}, {"symbol": "OTHER", "price": "2.0"})
    page.wait_for_cell("$X:Y+Z#_-1", "price", "1.0")
    page.wait_for_cell("OTHER", "price", "2.0")


def test_refuses_what_is_no_symbol(page: Page) -> None:
    before = page.symbols()
    page.subscribe("b\u00fccher")
    page.wait_for_text("#subscribe-error", "b\u00fccher")
    assert page.symbols() == before


def test_unsubscribes(page: Page) -> None:
    page.unsubscribe("MSFT")
    wait_until(lambda: "MSFT" not in page.symbols())
    publish(page.gateway, {"symbol": "MSFT", "price": "1.0"}, {"symbol": "AAPL", "price": "4.321"})
    page.wait_for_cell("AAPL", "price", "4.321")
    assert "MSFT" not in page.symbols()


def test_the_filter_finds_symbols_and_names(page: Page) -> None:
    page.fill("#filter", "apple")
    assert page.symbols() == ["AAPL"]
    page.fill("#filter", "nothing like it")
    page.wait_for_text("#no-rows", "No symbol matches")


def test_an_error_of_the_server_is_shown_and_its_row_goes(
    driver: webdriver.Chrome, start_gateway: StartGateway
) -> None:
    page = Page(driver, start_gateway(MARKETMUX_MAX_SYMBOLS="2"))
    page.open()
    page.subscribe("ONE TWO")
    page.subscribe("THREE")
    page.wait_for_text("#notices", "at most 2 symbols")
    assert page.symbols() == ["TWO", "ONE"]
    assert page.complaints() == []


# Publishing


def test_publishes_a_tick(page: Page) -> None:
    page.publish(symbol="AAPL", price="151.500", size="10")
    page.wait_for_text("#publish output", "Accepted: AAPL at 151.500")
    page.wait_for_cell("AAPL", "price", "151.500")


def test_shows_what_is_wrong_beside_the_field(page: Page) -> None:
    page.publish(symbol="AAPL", price="1_000", size="1")
    page.wait_for_text("[data-error-of='price']", "Not a number")
    page.wait_for_text("#publish output", "Nothing was published")
    assert page.find("#publish-price").get_attribute("aria-invalid") == "true"
    assert page.text("[data-error-of='size']") == ""
    (complaint,) = page.complaints()
    assert "400" in complaint


def test_asks_for_no_key_where_anyone_may_publish(page: Page) -> None:
    assert not page.driver.find_elements(By.ID, "publish-key")


# Connection


def test_comes_back_after_the_gateway_was_away(driver: webdriver.Chrome, start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    gateway.manage("seed_instruments")
    page = Page(driver, gateway).open()
    page.subscribe("MINE")
    page.unsubscribe("MSFT")
    publish(gateway, {"symbol": "AAPL", "price": "1.10"})
    page.wait_for_cell("AAPL", "price", "1.10")

    gateway.stop()
    page.wait_for_state("reconnecting")
    page.wait_for_text("#connection", "Reconnecting in")
    page.wait_for_text("#notices", "Connection lost")
    gateway.start()
    page.wait_for_state("live", RECONNECT_TIMEOUT)

    publish(gateway, {"symbol": "AAPL", "price": "1.20"}, {"symbol": "MINE", "price": "2.50"})
    page.wait_for_cell("AAPL", "price", "1.20")
    page.wait_for_cell("MINE", "price", "2.50")
    assert page.cell("AAPL", "change") == "+0.10"
    assert "MSFT" not in page.symbols()


def test_retries_at_once_when_asked_to(driver: webdriver.Chrome, start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    page = Page(driver, gateway).open()
    gateway.stop()
    page.wait_for_state("reconnecting")
    gateway.start()
    page.driver.execute_script("document.getElementById('retry').click()")
    page.wait_for_state("live", RECONNECT_TIMEOUT)


def test_a_connection_that_answers_no_ping_is_given_up(spied: Page) -> None:
    spied.driver.execute_script("window.sockets[0].send = () => {}; window.skipped += 11_000")
    spied.driver.execute_async_script("setTimeout(arguments[0], 2_500)")
    assert spied.text("#connection") == "Live"
    spied.driver.execute_script("window.skipped += 11_000")
    spied.wait_for_text("#notices", "no answer to a ping")
    spied.wait_for_state("live", RECONNECT_TIMEOUT)
    assert spied.driver.execute_script("return window.sockets.length") > 1


def test_the_backoff_has_full_jitter_and_a_bound(page: Page) -> None:
    script = """
        const done = arguments[0];
        import("/static/gateway/connection.js").then(({ backoff }) =>
            done([0, 1, 2, 20].map((attempt) => [backoff(attempt, () => 0), backoff(attempt, () => 1)])));
    """
    assert page.driver.execute_async_script(script) == [[0, 1_000], [0, 2_000], [0, 4_000], [0, 30_000]]


# Where not everybody may do everything


def test_strangers_are_told_to_sign_in_and_then_it_is_live(
    driver: webdriver.Chrome, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(
        MARKETMUX_ANONYMOUS="0",
        SECRET_KEY="of this test only, as long as a key has to be for Django to like it",
        DJANGO_SUPERUSER_PASSWORD="sesame",
    )
    gateway.manage("createsuperuser", "--noinput", "--username=ali", "--email=ali@example.com")
    page = Page(driver, gateway).open("refused")
    assert "Refused" in page.text("#connection")

    page.find("#sign-in").click()
    page.fill("#id_username", "ali")
    page.fill("#id_password", "sesame", Keys.ENTER)
    page.wait_for_state("live")
    assert not page.find("#sign-in").is_displayed()


def test_publishing_with_a_key(driver: webdriver.Chrome, start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_ANONYMOUS="0")
    key = gateway.manage("create_key", "page").split()[-1]
    page = Page(driver, gateway).open("refused")

    page.publish(symbol="AAPL", price="1.0", key="wrong")
    page.wait_for_text("#publish output", "unknown or revoked")
    page.publish(symbol="AAPL", price="1.0", key=key)
    page.wait_for_text("#publish output", "Accepted: AAPL at 1.0")
