"""The demo page's client of the protocol, in a real browser: its modules, and the page with a gateway that is scripted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from selenium import webdriver

from tests.integration.browser import Page
from tests.integration.scripted import Conversation, ScriptedGateway, scripted_gateway
from tests.servers import wait_until

RECONNECT_TIMEOUT = 45.0
EPOCH = "5f3a9c1e"
OTHER_EPOCH = "77aa00ff"
CLOSURES = {1007: {"reconnect": False, "wait": 0}, 1008: {"reconnect": True, "wait": 5}}

# Lets a test put the page's clock forward.
CLOCK = """
    window.skipped = 0;
    const now = performance.now.bind(performance);
    performance.now = () => now() + window.skipped;
"""


def tick(seq: int, symbol: str = "AAPL", price: str | None = None) -> dict[str, Any]:
    timestamp = "2026-05-12T15:04:05Z"
    return {"type": "tick", "symbol": symbol, "price": price or f"{seq}.50", "timestamp": timestamp, "seq": seq}


def snapshot(seq: int, symbol: str = "AAPL", epoch: str = EPOCH) -> dict[str, Any]:
    return tick(seq, symbol) | {"type": "snapshot", "epoch": epoch}


def gap(missed: int | None, seq: int, epoch: str = EPOCH) -> dict[str, Any]:
    return {"type": "gap", "symbol": "AAPL", "missed": missed, "seq": seq, "epoch": epoch}


def skipped(count: int, reason: str = "slow") -> dict[str, Any]:
    return {"type": "conflated", "reason": reason, "skipped": {"AAPL": count}}


def place(seq: int, epoch: str = EPOCH, recovered: bool | None = None) -> dict[str, Any]:
    return {"seq": seq, "epoch": epoch} | ({} if recovered is None else {"recovered": recovered})


def subscribed(seq: int, epoch: str = EPOCH, recovered: bool | None = None) -> dict[str, Any]:
    return {"type": "subscribed", "symbols": ["AAPL"], "positions": {"AAPL": place(seq, epoch, recovered)}}


def heartbeat(seq: int) -> dict[str, Any]:
    return {"type": "heartbeat", "seqs": {"AAPL": seq}}


@pytest.fixture(scope="module")
def scripted(chromium: webdriver.Chrome) -> Iterator[ScriptedGateway]:
    """One server for all; it asks for the browser first, since without one there is nothing to serve."""
    with scripted_gateway(CLOSURES) as server:
        yield server


# The modules


@pytest.fixture(scope="module")
def modules(chromium: webdriver.Chrome, scripted: ScriptedGateway) -> webdriver.Chrome:
    """The browser on a document from which the modules can be imported, and where none of them runs."""
    chromium.get(f"{scripted.http}/nothing")
    return chromium


def judge(driver: webdriver.Chrome, *messages: Mapping[str, Any]) -> dict[str, Any]:
    """What positions.js makes of the messages, one after the other."""
    script = """
        const [texts, done] = arguments;
        const modules = [import("/static/gateway/positions.js"), import("/static/gateway/exact.js")];
        Promise.all(modules).then(([{ Positions }, { parse }]) => {
            const gaps = [];
            const positions = new Positions((_, missed) => gaps.push(missed));
            const method = { tick: "take", snapshot: "take" };
            const answers = texts.map(parse).map((message) => {
                return positions[method[message.type] ?? message.type](message) ?? null;
            });
            done({ answers, gaps, since: positions.since("AAPL") ?? null, holds: positions.holds("AAPL") });
        }).catch((error) => done(String(error)));
    """
    result = driver.execute_async_script(script, [json.dumps(message) for message in messages])
    assert isinstance(result, dict), result
    return result


def gaps(driver: webdriver.Chrome, *messages: Mapping[str, Any]) -> list[int | None]:
    found: list[int | None] = judge(driver, *messages)["gaps"]
    return found


def taken(driver: webdriver.Chrome, *messages: Mapping[str, Any]) -> list[bool]:
    """Which of the ticks and snapshots among the messages are news."""
    answers = zip(messages, judge(driver, *messages)["answers"], strict=True)
    return [answer for message, answer in answers if message["type"] in {"tick", "snapshot"}]


def test_a_stream_begins_with_the_snapshot_and_goes_on_behind_it(modules: webdriver.Chrome) -> None:
    found = judge(modules, subscribed(1041), snapshot(1041), tick(1042))
    assert found["answers"][1:] == [True, True]
    assert found["gaps"] == []
    assert found["since"] == {"seq": 1042, "epoch": EPOCH}


def test_a_symbol_that_never_ticked_begins_with_its_first_tick(modules: webdriver.Chrome) -> None:
    assert gaps(modules, subscribed(0), tick(1)) == []
    assert gaps(modules, subscribed(0), tick(2)) == [1]


def test_duplicates_and_older_ticks_are_no_news(modules: webdriver.Chrome) -> None:
    messages = [subscribed(5), snapshot(5), tick(6), tick(6), tick(4), snapshot(6), tick(7)]
    assert taken(modules, *messages) == [True, True, False, False, False, True]
    assert gaps(modules, *messages) == []


def test_a_jump_that_nobody_explained_is_a_gap(modules: webdriver.Chrome) -> None:
    assert gaps(modules, subscribed(5), snapshot(5), tick(9), tick(10)) == [3]


def test_a_jump_that_receipts_add_up_to_is_none(modules: webdriver.Chrome) -> None:
    receipts = [skipped(12), skipped(3, "rate")]
    assert gaps(modules, subscribed(5), snapshot(5), *receipts, tick(21), tick(22)) == []
    assert gaps(modules, subscribed(5), snapshot(5), *receipts, tick(23), tick(24)) == [2]


def test_a_reported_gap_is_counted_once(modules: webdriver.Chrome) -> None:
    found = judge(modules, subscribed(1041), snapshot(1041), gap(8, 1049), snapshot(1050), tick(1051))
    assert found["gaps"] == [8]
    assert found["answers"][3:] == [True, True]


def test_a_gap_behind_a_receipt_adds_up_with_it(modules: webdriver.Chrome) -> None:
    assert gaps(modules, subscribed(10), snapshot(10), skipped(4), gap(6, 20), tick(21)) == [6]


def test_a_gap_larger_than_reported_is_noticed(modules: webdriver.Chrome) -> None:
    assert gaps(modules, subscribed(10), snapshot(10), gap(2, 20), tick(21)) == [10]


def test_after_a_gap_the_last_tick_is_not_held_until_the_next_comes(modules: webdriver.Chrome) -> None:
    start = [subscribed(10), snapshot(10), gap(2, 12)]
    assert judge(modules, *start)["holds"] is False
    assert judge(modules, *start, snapshot(13))["holds"] is True


def test_a_new_epoch_is_a_gap_of_unknown_size_and_begins_anew(modules: webdriver.Chrome) -> None:
    found = judge(modules, subscribed(10), snapshot(10), gap(None, 0, OTHER_EPOCH), tick(1), tick(2))
    assert found["gaps"] == [None]
    assert found["answers"][3:] == [True, True]
    assert found["since"] == {"seq": 2, "epoch": OTHER_EPOCH}
    assert gaps(modules, subscribed(10), snapshot(10), snapshot(3, epoch=OTHER_EPOCH), tick(4)) == [None]


def test_a_resumed_stream_takes_what_was_missed(modules: webdriver.Chrome) -> None:
    found = judge(
        modules, subscribed(5), snapshot(5), subscribed(8, recovered=True), tick(6), tick(7), tick(8), tick(9)
    )
    assert found["answers"][2] == {"recovered": 1, "late": 3, "restarted": 0}
    assert found["answers"][3:] == [True] * 4
    assert found["gaps"] == []


def test_a_resumed_stream_forgets_receipts_for_what_comes_after_all(modules: webdriver.Chrome) -> None:
    start = [subscribed(5), snapshot(5), skipped(2), subscribed(8, recovered=True), tick(6), tick(7), tick(8)]
    assert gaps(modules, *start, tick(9)) == []
    assert gaps(modules, *start, tick(11)) == [2]


def test_a_replay_that_is_not_whole_is_a_gap(modules: webdriver.Chrome) -> None:
    assert gaps(modules, subscribed(5), snapshot(5), subscribed(8, recovered=True), tick(6), tick(8)) == [1]


@pytest.mark.parametrize(
    ("position", "missed"),
    [
        (subscribed(9, recovered=False), [3]),
        (subscribed(6, recovered=False), []),
        (subscribed(5, recovered=False), []),
        (subscribed(9), [3]),
        (subscribed(9, OTHER_EPOCH, recovered=False), [None]),
        (subscribed(0, OTHER_EPOCH, recovered=False), [None]),
    ],
)
def test_what_was_not_recovered_is_a_gap(
    modules: webdriver.Chrome, position: dict[str, Any], missed: list[int | None]
) -> None:
    assert gaps(modules, subscribed(5), snapshot(5), position) == missed


def test_what_is_not_held_is_asked_for_again(modules: webdriver.Chrome) -> None:
    assert judge(modules, subscribed(5))["since"] == {"seq": 4, "epoch": EPOCH}
    assert judge(modules, subscribed(0))["since"] == {"seq": 0, "epoch": EPOCH}


def test_heartbeats_are_compared(modules: webdriver.Chrome) -> None:
    for seq, behind in [(5, []), (6, ["AAPL"]), (4, ["AAPL"])]:
        assert judge(modules, subscribed(5), snapshot(5), heartbeat(seq))["answers"][2] == behind
    assert judge(modules, heartbeat(6), {"type": "heartbeat"})["answers"] == [[], []]


def test_a_tick_outside_of_any_stream_is_news(modules: webdriver.Chrome) -> None:
    placeless = {key: value for key, value in tick(1).items() if key != "seq"}
    assert taken(modules, subscribed(5), snapshot(5), placeless, placeless, tick(6)) == [True] * 4


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
def test_numbers_are_read_as_their_text(modules: webdriver.Chrome, text: str, value: Any) -> None:
    script = """
        const [text, done] = arguments;
        import("/static/gateway/exact.js").then(({ parse }) => parse(text)).then(done, (error) => done(error.name));
    """
    assert modules.execute_async_script(script, text) == value


def test_the_backoff_has_full_jitter_and_a_bound(modules: webdriver.Chrome) -> None:
    script = """
        const done = arguments[0];
        import("/static/gateway/connection.js").then(({ backoff }) =>
            done([0, 1, 2, 20].map((attempt) => [backoff(attempt, () => 0), backoff(attempt, () => 1)])));
    """
    assert modules.execute_async_script(script) == [[0, 1_000], [0, 2_000], [0, 4_000], [0, 30_000]]


def test_commands_are_sent_no_faster_than_the_server_allows(modules: webdriver.Chrome) -> None:
    script = """
        const done = arguments[0];
        import("/static/gateway/budget.js").then(({ Budget }) => {
            let now = 0;
            const budget = new Budget(2, () => now);
            const spent = [0, 0, 0, 400, 499, 500, 999].map((ms) => { now = ms; return budget.spend(); });
            done([spent, budget.wait]);
        });
    """
    spent, wait = modules.execute_async_script(script)
    assert spent == [True, True, False, False, False, True, False]
    assert 1 <= wait <= 2


# The page


@pytest.fixture
def page(driver: webdriver.Chrome, scripted: ScriptedGateway) -> Iterator[Page]:
    """The page, just opened; its gateway has not said a word yet."""
    added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": CLOCK})
    yield Page(driver, scripted.http).open("connecting")
    driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.fixture
def talk(page: Page, scripted: ScriptedGateway) -> Conversation:
    """The page's first connection: it is subscribed to AAPL, at 5.50, and MSFT, which has not ticked."""
    conversation = scripted.conversation()
    conversation.welcome()
    conversation.subscribed(conversation.command(), AAPL=place(5), MSFT=place(0))
    conversation.send(snapshot(5))
    page.wait_for_cell("AAPL", "price", "5.50")
    return conversation


