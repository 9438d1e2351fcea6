"""What the demo page does for what it shows, by counts; and, as soaks, how long its tasks are and what it keeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
import pytest

from tests.integration.browser import Page
from tests.integration.tracing import Tasks, quantile, traced
from tests.servers import wait_until

SYMBOLS: Final = [f"L{number:03}" for number in range(500)]
BATCH: Final = 50
TICKS_PER_SECOND: Final = 1_000
TRACED_SECONDS: Final = 12
HEAP_MINUTES: Final = 10
CHARTS: Final = 4
"""How many charts may be drawn in one frame."""

# What changes in the table's rows, frame by frame.
WATCH: Final = """
    window.frames = [];
    const rows = document.querySelector("#table tbody");
    const counted = (records) => {
      const of = (test) => records.filter(test).length;
      window.frames.push({
        nodes: of(({ type }) => type === "childList"),
        places: of(({ attributeName, target }) => attributeName === "style" && target !== rows),
        charts: of(({ attributeName, target }) => attributeName === "d" && target.classList.contains("line")),
        texts: of(({ type }) => type === "characterData"),
      });
    };
    new MutationObserver(counted).observe(
      rows, { subtree: true, childList: true, characterData: true, attributes: true }
    );
"""


def ticks(number: int, symbols: list[str]) -> list[dict[str, str]]:
    prices = [f"{100 + (7 * number + index) % 50}.{number % 100:02}" for index, _ in enumerate(symbols)]
    return [
        {"symbol": symbol, "price": price, "bid": "99.5", "ask": "150.5"}
        for symbol, price in zip(symbols, prices, strict=True)
    ]


def publish(http: str, number: int, symbols: list[str] = SYMBOLS) -> None:
    httpx.post(f"{http}/api/v1/ticks", json=ticks(number, symbols), timeout=30).raise_for_status()


def opened(page: Page, query: str = "") -> Page:
    """The page with all symbols, each of which has ticked."""
    publish(page.http, 0)
    page.driver.get(f"{page.http}/?symbols={','.join(SYMBOLS)}{query}")
    page.wait_for_state("live")
    wait_until(lambda: page.text("#count") == "500")
    wait_until(lambda: page.cell(page.symbols()[0], "price") not in {"", "\u2013"})
    return page


@contextmanager
def market(http: str) -> Iterator[None]:
    """Ticks of all symbols in turn, a batch of some at a time, while the block runs."""
    ended = threading.Event()

    def run() -> None:
        began = time.monotonic()
        number = 0
        with httpx.Client() as client:
            while not ended.wait(max(0.0, began + number * BATCH / TICKS_PER_SECOND - time.monotonic())):
                at = number * BATCH % len(SYMBOLS)
                body = ticks(number, SYMBOLS[at : at + BATCH])
                client.post(f"{http}/api/v1/ticks", json=body, timeout=30).raise_for_status()
                number += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def frames(page: Page) -> list[dict[str, int]]:
    found: list[dict[str, int]] = page.driver.execute_script("return window.frames")
    return found


def test_a_tick_changes_characters_and_no_nodes(page: Page) -> None:
    opened(page)
    page.driver.execute_script(WATCH)
    for number in range(1, 6):
        publish(page.http, number)
        page.wait_for_cell("L000", "price", f"{100 + 7 * number % 50}.{number:02}")
    wait_until(lambda: sum(frame["charts"] for frame in frames(page)) > CHARTS)
    assert sum(frame["texts"] for frame in frames(page)) > 0
    assert sum(frame["nodes"] for frame in frames(page)) == 0
    assert max(frame["charts"] for frame in frames(page)) <= CHARTS


@pytest.mark.soak
def test_rows_stay_where_they_are_when_the_order_changes(page: Page) -> None:
    opened(page, "&sort=-updated")
    page.find("h1").click()  # no row is in use
    publish(page.http, 1, SYMBOLS[450:])
    wait_until(lambda: page.symbols()[0] == SYMBOLS[450])
    page.driver.execute_script(WATCH)
    for number in range(2, 5):
        publish(page.http, number, SYMBOLS[100 * number : 100 * number + 40])
        first = set(SYMBOLS[100 * number : 100 * number + 40])
        wait_until(lambda first=first: set(page.symbols()[:20]) <= first)  # type: ignore[misc]
    found = frames(page)
    assert sum(frame["nodes"] for frame in found) == 0
    assert sum(frame["places"] for frame in found) == 0


def test_a_focused_row_keeps_its_symbol_when_the_order_changes(page: Page) -> None:
    wait_until(lambda: "MSFT" in page.symbols())
    page.driver.execute_script("document.querySelector(\"tr[data-symbol='MSFT']\").focus()")
    for _ in range(2):  # ascending, descending; a script's click leaves the focus where it is
        page.driver.execute_script("document.querySelector('th.symbol button').click()")
    wait_until(lambda: page.symbols()[0] == "^VIX")
    assert page.driver.execute_script("return document.activeElement.dataset.symbol") == "MSFT"


# Soaks


@pytest.mark.soak
@pytest.mark.parametrize(
    "query", ["", "&sort=-updated", "&chart=L000"], ids=["as subscribed", "by time", "with a chart"]
)
def test_tasks_are_short(page: Page, query: str) -> None:
    opened(page, query)
    page.find("h1").click()
    with market(page.http):
        time.sleep(3)
        with traced(page.driver) as found:
            time.sleep(TRACED_SECONDS)
    tasks: Tasks = found[0]
    print(f"\n{query or 'as subscribed'}: {tasks}")  # noqa: T201
    assert quantile(tasks.lengths, 0.99) < 0.05, str(tasks)


@pytest.mark.soak
def test_the_heap_is_flat(page: Page) -> None:
    opened(page)
    page.driver.execute_cdp_cmd("HeapProfiler.enable", {})
    with market(page.http):
        sizes = []
        for _ in range(HEAP_MINUTES + 1):
            time.sleep(60)
            sizes.append(heap_megabytes(page))
            print(f"{sizes[-1]:.2f} MB", end=" ", flush=True)  # noqa: T201
    assert max(sizes[1:]) < sizes[0] + 0.3, sizes


def heap_megabytes(page: Page) -> float:
    """What is in use behind a collection, with the memory of typed arrays."""
    page.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    usage = page.driver.execute_cdp_cmd("Runtime.getHeapUsage", {})
    return float(usage["usedSize"] + usage.get("backingStorageSize", 0)) / 1e6
