"""The demo page for everybody: what axe finds, the keyboard, a phone, light and dark; and how long it keeps one waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.integration.browser import Page, row
from tests.servers import ROOT, wait_until

AXE: Final = ROOT / "node_modules" / "axe-core" / "axe.min.js"
SIZES: Final = {"wide": (1280, 800), "phone": (390, 844)}
ASK: Final = """
    const done = arguments[arguments.length - 1];
    axe.run({ resultTypes: ["violations"] }).then(({ violations }) => done(violations));
"""


@pytest.fixture(autouse=True)
def as_before(driver: webdriver.Chrome) -> Iterator[None]:
    """The browser prefers no colours afterwards."""
    yield
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.exists():
        pytest.skip("needs node_modules, which `make test` installs")
    return AXE.read_text(encoding="utf-8")


def violations(page: Page, axe: str) -> list[str]:
    page.driver.execute_script(axe)
    found: list[dict[str, Any]] = page.driver.execute_async_script(ASK)
    return [
        f"{one['impact']} {one['id']}: {node['html'][:120]} {node['any'][0]['message'][:120] if node['any'] else ''}"
        for one in found
        for node in one["nodes"]
    ]


LONGEST: Final = f"-{'9' * 32}.{'8' * 32}"
CUT: Final = """
    const shown = [...document.querySelectorAll(arguments[0])].filter((one) => one.getClientRects().length > 0 && one.textContent);
    const range = document.createRange();
    const isCut = (one) => {
      range.selectNodeContents(one);
      const { left, right } = range.getBoundingClientRect();
      for (let box = one; box !== null; box = box.parentElement) {
        const room = box.getBoundingClientRect();
        const hides = getComputedStyle(box).overflowX !== "visible";
        if (hides && (left < room.left - 1 || right > room.right + 1)) return true;
      }
      return false;
    };
    return [shown.length, shown.filter(isCut).map((one) => one.textContent)];