def test_the_snapshot_fills_the_row_before_any_tick(page: Page, talk: Conversation) -> None:
    assert page.cell("AAPL", "price") == "5.50"
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
    talk.send({"type": "conflated", "reason": "slow", "skipped": {"AAPL": 1200, "MSFT": 34}})
    talk.send({"type": "conflated", "reason": "slow", "skipped": {"AAPL": 1200, "MSFT": 34}})
    talk.send({"type": "conflated", "reason": "rate", "skipped": {"AAPL": 50}})
    wait_until(lambda: page.figure("skipped-slow") == 2_468 and page.figure("skipped-rate") == 50)
    page.wait_for_text("#notices", "2,468 ticks skipped (AAPL 2,400, MSFT 68)")
    assert page.figure("gaps") == 0


def test_a_rate_is_asked_for_without_losing_the_place(page: Page, talk: Conversation) -> None:
    page.choose_rate("5 per second")
    command = talk.command()
    assert command["max_rate"] == 5
    assert command["symbols"] == ["AAPL", "MSFT"]
    assert command["since"] == {"AAPL": place(5), "MSFT": place(0)}
    page.choose_rate("as they come")
    assert "max_rate" not in talk.command()


def test_what_a_heartbeat_shows_to_be_missing_is_asked_for(page: Page, talk: Conversation) -> None:
    talk.send(heartbeat(5), heartbeat(7))
    command = talk.command()
    assert command["symbols"] == ["AAPL"]
    assert command["since"] == {"AAPL": place(5)}
    talk.subscribed(command, AAPL=place(7, recovered=True))
    talk.send(tick(6), tick(7))
    page.wait_for_cell("AAPL", "price", "7.50")
    page.wait_for_text("#notices", "asked again: AAPL")
    assert page.figure("gaps") == 0


