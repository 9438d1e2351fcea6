"""The demo page in long and heavy use: thousands of symbols, a reload, a gateway that comes back, a page that is slow."""

from __future__ import annotations

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.conftest import StartGateway
from tests.integration.browser import Page, row
from tests.integration.conftest import WIDE
from tests.servers import wait_until

NARROW = (390, 844)
MANY = 3_000
LONGEST = f"-{'9' * 32}.{'8' * 32}"

# The longest that an attempt to connect can be put off.
UNLUCKY = "Math.random = () => 0.999;"

# Cells whose text does not fit.
CUT = """
    return [...document.querySelectorAll("tbody [data-cell]")]
      .filter((cell) => ["price", "change", "bid", "ask"].includes(cell.dataset.cell) && cell.offsetParent !== null)
      .filter((cell) => cell.scrollWidth > cell.clientWidth).map((cell) => cell.textContent);
"""


def publish(http: str, prices: dict[str, str]) -> None:
    ticks = [{"symbol": symbol, "price": price} for symbol, price in prices.items()]
    for start in range(0, len(ticks), 1_000):
        httpx.post(f"{http}/api/v1/ticks", json=ticks[start : start + 1_000]).raise_for_status()


def rows(page: Page) -> int:
    return int(page.driver.execute_script("return document.querySelectorAll('tbody tr').length"))


# Thousands of symbols


@pytest.mark.soak
def test_of_thousands_of_symbols_only_those_in_sight_are_in_the_document(page: Page) -> None:
    publish(page.http, {f"S{number:04}": f"{number}.5" for number in range(MANY)})
    page.subscribe("*")
    wait_until(lambda: int(page.text("#count").replace(",", "") or 0) >= MANY)
    assert rows(page) < 60

    page.find("th.price button").click()
    wait_until(lambda: page.symbols()[:1] == ["S2999"], message=str(page.symbols()[:3]))
    page.find(row("S2999")).send_keys(Keys.END)
    wait_until(lambda: "AAPL" in page.symbols()[-30:])
    assert rows(page) < 60
    page.fill("#filter", "s1234")
    wait_until(lambda: page.symbols() == ["S1234"])
    page.wait_for_text("#count", "1 of 3,0")


def test_the_keyboard_reaches_every_row_and_unsubscribes(page: Page) -> None:
    page.find(row("AAPL")).send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    focused = "return document.activeElement.dataset.symbol"
    assert page.driver.execute_script(focused) == "BRK.B"
    page.driver.switch_to.active_element.send_keys(Keys.DELETE)
    wait_until(lambda: "BRK.B" not in page.symbols())
    wait_until(lambda: page.driver.execute_script(focused) == "BTC-USD")
    page.driver.switch_to.active_element.send_keys(Keys.HOME)
    assert page.driver.execute_script(focused) == "AAPL"


# One symbol close up


def test_a_row_opens_its_chart_with_the_newest_ticks(page: Page) -> None:
    for price in ("150.25", "150.50", "150.125"):
        httpx.post(f"{page.http}/api/v1/ticks", json={"symbol": "AAPL", "price": price, "bid": "150.1", "ask": "150.2"})
        page.wait_for_cell("AAPL", "price", price)
        if price == "150.25":
            page.find(f"{row('AAPL')} .name").click()
    page.wait_for_text("#detail [data-of=price]", "150.125")
    assert page.text("#detail h2").split("\n") == ["AAPL", "Apple Inc."]
    assert (page.text("#detail [data-of=bid]"), page.text("#detail [data-of=ask]")) == ("150.1", "150.2")
    prices = [one.text for one in page.driver.find_elements(By.CSS_SELECTOR, "#detail li .price")]
    assert prices == ["150.125", "150.50", "150.25"]
    wait_until(lambda: bool(page.driver.find_elements(By.CSS_SELECTOR, "#detail canvas")))

    wait_until(lambda: "chart=AAPL" in page.driver.current_url)
    page.driver.refresh()
    page.wait_for_text("#detail [data-of=price]", "150.125")


def test_the_keyboard_opens_and_closes_a_chart(page: Page) -> None:
    page.find(row("MSFT")).send_keys(Keys.ENTER)
    page.wait_for_text("#detail h2", "MSFT")
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not page.find("#detail").is_displayed()
    assert page.driver.execute_script("return document.activeElement.dataset.symbol") == "MSFT"


# Order, address


@pytest.mark.soak
def test_sorts_by_a_column_and_says_so(page: Page) -> None:
    publish(page.http, {"AAPL": "9", "MSFT": "1000000", "TSLA": "20"})
    page.wait_for_cell("TSLA", "price", "20")
    page.find("th.price button").click()
    wait_until(lambda: page.symbols()[:1] == ["MSFT"])
    assert page.find("th.price").get_attribute("aria-sort") == "descending"
    page.find("th.symbol button").click()
    page.find("th.symbol button").click()
    wait_until(lambda: page.symbols()[:1] == ["^VIX"])
    assert page.find("th.price").get_attribute("aria-sort") is None

    page.find("th.updated button").click()
    page.find("h1").click()
    publish(page.http, {"NVDA": "150"})
    wait_until(lambda: page.symbols()[:1] == ["NVDA"])


