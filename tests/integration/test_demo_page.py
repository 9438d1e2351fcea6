"""The demo page in a real browser, on a real gateway; test_demo_client.py has what takes a gateway that misbehaves."""

from __future__ import annotations

import contextlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from websockets import InvalidStatus
from websockets.sync.client import connect

from tests.clients import RawClient
from tests.conftest import StartGateway
from tests.integration.browser import Page, row
from tests.integration.conftest import WIDE
from tests.servers import RedisServer, wait_until

RECONNECT_TIMEOUT = 45.0
BUS_TIMEOUT = 30.0
NARROW = (420, 800)


def publish(http: str, *ticks: dict[str, Any]) -> None:
    """Publishes ticks whose prices are strings, so that their digits are the ones that are sent."""
    httpx.post(f"{http}/api/v1/ticks", json=list(ticks)).raise_for_status()


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
    publish(page.http, {"symbol": "MOVES", "price": "200.00", "bid": "199.99", "ask": "200.01"})
    page.wait_for_cell("MOVES", "price", "200.00")
    publish(page.http, {"symbol": "MOVES", "price": "201.00", "bid": "200.99", "ask": "201.01"})
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
    publish(page.http, {"symbol": "FALLS", "price": "1.25"})
    page.wait_for_cell("FALLS", "price", "1.25")
    publish(page.http, {"symbol": "FALLS", "price": "-0.75"})
    page.wait_for_cell("FALLS", "price", "-0.75")
    assert page.cell("FALLS", "change") == "\u22122.00"
    assert page.cell("FALLS", "percent") == "\u2212160.00%"


@pytest.mark.parametrize("price", ["150.250", "0.10", "100", "-3.50", "9007199254740993.000000001000"])
def test_digits_are_kept(page: Page, price: str) -> None:
    publish(page.http, {"symbol": "AAPL", "price": price})
    page.wait_for_cell("AAPL", "price", price)


def test_a_symbol_that_ticked_before_has_its_price_at_once(page: Page) -> None:
    publish(page.http, {"symbol": "QUIET", "price": "7.70"})
    page.subscribe("QUIET")
    page.wait_for_cell("QUIET", "price", "7.70")


def test_after_a_burst_the_newest_price_stands(page: Page) -> None:
    publish(page.http, *({"symbol": "TSLA", "price": f"{number}.10"} for number in range(1_000)))
    page.wait_for_cell("TSLA", "price", "999.10")


def test_narrow_screens_show_everything_without_scrolling_sideways(page: Page) -> None:
    publish(page.http, {"symbol": "AAPL", "price": "150.250"})
    page.resize(NARROW)
    page.wait_for_cell("AAPL", "price", "150.250")
    width, room = page.driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width <= room


def test_everything_comes_from_the_gateway(page: Page) -> None:
    script = "return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)"
    assert set(page.driver.execute_script(script)) == {page.http}


# Subscribing


def test_subscribes_to_any_symbol(page: Page) -> None:
    page.subscribe("$X:Y+Z#_-1 OTHER")
    assert page.symbols()[:2] == ["OTHER", "$X:Y+Z#_-1"]
    publish(page.http, {"symbol": "$X:Y+Z#_-1", "price": "1.0"}, {"symbol": "OTHER", "price": "2.0"})
    page.wait_for_cell("$X:Y+Z#_-1", "price", "1.0")
    page.wait_for_cell("OTHER", "price", "2.0")


def test_a_symbol_with_spaces_is_typed_in_quotes_or_as_it_is(page: Page) -> None:
    page.subscribe('"GOOGL 251219P00150000" SPY   251219C00650000 \u8d35\u5dde\u8305\u53f0')
    publish(
        page.http,
        {"symbol": "GOOGL 251219P00150000", "price": "1.0"},
        {"symbol": "SPY   251219C00650000", "price": "2.0"},
        {"symbol": "\u8d35\u5dde\u8305\u53f0", "price": "3.0"},
    )
    page.wait_for_cell("GOOGL 251219P00150000", "price", "1.0")
    page.wait_for_cell("SPY   251219C00650000", "price", "2.0")
    page.wait_for_cell("\u8d35\u5dde\u8305\u53f0", "price", "3.0")


def test_refuses_what_is_no_symbol(page: Page) -> None:
    before = page.symbols()
    page.subscribe("A\u200bB")
    page.wait_for_text("#subscribe-error", "is no symbol")
    assert page.symbols() == before