def test_an_asterisk_brings_rows_as_they_tick(page: Page, talk: Conversation) -> None:
    page.subscribe("*")
    command = talk.command()
    assert command["symbols"] == ["*"]
    talk.subscribed(command, AAPL=place(5), MSFT=place(0), TSLA=place(3))
    talk.send(snapshot(5), snapshot(3, "TSLA"), snapshot(1, "NEW"), tick(2, "NEW"))
    page.wait_for_cell("TSLA", "price", "3.50")
    page.wait_for_cell("NEW", "price", "2.50")
    assert page.text("#everything").startswith("All symbols")


def test_an_asterisk_resumes_what_came_through_it(page: Page, talk: Conversation, scripted: ScriptedGateway) -> None:
    page.subscribe("*")
    talk.subscribed(talk.command(), TSLA=place(3))
    talk.send(snapshot(3, "TSLA"))
    page.wait_for_cell("TSLA", "price", "3.50")
    talk.close(1011)
    again = scripted.conversation()
    again.welcome()
    assert again.command()["symbols"] == ["AAPL", "MSFT"]
    command = again.command()
    assert command["symbols"] == ["*"]
    assert command["since"] == {"TSLA": place(3)}


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
    page.wait_for_cell("AAPL", "price", "7.50")
    page.wait_for_text("#notices", "nothing lost of 1 symbol, 2 ticks came late")
    page.wait_for_text("#notices", "1 symbol began anew")
    page.wait_for_text("#notices", "3 ticks lost (MSFT 3)")
    page.wait_until_stale("AAPL", False)


