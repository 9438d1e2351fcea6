"""The demo page as somebody in front of it sees and uses it, in a browser that selenium drives."""

from __future__ import annotations

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from tests.servers import wait_until

__all__ = ["Page", "on_every_screen", "row"]

_PHONE, _DESK = (390, 844), (1280, 900)
on_every_screen = pytest.mark.parametrize(
    ("size", "theme"),
    [
        pytest.param(_PHONE, "dark", id="phone-dark"),
        pytest.param(_DESK, "light", id="desk-light"),
        pytest.param(_PHONE, "light", id="phone-light", marks=pytest.mark.soak),
        pytest.param(_DESK, "dark", id="desk-dark", marks=pytest.mark.soak),
    ],
)
"""For a test with a ``size`` and a ``theme``."""

# At once: a row may be another symbol's a moment later.
_SYMBOLS = "return [...document.querySelectorAll('tbody tr')].map((row) => row.dataset.symbol);"


class Page:
    """The demo page at a base URL, and what somebody in front of it sees and does."""

    def __init__(self, driver: webdriver.Chrome, http: str) -> None:
        self.driver = driver
        self.http = http

    def open(self, state: str = "live") -> Page:
        self.driver.get(f"{self.http}/")
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
        """Those of the rows in the document, in their order: rows out of sight are in none."""
        rows: list[str] = self.driver.execute_script(_SYMBOLS)
        return rows

    def cell(self, symbol: str, name: str) -> str:
        return self.text(f"{row(symbol)} [data-cell='{name}']")

    def wait_for_state(self, state: str, timeout: float = 60.0) -> None:
        wait_until(lambda: self.is_in(state), timeout, f"never {state}")

    def is_in(self, state: str) -> bool:
        """Whether that is the state of its connection."""
        return bool(self.driver.find_elements(By.CSS_SELECTOR, f"body[data-connection='{state}']"))

    def wait_for_cell(self, symbol: str, name: str, text: str) -> None:
        wait_until(lambda: self.cell(symbol, name) == text, message=f"{symbol} {name} is {self.cell(symbol, name)!r}")

    def wait_for_text(self, selector: str, text: str) -> None:
        wait_until(lambda: text in self.text(selector), message=f"{selector} is {self.text(selector)!r}")

    def is_stale(self, symbol: str) -> bool:
        """Whether the symbol's price is shown as one that may be old."""
        return bool(self.driver.find_elements(By.CSS_SELECTOR, f"{row(symbol)}[data-stale]"))

    def wait_until_stale(self, symbol: str, stale: bool = True) -> None:
        wait_until(lambda: self.is_stale(symbol) is stale, message=f"{symbol} is {'not ' if stale else ''}stale")

    def figure(self, name: str) -> int:
        """A figure of the bar, 0 while it is hidden."""
        return int(self.text(f"#{name}").replace(",", "") or 0)

    def choose_rate(self, text: str) -> None:
        Select(self.find("#max-rate")).select_by_visible_text(text)

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