def test_an_asterisk_subscribes_to_whatever_ticks_then_or_later(page: Page) -> None:
    page.resize((WIDE[0], 10_000))  # other tests' symbols are there too, and none may be out of sight
    publish(page.http, {"symbol": "EARLY", "price": "1.5"})
    page.subscribe("*")
    page.wait_for_cell("EARLY", "price", "1.5")
    publish(page.http, {"symbol": "LATER", "price": "2.5"}, {"symbol": "AAPL", "price": "3.5"})
    page.wait_for_cell("LATER", "price", "2.5")
    page.wait_for_cell("AAPL", "price", "3.5")

    page.unsubscribe("EARLY")
    publish(page.http, {"symbol": "EARLY", "price": "1.6"}, {"symbol": "LATER", "price": "2.6"})
    page.wait_for_cell("LATER", "price", "2.6")
    assert "EARLY" not in page.symbols()

    page.find("#everything button").click()
    assert not page.find("#everything").is_displayed()
    assert "LATER" not in page.symbols()
    publish(page.http, {"symbol": "LATER", "price": "2.7"}, {"symbol": "AAPL", "price": "3.7"})
    page.wait_for_cell("AAPL", "price", "3.7")
    assert "LATER" not in page.symbols()
    assert page.figure("gaps") == 0, page.text("#notices")


def test_a_rate_leaves_out_ticks_and_says_how_many(page: Page) -> None:
    page.subscribe("RATED")
    publish(page.http, {"symbol": "RATED", "price": "0.5"})
    page.wait_for_cell("RATED", "price", "0.5")
    page.choose_rate("1 per second")
    for number in range(1, 51):
        publish(page.http, {"symbol": "RATED", "price": f"{number}.5"})
    page.wait_for_cell("RATED", "price", "50.5")
    wait_until(lambda: page.figure("skipped-rate") > 0)
    assert page.figure("gaps") == 0
    assert page.figure("skipped-slow") == 0

    page.choose_rate("as they come")
    publish(page.http, {"symbol": "RATED", "price": "51.5"})
    page.wait_for_cell("RATED", "price", "51.5")
    assert page.figure("gaps") == 0


def test_unsubscribes(page: Page) -> None:
    page.unsubscribe("MSFT")
    wait_until(lambda: "MSFT" not in page.symbols())
    publish(page.http, {"symbol": "MSFT", "price": "1.0"}, {"symbol": "AAPL", "price": "4.321"})
    page.wait_for_cell("AAPL", "price", "4.321")
    assert "MSFT" not in page.symbols()


def test_the_filter_finds_symbols_and_names(page: Page) -> None:
    page.fill("#filter", "apple")
    assert page.symbols() == ["AAPL"]
    page.fill("#filter", "nothing like it")
    page.wait_for_text("#no-rows", "No symbol matches")


@pytest.mark.soak
def test_an_error_of_the_server_is_shown_and_its_row_goes(
    driver: webdriver.Chrome, start_gateway: StartGateway
) -> None:
    page = Page(driver, start_gateway(MARKETMUX_MAX_SYMBOLS="2").http)
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