def test_a_symbol_that_missed_nothing_is_current_again_at_once(
    page: Page, talk: Conversation, scripted: ScriptedGateway
) -> None:
    talk.close(1011)
    page.wait_until_stale("AAPL")
    again = scripted.conversation()
    again.welcome()
    again.subscribed(again.command(), AAPL=place(5, recovered=True), MSFT=place(0, recovered=True))
    page.wait_until_stale("AAPL", False)


def test_requests_are_no_longer_than_the_server_takes(
    page: Page, talk: Conversation, scripted: ScriptedGateway
) -> None:
    symbols = [f"SYMBOL-{number:03}" for number in range(40)]
    page.subscribe(" ".join(symbols))
    talk.subscribed(talk.command(), **{symbol: place(10**9) for symbol in symbols})
    talk.send(*(snapshot(10**9, symbol) for symbol in symbols))
    page.wait_for_cell(symbols[-1], "price", "1000000000.50")
    talk.close(1011)

    again = scripted.conversation()
    again.welcome(message_bytes=500)
    resumed: dict[str, Any] = {}
    while len(resumed) < 42:
        command = again.command()
        # The browser writes no spaces.
        assert len(json.dumps(command, separators=(",", ":"))) <= 500
        assert command["since"].keys() == set(command["symbols"])
        resumed |= command["since"]
    assert set(resumed) == {"AAPL", "MSFT", *symbols}


