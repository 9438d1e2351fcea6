"""docs/walk.md, done from a clone on: a client that is slow is seen, found, put out, comes back, and a worker is profiled."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.documents import blocks
from tests.integration.browser import Page
from tests.integration.newcomer import Newcomer
from tests.servers import wait_until

USER, PASSWORD = "walker", "of the walk"
ANSWERS = {"Username": USER, "Email": "", "Password:": PASSWORD, "Password (again)": PASSWORD}
BEHIND = re.compile(r'^marketmux_behind\{worker="0"\} (\d)', re.MULTILINE)


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    with Newcomer(tmp_path, redis_url="") as newcomer:
        yield newcomer


@pytest.mark.soak
def test_the_walk(newcomer: Newcomer, driver: webdriver.Chrome) -> None:
    clone, start, watch, figures, login = (block.text for block in blocks("docs/walk.md") if block.language == "sh")
    newcomer.clone(clone)
    newcomer.run(start)
    page = Page(driver, newcomer.http).open()
    wait_until(lambda: page.cell("AAPL", "price") != "", 60, "no prices")
    mistreats(page)

    newcomer.run(watch)
    newcomer.signal(watch, signal.SIGSTOP)  # Ctrl-Z

    def behind() -> str:
        newcomer.run(figures)
        found = BEHIND.search(newcomer.output())
        assert found is not None
        return found[1]

    wait_until(lambda: behind() == "1", 120, "nobody is behind")
    newcomer.run(login, ANSWERS)
    log_in(driver, newcomer.http)
    connection = slowest(driver)
    kick(driver, connection)
    wait_until(lambda: behind() == "0", 60)
    driver.get(f"{newcomer.http}/admin/marketmux_ticks/auditentry/")
    assert "kicked" in driver.find_element(By.ID, "result_list").text
    newcomer.signal(watch, signal.SIGCONT)  # fg
    wait_until(lambda: newcomer.output().count("Connected(") == 2, 60)
    profiles(driver, newcomer.http)


def mistreats(page: Page) -> None:
    """Caps the client in the middle: it has receipts for what it does not get, and the others get everything."""
    page.find("a[href='#mistreat']").click()

    def figure(lane: str, name: str) -> int:
        return int(page.text(f"[data-lane={lane}] [data-of={name}]").replace(",", "") or 0)

    wait_until(lambda: all(figure(lane, "received") > 0 for lane in "abc"), 60)
    page.find("[data-do=cap]").click()
    wait_until(lambda: figure("b", "capped") > 0, 60)
    assert [figure(lane, "capped") for lane in "ac"] == [0, 0]


def log_in(driver: webdriver.Chrome, http: str) -> None:
    driver.get(f"{http}/admin/")
    driver.find_element(By.NAME, "username").send_keys(USER)
    driver.find_element(By.NAME, "password").send_keys(PASSWORD)
    submit(driver, "[type=submit]")


def submit(driver: webdriver.Chrome, selector: str) -> None:
    """Clicks, and waits for the page that comes of it."""
    body = driver.find_element(By.TAG_NAME, "body")
    driver.find_element(By.CSS_SELECTOR, selector).click()
    wait_until(lambda: body.id != driver.find_element(By.TAG_NAME, "body").id)


def slowest(driver: webdriver.Chrome) -> WebElement:
    """The client that the admin's front page names among the slowest, by way of its link: the box to choose it by."""
    link = (By.XPATH, "//h3[.='Slowest clients']/following-sibling::table//a")

    def is_named() -> bool:
        driver.refresh()
        return len(driver.find_elements(*link)) == 1

    wait_until(is_named, 60, "the front page does not name it")
    driver.get(str(driver.find_element(*link).get_attribute("href")))
    return driver.find_element(By.XPATH, "//tr[td='behind']//input[@name='id']")


def kick(driver: webdriver.Chrome, connection: WebElement) -> None:
    identity = str(connection.get_attribute("value"))
    connection.click()
    submit(driver, "button[value=kick]")

    def is_gone() -> bool:
        driver.get(driver.current_url)
        return f'value="{identity}"' not in driver.page_source

    wait_until(is_gone, 60, "it is on the list after the kick")


def profiles(driver: webdriver.Chrome, http: str) -> None:
    """Takes the profile of five seconds, until there is a flame graph of what ran."""
    driver.get(f"{http}/debug/")
    submit(driver, "button[value=profile]")
    wait_until(lambda: bool(driver.find_elements(By.CSS_SELECTOR, ".debug-flame title")), 60, "no flame graph")
    titles = [one.get_attribute("textContent") for one in driver.find_elements(By.CSS_SELECTOR, ".debug-flame title")]
    assert any("select" in str(title) for title in titles), titles
