"""The demo page's view of three clients of which one is mistreated: it is told what it skips, the others do not notice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.clients import metrics
from tests.integration.browser import Page
from tests.integration.test_demo_page_access import SIZES
from tests.servers import GatewayProcess, wait_until

OTHERS = ("a", "c")
YOURS = "b"
STEPS = ("received", "sequenced", "sent", "arrived")


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[GatewayProcess]:
    """A gateway with prices that tick often enough to fill what a browser reads ahead."""
    arguments = ("--feed", "--feed-rate=600")
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"), database=migrated_database, arguments=arguments)
    process.manage("seed_instruments")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def page(driver: webdriver.Chrome, fed: GatewayProcess) -> Iterator[Page]:
    page = Page(driver, fed.http)
    page.resize(SIZES["wide"])
    page.open()
    page.find("a[href='#mistreat']").click()
    wait_until(lambda: all(figure(page, lane, "received") > 0 for lane in "abc"), 60)
    yield page
    assert page.complaints() == []


def said(page: Page, lane: str, name: str) -> str:
    return page.text(f"[data-lane={lane}] [data-of={name}]")


def figure(page: Page, lane: str, name: str) -> int:
    return int(said(page, lane, name).replace(",", "") or 0)


def press(page: Page, name: str) -> None:
    page.find(f"[data-do={name}]").click()


def balances(page: Page, lane: str) -> bool:
    return said(page, lane, "unaccounted") == "nothing unsaid"


def test_a_client_that_stops_is_told_what_it_skips_and_the_others_do_not_notice(page: Page) -> None:
    press(page, "pause")
    wait_until(lambda: said(page, YOURS, "state").startswith("stopped"))
    wait_until(lambda: seconds_behind(page) > 2)  # what it had read before it stopped is shown by then
    before = {lane: figure(page, lane, "received") for lane in "abc"}
    wait_until(lambda: seconds_behind(page) > 4)
    assert figure(page, YOURS, "received") == before[YOURS]
    for lane in OTHERS:
        assert figure(page, lane, "received") > before[lane]
    wait_until(lambda: figure(page, YOURS, "slow") > 0)
    wait_until(lambda: said(page, YOURS, "behind") == "no")
    assert said(page, YOURS, "receipt") != "none yet"
    assert all(balances(page, lane) for lane in "abc")


def seconds_behind(page: Page) -> float:
    return float(said(page, YOURS, "behind").removesuffix(" s").replace("no", "0"))


@pytest.mark.parametrize("lane", ["a", "b", "c"])
def test_where_time_goes_is_drawn_live(page: Page, lane: str) -> None:
    wait_until(lambda: all(said(page, lane, f"step-{step}") != "–" for step in STEPS))
    before = drawn(page, lane)
    assert before
    wait_until(lambda: drawn(page, lane) != before)


def drawn(page: Page, lane: str) -> str | None:
    return page.find(f"[data-lane={lane}] .way path").get_attribute("d")


@pytest.mark.soak
def test_its_clients_end_with_the_view_even_one_that_is_stopped(page: Page, fed: GatewayProcess) -> None:
    wait_until(lambda: metrics(fed)["connections"] == 4)  # the page's own, and three
    press(page, "pause")
    wait_until(lambda: said(page, YOURS, "state").startswith("stopped"))
    page.find("#mistreat header a").click()
    wait_until(lambda: metrics(fed)["connections"] == 1)
    assert page.text("#connection") == "Live"
    page.driver.back()
    wait_until(lambda: metrics(fed)["connections"] == 4)
    wait_until(lambda: all(figure(page, lane, "received") > 0 for lane in "abc"), 60)
    assert said(page, YOURS, "state") == "live"


@pytest.mark.soak
def test_a_client_that_is_cut_off_gets_what_it_missed(page: Page) -> None:
    press(page, "cut")
    wait_until(lambda: said(page, YOURS, "state") == "cut off")
    before = figure(page, OTHERS[0], "received")
    wait_until(lambda: said(page, YOURS, "state") == "live")
    wait_until(lambda: figure(page, YOURS, "recovered") + figure(page, YOURS, "missed") > 0)
    assert figure(page, YOURS, "recovered") > 0
    assert figure(page, OTHERS[0], "received") > before
    wait_until(lambda: all(balances(page, lane) for lane in "abc"))


@pytest.mark.soak
def test_a_client_that_asks_for_less_has_receipts_for_the_rest(page: Page) -> None:
    press(page, "cap")
    wait_until(lambda: figure(page, YOURS, "capped") > 1_000)
    assert all(figure(page, lane, "capped") == 0 for lane in OTHERS)
    assert balances(page, YOURS)


@pytest.mark.soak
def test_a_client_that_is_slow_falls_behind_and_catches_up(page: Page) -> None:
    press(page, "slow")
    wait_until(lambda: said(page, YOURS, "behind") != "no")
    before = figure(page, YOURS, "received")
    wait_until(lambda: figure(page, YOURS, "received") > before)
    press(page, "slow")
    wait_until(lambda: said(page, YOURS, "behind") == "no", 60)
    assert balances(page, YOURS)