@pytest.mark.soak
def test_comes_back_after_the_gateway_was_away(driver: webdriver.Chrome, start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    gateway.manage("seed_instruments")
    page = Page(driver, gateway.http).open()
    page.subscribe("MINE")
    page.unsubscribe("MSFT")
    publish(gateway.http, {"symbol": "AAPL", "price": "1.10"})
    page.wait_for_cell("AAPL", "price", "1.10")

    gateway.stop()
    page.wait_for_state("reconnecting")
    page.wait_for_text("#connection", "Reconnecting in")
    page.wait_for_text("#notices", "Connection lost")
    gateway.start()
    page.wait_for_state("live", RECONNECT_TIMEOUT)

    publish(gateway.http, {"symbol": "AAPL", "price": "1.20"}, {"symbol": "MINE", "price": "2.50"})
    page.wait_for_cell("AAPL", "price", "1.20")
    page.wait_for_cell("MINE", "price", "2.50")
    assert page.cell("AAPL", "change") == "+0.10"
    assert "MSFT" not in page.symbols()


def test_after_a_restart_of_the_gateway_nothing_is_missing(
    driver: webdriver.Chrome, start_gateway: StartGateway, redis_url: str
) -> None:
    gateway, other = start_gateway(redis_url), start_gateway(redis_url)
    page = Page(driver, gateway.http).open()
    page.subscribe("AAPL QUIET")
    publish(other.http, {"symbol": "AAPL", "price": "1.10"}, {"symbol": "QUIET", "price": "7.70"})
    page.wait_for_cell("AAPL", "price", "1.10")
    page.wait_for_cell("QUIET", "price", "7.70")

    gateway.stop()
    page.wait_for_state("reconnecting")
    page.wait_until_stale("AAPL")
    publish(other.http, *({"symbol": "AAPL", "price": f"{number}.20"} for number in range(2, 7)))
    gateway.start()
    page.wait_for_state("live", RECONNECT_TIMEOUT)

    page.wait_for_cell("AAPL", "price", "6.20")
    page.wait_for_text("#notices", "Resumed: nothing lost of 2 symbols, 5 ticks came late.")
    page.wait_until_stale("AAPL", False)
    page.wait_until_stale("QUIET", False)
    assert page.figure("gaps") == 0


def test_prices_are_stale_while_redis_does_not_answer(
    driver: webdriver.Chrome, start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    gateway = start_gateway(redis_server.url)
    page = Page(driver, gateway.http).open()
    page.subscribe("AAPL")
    publish(gateway.http, {"symbol": "AAPL", "price": "1.10"})
    page.wait_for_cell("AAPL", "price", "1.10")
    assert not page.is_stale("AAPL")

    redis_server.pause()
    page.wait_for_state("stale", BUS_TIMEOUT)
    page.wait_until_stale("AAPL")
    assert page.text("#connection") == "Stale: bus away"
    assert page.cell("AAPL", "updated").endswith("stale")
    redis_server.resume()
    page.wait_for_state("live", BUS_TIMEOUT)
    page.wait_until_stale("AAPL", False)

    publish(gateway.http, {"symbol": "AAPL", "price": "1.20"})
    page.wait_for_cell("AAPL", "price", "1.20")


@pytest.mark.soak
def test_says_what_may_be_lost_when_redis_has_lost_its_memory(
    driver: webdriver.Chrome, start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    gateway = start_gateway(redis_server.url)
    page = Page(driver, gateway.http).open()
    page.subscribe("AAPL")
    publish(gateway.http, {"symbol": "AAPL", "price": "1.10"})
    page.wait_for_cell("AAPL", "price", "1.10")

    redis_server.kill()
    page.wait_for_state("stale", BUS_TIMEOUT)
    redis_server.start()
    page.wait_for_state("live", BUS_TIMEOUT)
    page.wait_for_text("#notices", "1 symbol may have lost ticks, how many is unknown (AAPL)")
    assert page.figure("gaps") == 1
    assert page.is_stale("AAPL")

    publish(gateway.http, {"symbol": "AAPL", "price": "1.20"})
    page.wait_for_cell("AAPL", "price", "1.20")
    page.wait_until_stale("AAPL", False)


@pytest.mark.soak
def test_retries_at_once_when_asked_to(driver: webdriver.Chrome, start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    page = Page(driver, gateway.http).open()
    gateway.stop()
    page.wait_for_state("reconnecting")
    gateway.start()
    page.driver.execute_script("document.getElementById('retry').click()")
    page.wait_for_state("live", RECONNECT_TIMEOUT)


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
    page = Page(driver, gateway.http).open("refused")
    assert "Refused" in page.text("#connection")

    page.find("#sign-in").click()
    page.fill("#id_username", "ali")
    page.fill("#id_password", "sesame", Keys.ENTER)
    page.wait_for_state("live")
    assert not page.find("#sign-in").is_displayed()


@pytest.mark.soak
def test_a_page_too_many_is_told_why_and_comes_back(driver: webdriver.Chrome, start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_MAX_CONNECTIONS="1")
    with RawClient(gateway):
        page = Page(driver, gateway.http).open("refused")
        page.wait_for_text("#notices", "Too many connections of the same key, login or address. (4029)")
        assert "next try in" in page.text("#connection")
    page.wait_for_state("live", RECONNECT_TIMEOUT)


@pytest.mark.soak
def test_a_refusal_without_a_word_is_explained(driver: webdriver.Chrome, start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_MAX_HANDSHAKES_PER_SECOND="1")
    flood = threading.Event()

    def knock() -> None:
        while not flood.wait(0.02):
            with contextlib.suppress(InvalidStatus), connect(gateway.ws):
                pass

    with ThreadPoolExecutor() as pool:
        knocking = pool.submit(knock)
        try:
            page = Page(driver, gateway.http)
            driver.get(gateway.http)

            def turned_away() -> bool:
                if page.is_in("live"):  # it was luckier than the flood
                    driver.refresh()
                return page.is_in("refused")

            wait_until(turned_away)
            page.wait_for_text("#notices", "or too many connections come from here")
        finally:
            flood.set()
            knocking.result()


def test_publishing_with_a_key(driver: webdriver.Chrome, start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_ANONYMOUS="0")
    key = gateway.manage("create_key", "page").split()[-1]
    page = Page(driver, gateway.http).open("refused")

    page.publish(symbol="AAPL", price="1.0", key="wrong")
    page.wait_for_text("#publish output", "unknown, revoked or expired")
    page.publish(symbol="AAPL", price="1.0", key=key)
    page.wait_for_text("#publish output", "Accepted: AAPL at 1.0")
