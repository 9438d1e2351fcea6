"""What the demo page says of what happens to its client, in a real browser, with a gateway that is scripted.

What the client makes of the gateway's messages, clients/conformance and clients/javascript/tests hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver

from tests.integration.browser import Page
from tests.integration.scripted import Conversation, ScriptedGateway, scripted_gateway
from tests.servers import wait_until

RECONNECT_TIMEOUT = 45.0
EPOCH = "5f3a9c1e"
OTHER_EPOCH = "77aa00ff"

# Every state of the connection that is shown, however short.
STATES = """
    window.states = [];
    const note = () => window.states.push(document.body.dataset.connection);
    new MutationObserver(note).observe(document.body, { attributes: true });
"""


def tick(seq: int, symbol: str = "AAPL") -> dict[str, Any]:
    timestamp = "2026-05-12T15:04:05Z"
    return {"type": "tick", "symbol": symbol, "price": seq + 0.25, "timestamp": timestamp, "seq": seq}


def snapshot(seq: int, symbol: str = "AAPL", epoch: str = EPOCH) -> dict[str, Any]:
    return tick(seq, symbol) | {"type": "snapshot", "epoch": epoch}


def gap(missed: int | None, seq: int, epoch: str = EPOCH) -> dict[str, Any]:
    return {"type": "gap", "symbol": "AAPL", "missed": missed, "seq": seq, "epoch": epoch}


def skipped(reason: str, **counts: int) -> dict[str, Any]:
    return {"type": "conflated", "reason": reason, "skipped": counts}


def place(seq: int, epoch: str = EPOCH, recovered: bool | None = None) -> dict[str, Any]:
    return {"seq": seq, "epoch": epoch} | ({} if recovered is None else {"recovered": recovered})


def heartbeat(seq: int) -> dict[str, Any]:
    return {"type": "heartbeat", "seqs": {"AAPL": seq}}


@pytest.fixture(scope="module")
def scripted(chromium: webdriver.Chrome) -> Iterator[ScriptedGateway]:
    """One server for all; it asks for the browser first, since without one there is nothing to serve."""
    with scripted_gateway() as server:
        yield server


@pytest.fixture
def page(driver: webdriver.Chrome, scripted: ScriptedGateway) -> Page:
    """The page, just opened; its gateway has not said a word yet."""
    return Page(driver, scripted.http).open("connecting")


@pytest.fixture
def talk(page: Page, scripted: ScriptedGateway) -> Conversation:
    """The page's first connection: it is subscribed to AAPL, at 5.50, and MSFT, which has not ticked."""
    conversation = scripted.conversation()
    conversation.welcome()
    conversation.subscribed(conversation.command(), AAPL=place(5), MSFT=place(0))
    conversation.send(snapshot(5))
    page.wait_for_cell("AAPL", "price", "5.25")
    return conversation


def test_the_snapshot_fills_the_row_before_any_tick(page: Page, talk: Conversation) -> None:
    assert page.cell("AAPL", "price") == "5.25"
    assert page.cell("MSFT", "price") == "\u2013"
    assert not page.is_stale("AAPL")
    assert page.text("#connection") == "Live"


def test_a_gap_is_told_and_counted(page: Page, talk: Conversation) -> None:
    talk.send(gap(8, 13))
    page.wait_for_text("#notices", "8 ticks lost (AAPL 8)")
    page.wait_until_stale("AAPL")
    talk.send(snapshot(14), tick(17))
    page.wait_for_text("#notices", "2 ticks lost (AAPL 2)")
    page.wait_until_stale("AAPL", False)
    assert page.figure("gaps") == 2


def test_says_what_was_skipped_and_why(page: Page, talk: Conversation) -> None:
    slow = skipped("slow", AAPL=1200, MSFT=34)
    talk.send(slow, tick(1206), tick(35, "MSFT"), slow, tick(2407), tick(70, "MSFT"))
    talk.send(skipped("rate", AAPL=50), tick(2458))
    wait_until(lambda: page.figure("skipped-slow") == 2_468 and page.figure("skipped-rate") == 50)
    page.wait_for_text("#notices", "2,468 ticks skipped (AAPL 2,400, MSFT 68)")
    assert page.figure("gaps") == 0


def test_what_a_heartbeat_shows_to_be_missing_is_asked_for(page: Page, talk: Conversation) -> None:
    talk.send(heartbeat(5), heartbeat(7))
    command = talk.command()
    assert command["symbols"] == ["AAPL"]
    assert command["since"] == {"AAPL": place(5)}
    talk.subscribed(command, AAPL=place(7, recovered=True))
    talk.send(tick(6), tick(7))
    page.wait_for_cell("AAPL", "price", "7.25")
    page.wait_for_text("#notices", "asked again: AAPL")
    assert page.figure("gaps") == 0