"""


def cut(page: Page, selector: str) -> list[str]:
    """The texts that do not fit into what holds them, of the elements that are shown; there must be some."""
    shown, texts = page.driver.execute_script(CUT, selector)
    assert shown > 0, selector
    found: list[str] = texts
    return found


def is_too_wide(page: Page) -> bool:
    width, room = page.driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    return bool(width > room)


def prefer(page: Page, scheme: str) -> None:
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def publish(http: str, *symbols: str, price: str = "1.5") -> None:
    httpx.post(f"{http}/api/v1/ticks", json=[{"symbol": one, "price": price} for one in symbols]).raise_for_status()


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        ("phone", "dark"),
        ("wide", "light"),
        pytest.param("phone", "light", marks=pytest.mark.soak),
        pytest.param("wide", "dark", marks=pytest.mark.soak),
    ],
)
def test_axe_finds_nothing(page: Page, axe: str, size: str, scheme: str) -> None:
    prefer(page, scheme)
    page.resize(SIZES[size])
    publish(page.http, "AAPL", "MSFT", price="100")
    page.wait_for_cell("MSFT", "price", "100")
    publish(page.http, "AAPL", price="101")
    publish(page.http, "MSFT", price="99")
    page.wait_for_cell("MSFT", "price", "99")
    page.subscribe("A" * 65)
    page.wait_for_text("#subscribe-error", "64")
    assert violations(page, axe) == []
    page.find("#subscribe-symbols").clear()
    page.fill("#subscribe-symbols", "aa")
    page.wait_for_text("#subscribe .suggest", "AAPL")
    assert violations(page, axe) == []
    page.find("#subscribe-symbols").clear()
    page.find(row("AAPL")).send_keys(Keys.ENTER)
    wait_until(lambda: bool(page.driver.find_elements(By.CSS_SELECTOR, "#detail canvas")))
    assert violations(page, axe) == []
    publish(page.http, "AAPL", price=LONGEST)
    page.wait_for_text("#detail li .price", LONGEST)
    assert not is_too_wide(page)
    assert cut(page, "#detail [data-of]:not([data-of=name]), #detail li span") == []
    assert violations(page, axe) == []
    page.find("#detail button").click()
    page.find("a[href='#mistreat']").click()
    for lane in "abc":
        page.wait_for_text(f"[data-lane={lane}] [data-of=price]", LONGEST)
    page.find("[data-do=slow]").click()
    assert page.find("[data-do=slow]").get_attribute("aria-pressed") == "true"
    assert not is_too_wide(page)
    assert cut(page, ".lanes [data-of], .lanes button") == []
    assert violations(page, axe) == []


def test_tab_reaches_every_control_and_shows_where_it_is(page: Page) -> None:
    reached = set()
    for _ in range(30):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        at, outline = page.driver.execute_script(
            "const at = document.activeElement;"
            "return [at.id || at.dataset.symbol || at.textContent.trim().slice(0, 20), getComputedStyle(at).outlineStyle]"
        )
        if at.startswith("MarketMux"):  # the document, behind the last control
            break
        reached.add(at)
        assert outline != "none", at
    assert {"subscribe-symbols", "max-rate", "filter", "Price", "AAPL", "publish-symbol", "Publish"} <= reached


def test_hundreds_of_symbols_and_a_thousand_ticks_a_second_leave_the_page_idle(page: Page) -> None:
    """Scripts took 0.1 s of processor time a second; docs/explanation/performance.md has how long tasks were."""
    symbols = [f"L{number:03}" for number in range(500)]
    publish(page.http, *symbols)
    page.driver.get(f"{page.http}/?symbols={','.join(symbols)}&sort=-updated")
    page.wait_for_state("live")
    wait_until(lambda: page.text("#count") == "500")
    # Of processor time: how long a task takes by the clock is the machine's business too.
    page.driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    before, handled = script_seconds(page), 50
    for number in range(handled):
        at = number * 100 % 500
        publish(page.http, *symbols[at : at + 100], price=f"{number}.25")
        time.sleep(0.1)
    page.wait_for_cell("L400", "price", "49.25")
    assert script_seconds(page) - before < 0.5 * handled * 0.1


def script_seconds(page: Page) -> float:
    metrics = page.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(float(one["value"]) for one in metrics if one["name"] == "ScriptDuration")


# The pages beside it

PATHS: Final = (
    "/api/v1/ticks",
    "/api/v1/docs",
    "/api/v1/docs/websockets",
    "/nothing",
    "/api/auth/login/?next=/api/v1/ticks",
)
# The others are for the most part other packages'.
OURS: Final = ("/api/v1/docs/websockets", "/nothing", "/api/auth/login/?next=/api/v1/ticks")
GROUND: Final = """
    const [r, g, b, a = 1] = [document.documentElement, document.body]
      .map((one) => getComputedStyle(one).backgroundColor.match(/[\\d.]+/g).map(Number))
      .find(([, , , alpha = 1]) => alpha > 0);
    return (r + g + b) / 3;
"""
SMALLEST: Final = "return Math.min(...[...document.querySelectorAll('p, a, h1, label')].map((one) => "
SMALLEST_PX: Final = SMALLEST + "parseFloat(getComputedStyle(one).fontSize)));"


@pytest.mark.parametrize("scheme", ["dark", pytest.param("light", marks=pytest.mark.soak)])
def test_the_other_pages_fit_a_phone_and_are_dark_or_light(page: Page, axe: str, scheme: str) -> None:
    prefer(page, scheme)
    page.resize(SIZES["phone"])
    for path in PATHS:
        page.driver.get(page.http + path)
        if path == "/api/v1/docs":
            wait_until(lambda: bool(page.driver.find_elements(By.CSS_SELECTOR, ".opblock-summary-control")))
            page.driver.execute_script("document.querySelector('.opblock-summary-control').click()")
            wait_until(lambda: bool(page.driver.find_elements(By.CSS_SELECTOR, ".response")))
        assert not is_too_wide(page), path
        assert (page.driver.execute_script(GROUND) < 128) is (scheme == "dark"), path
        assert page.driver.execute_script(SMALLEST_PX) >= 12, path
        if path in OURS:
            assert violations(page, axe) == []
    page.complaints()  # that there is nothing at one of them