def test_prices_are_stale_while_the_bus_is_away(page: Page, talk: Conversation) -> None:
    talk.send({"type": "bus", "connected": False})
    page.wait_for_state("stale")
    page.wait_until_stale("AAPL")
    assert page.text("#connection") == "Stale: bus away"
    page.wait_for_text("#notices", "lost the bus")

    talk.send(gap(None, 0, OTHER_EPOCH), {"type": "bus", "connected": True})
    page.wait_for_state("live")
    page.wait_for_text("#notices", "1 symbol may have lost ticks, nobody knows how many (AAPL)")
    assert page.is_stale("AAPL")
    talk.send(tick(1))
    page.wait_for_cell("AAPL", "price", "1.50")
    page.wait_until_stale("AAPL", False)


def test_what_missed_nothing_is_current_when_the_bus_is_back(page: Page, talk: Conversation) -> None:
    talk.send({"type": "bus", "connected": False})
    page.wait_until_stale("AAPL")
    talk.send({"type": "bus", "connected": True})
    page.wait_until_stale("AAPL", False)
    assert page.figure("gaps") == 0


def test_a_gateway_that_missed_its_heartbeats_is_silent_and_then_given_up(
    page: Page, talk: Conversation, scripted: ScriptedGateway
) -> None:
    talk.close(1011)
    again = scripted.conversation()
    again.welcome(heartbeat=1.0)
    again.subscribed(again.command(), AAPL=place(5, recovered=True), MSFT=place(0, recovered=True))
    page.wait_until_stale("AAPL", False)
    again.answers_pings = False

    page.wait_for_state("silent")
    page.wait_until_stale("AAPL")
    again.send({"type": "heartbeat"})
    page.wait_for_state("live")
    page.wait_until_stale("AAPL", False)

    page.wait_for_state("silent")
    page.wait_for_text("#notices", "no answer to a ping")
    scripted.conversation().welcome()
    page.wait_for_state("live", RECONNECT_TIMEOUT)


def test_without_heartbeats_a_ping_that_is_not_answered_ends_it(
    page: Page, talk: Conversation, scripted: ScriptedGateway
) -> None:
    talk.answers_pings = False
    page.driver.execute_script("window.skipped += 11_000")
    page.wait_for_state("silent")
    page.driver.execute_script("window.skipped += 11_000")
    page.wait_for_text("#notices", "no answer to a ping")
    scripted.conversation().welcome()
    page.wait_for_state("live", RECONNECT_TIMEOUT)


@pytest.mark.parametrize("announced", [True, False])
def test_does_not_come_back_where_there_is_no_point(
    page: Page, talk: Conversation, scripted: ScriptedGateway, announced: bool
) -> None:
    if announced:
        talk.send({"type": "closing", "code": 1009, "reason": "too big", "reconnect": False, "wait": 0})
    talk.close(1009 if announced else 1007, "no way")
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
    assert page.text("#connection").startswith("Reconnecting in 360")
    assert not scripted.is_called

    page.driver.execute_script("window.skipped += 3_600_000")
    page.find("#retry").click()
    scripted.conversation().welcome()
    page.wait_for_state("live")


def test_a_burst_of_thousands_costs_little(page: Page, talk: Conversation) -> None:
    talk.send(*(tick(seq) for seq in range(6, 5_006)))
    page.wait_for_cell("AAPL", "price", "5005.50")
    assert page.figure("gaps") == 0
