"""The browser of the tests of the demo page: headless Chromium from the system, and the chromedriver beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests.environment import installed
from tests.integration.browser import Page
from tests.servers import GatewayProcess

WIDE = (1280, 800)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def launched(directory: Path) -> webdriver.Chrome:
    """A headless Chromium with its profile in ``directory``."""
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
        f"--user-data-dir={directory}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With both paths given, selenium has nothing to look for and nothing to download.
    return webdriver.Chrome(options, Service(executable_path=installed("chromedriver")))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = launched(tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


@pytest.fixture
def driver(chromium: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """The browser, which afterwards is on no page and remembers none."""
    yield chromium
    chromium.get("about:blank")
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    chromium.get_log("browser")  # type: ignore[no-untyped-call]


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
    page = Page(driver, seeded.http)
    page.resize(WIDE)
    yield page.open()
    assert page.complaints() == []