@pytest.mark.soak
def test_a_reload_keeps_what_is_shown_and_a_link_brings_it(page: Page) -> None:
    page.subscribe("MINE EUR/USD")
    page.unsubscribe("MSFT")
    page.find("th.symbol button").click()
    page.choose_rate("5 per second")
    page.fill("#filter", "m")
    wait_until(lambda: "filter=m" in page.driver.current_url)
    wait_until(lambda: "AAPL" not in page.symbols())  # the next frame
    before = page.symbols()
    for again in (page.driver.refresh, lambda: page.driver.get(page.driver.current_url)):
        again()
        page.wait_for_state("live")
        wait_until(lambda: page.symbols() == before)
        assert page.find("#max-rate").get_attribute("value") == "5"
        assert page.find("#filter").get_attribute("value") == "m"
        assert page.find("th.symbol").get_attribute("aria-sort") == "ascending"
    assert "MINE" in before
    assert "MSFT" not in before


def test_a_link_to_symbols_shows_these_with_their_names(page: Page) -> None:
    page.driver.get(f"{page.http}/?symbols=TSLA,AAPL,$OWN&sort=-symbol")
    page.wait_for_state("live")
    wait_until(lambda: page.symbols() == ["TSLA", "AAPL", "$OWN"])
    page.wait_for_cell("TSLA", "name", "Tesla, Inc.")


# Digits


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_no_digit_is_ever_cut(page: Page, size: tuple[int, int]) -> None:
    page.resize(size)
    publish(page.http, {"AAPL": "109.98437500000000", "MSFT": LONGEST, "TSLA": "1"})
    publish(page.http, {"TSLA": "12345678.87654321"})
    page.wait_for_cell("MSFT", "price", LONGEST)
    page.wait_for_cell("TSLA", "price", "12345678.87654321")
    assert page.driver.execute_script(CUT) == []


# What is typed


@pytest.mark.soak
def test_small_letters_are_offered_the_symbol_that_is_known(page: Page) -> None:
    page.unsubscribe("AAPL")
    page.fill("#subscribe-symbols", "aapl")
    page.wait_for_text("#subscribe .suggest", "Apple Inc.")
    selected = "#subscribe [role=option][aria-selected=true]"
    assert page.text(selected).startswith("AAPL")
    page.find("#subscribe-symbols").send_keys(Keys.ENTER)
    wait_until(lambda: page.symbols()[:1] == ["AAPL"])
    assert page.find("#subscribe-symbols").get_attribute("value") == ""

    page.unsubscribe("AAPL")
    page.subscribe("aapl")  # sooner than anything can be offered
    wait_until(lambda: page.symbols()[:1] == ["AAPL"])


def test_instruments_are_found_by_their_names_with_the_keyboard(page: Page) -> None:
    page.fill("#subscribe-symbols", "tesl")
    page.wait_for_text("#subscribe .suggest", "TSLA")
    page.find("#subscribe-symbols").send_keys(Keys.ARROW_DOWN, Keys.ENTER)
    wait_until(lambda: page.find(row("TSLA")).get_attribute("class") == "revealed")
    page.fill("#publish-symbol", "micro")
    page.wait_for_text("#publish .suggest", "MSFT")
    page.find("#publish-symbol").send_keys(Keys.ARROW_DOWN, Keys.ENTER)
    assert page.find("#publish-symbol").get_attribute("value") == "MSFT"


# A page that is busy


@pytest.mark.soak
def test_says_when_the_page_itself_is_behind(page: Page) -> None:
    assert not page.find("#behind").is_displayed()
    page.driver.execute_script("const end = performance.now() + 1_500; while (performance.now() < end);")
    wait_until(lambda: page.find("#behind").is_displayed())
    assert page.text("#behind").startswith("Page behind")
    wait_until(lambda: not page.find("#behind").is_displayed())


# Coming back


@pytest.mark.soak
def test_comes_back_at_once_when_the_gateway_is_back(driver: webdriver.Chrome, start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": UNLUCKY})
    page = Page(driver, gateway.http).open()
    gateway.stop()
    # The third attempt is eight seconds away, and the fourth sixteen.
    wait_until(lambda: page.text("#connection").endswith((" 14 s", " 15 s", " 16 s")))
    gateway.start()
    assert page.text("#connection").startswith(("Reconnecting in", "Live"))
    page.wait_for_state("live", 8.0)
    driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


# The gateway's health cannot be asked for: nothing brings the page back but what the test does.
NO_HEALTH = """
    const ask = window.fetch;
    window.fetch = (url, ...more) => (/health/.test(url) ? Promise.reject() : ask(url, ...more));
"""
EVENTS = ["window.dispatchEvent(new Event('online'))", "document.dispatchEvent(new Event('visibilitychange'))"]


@pytest.mark.soak
@pytest.mark.parametrize("event", EVENTS)
def test_comes_back_at_once_with_the_network_or_the_tab(
    driver: webdriver.Chrome, start_gateway: StartGateway, event: str
) -> None:
    gateway = start_gateway()
    added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": UNLUCKY + NO_HEALTH})
    page = Page(driver, gateway.http).open()
    gateway.stop()
    wait_until(lambda: page.text("#connection").endswith((" 14 s", " 15 s", " 16 s")))
    gateway.start()
    page.driver.execute_script(event)
    page.wait_for_state("live", 4.0)
    driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
