"""What is checked in which round, and what becomes of what takes too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from gateway.server.housekeeping import SLICE, Housekeeping, Schedule
from gateway.server.http import GatewayHTTPConnection
from gateway.server.timeouts import Timeouts


def test_a_half_open_connection_is_found_within_30_seconds() -> None:
    timeouts = Timeouts()
    assert timeouts.ping + timeouts.pong + 2 * timeouts.round < 30


def turns(schedule: Schedule[str], count: int) -> list[list[str]]:
    return [list(schedule.turn()) for _ in range(count)]


def test_nothing_has_a_turn_before_its_time_has_passed() -> None:
    schedule: Schedule[str] = Schedule(2.0)
    schedule.put("late", 4.1)
    schedule.put("early", 3.9)
    schedule.put("at once", 0)
    assert turns(schedule, 4) == [["at once"], ["early"], ["late"], []]


def test_a_turn_comes_once() -> None:
    schedule: Schedule[str] = Schedule(1.0)
    schedule.put("one", 1)
    assert turns(schedule, 3) == [["one"], [], []]


def test_the_time_may_change_and_the_last_word_counts() -> None:
    schedule: Schedule[str] = Schedule(1.0)
    schedule.put("one", 1)
    schedule.put("one", 3)
    schedule.put("two", 3)
    schedule.put("two", 2)
    assert turns(schedule, 3) == [[], ["two"], ["one"]]


def test_who_has_left_has_no_turn_and_leaves_nothing_behind() -> None:
    schedule: Schedule[str] = Schedule(1.0)
    schedule.put("one", 1)
    schedule.put("two", 1)
    schedule.remove("one")
    schedule.remove("one")
    schedule.remove("a stranger")
    assert len(schedule) == 1
    assert turns(schedule, 2) == [["two"], []]
    assert len(schedule) == 0


def test_who_has_had_a_turn_may_have_another() -> None:
    schedule: Schedule[str] = Schedule(1.0)
    schedule.put("one", 1)
    for _ in range(3):
        assert list(schedule.turn()) == ["one"]
        schedule.put("one", 1)


class Connection:
    """A connection of which the test says when it is to be checked again, or what its check does."""

    def __init__(self, seconds: float | None = 1, check: Callable[[], object] = lambda: None) -> None:
        self.checks = 0
        self.transport = mock.Mock()
        self._seconds = seconds
        self._check = check

    def check_timeouts(self) -> float | None:
        self.checks += 1
        self._check()
        return self._seconds


def fail() -> None:
    raise RuntimeError


def keeping(*websockets: Connection, http: Sequence[Connection] = (), leave: float = 0.0) -> Any:
    housekeeping: Any = Housekeeping(Timeouts(round=1.0, leave=leave))
    for websocket in websockets:
        housekeeping.websockets.put(websocket, 1)
    housekeeping.http_connections.update(http)
    return housekeeping


async def test_a_websocket_is_checked_again_when_it_asked_to_be() -> None:
    soon, late, never = Connection(1), Connection(3), Connection(None)
    housekeeping = keeping(soon, late, never)
    for _ in range(4):
        await housekeeping.check()
    assert [soon.checks, late.checks, never.checks] == [4, 2, 1]
    assert len(housekeeping.websockets) == 2


async def test_an_http_connection_is_checked_in_every_round() -> None:
    connection = mock.Mock(spec=GatewayHTTPConnection)
    housekeeping = keeping(http=[connection])
    for _ in range(3):
        await housekeeping.check()
    assert connection.check_timeouts.call_args_list == [mock.call()] * 3


async def test_whose_bytes_wait_to_be_read_is_not_timed_and_keeps_its_time() -> None:
    waiting, http = mock.Mock(), mock.Mock()
    waiting.check_timeouts.return_value = 5
    housekeeping = keeping(waiting, http=[http])
    for connection in (waiting, http):
        connection.transport.is_in_line = True
    for _ in range(3):
        await housekeeping.check()
    for connection in (waiting, http):
        connection.check_timeouts.assert_not_called()
        assert connection.forgive.call_args_list == [mock.call(1.0)] * 3
        connection.transport.is_in_line = False
    await housekeeping.check()
    for connection in (waiting, http):
        connection.check_timeouts.assert_called_once_with()


async def test_a_check_that_fails_costs_its_own_connection_and_no_other() -> None:
    bad, good = Connection(check=fail), Connection()
    housekeeping = keeping(bad, good)
    await housekeeping.check()
    bad.transport.abortConnection.assert_called_once_with()
    good.transport.abortConnection.assert_not_called()
    assert good.checks == 1


async def test_what_ends_during_a_round_is_not_checked_any_more() -> None:
    second = Connection()
    first = Connection(check=lambda: housekeeping.websockets.remove(second))
    housekeeping = keeping(first, second)
    await housekeeping.check()
    assert (first.checks, second.checks) == (1, 0)


async def test_others_get_their_turn_in_the_middle_of_a_long_round() -> None:
    connections = [Connection() for _ in range(SLICE + 1)]
    housekeeping = keeping(*connections)
    asyncio.get_running_loop().call_soon(lambda: seen.append(sum(one.checks for one in connections)))
    seen: list[int] = []
    await housekeeping.check()
    assert seen == [SLICE]


async def test_an_application_has_some_time_after_its_client_has_left() -> None:
    housekeeping, application = keeping(leave=60.0), mock.Mock()
    housekeeping.client_left("client", application)
    await housekeeping.check()
    application.cancel.assert_not_called()


async def test_an_application_that_goes_on_is_cancelled_once() -> None:
    housekeeping, application = keeping(leave=-1.0), mock.Mock()
    housekeeping.client_left("client", application)
    for _ in range(2):
        await housekeeping.check()
    application.cancel.assert_called_once_with()


async def test_an_application_that_has_ended_is_left_alone() -> None:
    housekeeping, application = keeping(leave=-1.0), mock.Mock()
    housekeeping.client_left("client", application)
    housekeeping.application_ended("client")
    await housekeeping.check()
    application.cancel.assert_not_called()


async def test_a_stall_of_this_process_is_taken_off_everybodys_time() -> None:
    websocket, http = mock.Mock(), mock.Mock()
    websocket.check_timeouts.return_value = 60
    housekeeping: Any = Housekeeping(Timeouts(round=0.01))
    housekeeping.websockets.put(websocket, 60)
    housekeeping.http_connections.add(http)
    with mock.patch("gateway.server.housekeeping._STALL_SECONDS", 0.2):
        running = asyncio.create_task(housekeeping.run())
        await asyncio.sleep(0.03)
        time.sleep(0.4)  # noqa: ASYNC251 - as a process that is stopped
        await asyncio.sleep(0.03)
        running.cancel()
    for connection in (websocket, http):
        [[(seconds,), _]] = connection.forgive.call_args_list
        assert seconds > 0.3