def test_an_asterisk_brings_rows_as_they_tick(page: Page, talk: Conversation) -> None:
    page.subscribe("*")
    command = talk.command()
    assert command["symbols"] == ["*"]
    talk.subscribed(command, AAPL=place(5), MSFT=place(0), TSLA=place(3))
    talk.send(snapshot(5), snapshot(3, "TSLA"), snapshot(1, "NEW"), tick(2, "NEW"))
    page.wait_for_cell("TSLA", "price", "3.25")
    page.wait_for_cell("NEW", "price", "2.25")
    assert page.text("#everything").startswith("All symbols")


def test_resumes_where_it_stopped(page: Page, talk: Conversation, scripted: ScriptedGateway) -> None:
    talk.send({"type": "closing", "code": 1012, "reason": "service restart", "reconnect": True, "wait": 0})
    talk.close(1012, "service restart")
    page.wait_for_text("#notices", "1012 service restart")
    page.wait_until_stale("AAPL")

    again = scripted.conversation()
    again.welcome()
    command = again.command()
    assert command["since"] == {"AAPL": place(5), "MSFT": place(0)}
    page.wait_for_state("live")
    assert page.is_stale("AAPL")
    again.subscribed(command, AAPL=place(7, recovered=True), MSFT=place(4, recovered=False))
    again.send(tick(6), tick(7), snapshot(4, "MSFT"))
    page.wait_for_cell("AAPL", "price", "7.25")
    page.wait_for_text("#notices", "nothing lost of 1 symbol, 2 ticks came late")
    page.wait_for_text("#notices", "1 symbol started over")
    page.wait_for_text("#notices", "3 ticks lost (MSFT 3)")
    page.wait_until_stale("AAPL", False)


def test_prices_are_stale_while_the_bus_is_away(page: Page, talk: Conversation) -> None:
    talk.send({"type": "bus", "connected": False})
    page.wait_for_state("stale")
    page.wait_until_stale("AAPL")
    assert page.text("#connection") == "Stale: bus away"
    page.wait_for_text("#notices", "lost the bus")

    talk.send(gap(None, 0, OTHER_EPOCH), {"type": "bus", "connected": True})
    page.wait_for_state("live")
    page.wait_for_text("#notices", "1 symbol may have lost ticks, how many is unknown (AAPL)")
    assert page.is_stale("AAPL")
    talk.send(tick(1))
    page.wait_for_cell("AAPL", "price", "1.25")
    page.wait_until_stale("AAPL", False)


def test_why_a_subscription_waits_is_in_the_status(page: Page, talk: Conversation) -> None:
    page.subscribe("TSLA")
    for reason in ("bus_out_of_memory", None):
        command = talk.command()
        refusal = {"type": "error", "code": "bus_unavailable", "message": "No.", "id": command["id"]}
        talk.send(refusal | ({"reason": reason} if reason else {}))
        page.wait_for_text("#connection", f"Waiting: {'bus out of memory' if reason else 'bus unavailable'}")
    talk.subscribed(talk.command(), TSLA=place(0))
    page.wait_for_state("live")


def test_a_gateway_that_missed_its_heartbeats_is_silent_and_then_given_up(
    page: Page, talk: Conversation, scripted: ScriptedGateway
) -> None:
    talk.close(1011)
    again = scripted.conversation()
    page.driver.execute_script(STATES)
    again.welcome(heartbeat=0.3)
    page.wait_for_text("#notices", "nothing came for")
    assert "silent" in page.driver.execute_script("return window.states")
    scripted.conversation().welcome()
    page.wait_for_state("live", RECONNECT_TIMEOUT)


def test_does_not_come_back_where_there_is_no_point(page: Page, talk: Conversation, scripted: ScriptedGateway) -> None:
    talk.send({"type": "closing", "code": 1009, "reason": "too big", "reconnect": False, "wait": 0})
    talk.close(1009, "no way")
    page.wait_for_state("closed")
    page.wait_for_text("#notices", "Disconnected for good")
    page.wait_until_stale("AAPL")
    page.driver.execute_script("window.dispatchEvent(new Event('online'))")
    assert page.text("#connection") == "Disconnected"
    assert not scripted.is_called

    page.find("#retry").click()
    scripted.conversation().welcome()
    page.wait_for_state("live")


def test_waits_as_long_as_it_was_told(page: Page, talk: Conversation, scripted: ScriptedGateway) -> None:
    talk.send({"type": "closing", "code": 1008, "reason": "Too many commands.", "reconnect": True, "wait": 3600})
    talk.close(1008)
    page.wait_for_state("reconnecting")
    page.find("#retry").click()
    page.driver.execute_script("window.dispatchEvent(new Event('online'))")
    said = re.fullmatch(r"Reconnecting in (\d+) s", page.text("#connection"))
    assert said is not None
    assert int(said[1]) > 3_000
    assert not scripted.is_called


def test_a_burst_of_thousands_costs_little(page: Page, talk: Conversation) -> None:
    talk.send(*(tick(seq) for seq in range(6, 5_006)))
    page.wait_for_cell("AAPL", "price", "5005.25")
    assert page.figure("gaps") == 0
