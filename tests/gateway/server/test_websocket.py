"""WebSockets: silence, a full inbox, and what goes through the outbox of a client that has one."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import Any
from unittest import mock

import pytest
from websockets.frames import Frame, Opcode

from gateway.fanout.heartbeat import ASK_SECONDS
from gateway.protocol.codes import FLOODING, SERVICE_RESTART, Closure
from gateway.protocol.frames import PING
from gateway.server import websocket
from gateway.server.inbox import MOST_EVENTS
from gateway.server.outgoing import unacknowledged_for
from gateway.server.timeouts import Timeouts
from gateway.server.websocket import FRAMES_AT_ONCE
from gateway.server.worker import GatewayServer
from tests.gateway.server.memory import HANDSHAKE, Client, Clock, frame, idle_server, until

TIMEOUTS = Timeouts(ping=20, pong=8, handshake=30, closing=3, message=30, round=1)
TEXT, CLOSE, ASK, ANSWER = 1, 8, 9, 10
RESTART = (
    bytes([0x88, 2 + len(SERVICE_RESTART.reason)])
    + SERVICE_RESTART.code.to_bytes(2)
    + (SERVICE_RESTART.reason.encode())
)


def masked(payload: bytes) -> bytes:
    """A message in a frame of its own."""
    return Frame(Opcode.TEXT, payload).serialize(mask=True)


class Application:
    """Accepts, and takes messages as far as the test lets it."""

    def __init__(self) -> None:
        self.may_accept = asyncio.Event()
        self.may_accept.set()
        self.may_take = asyncio.Event()
        self.may_take.set()
        self.taken: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await self.may_accept.wait()
        await send({"type": "websocket.accept"})
        await self.may_take.wait()
        while (event := await receive())["type"] != "websocket.disconnect":
            self.taken.append(event["text"])


class Outbox:
    """Keeps what it is asked to do."""

    def __init__(self) -> None:
        self.behind = self.stuffed = self.owes = False
        self.heard: list[int] = []
        self.is_let_go = False
        self.written = b""
        self.closures: list[Closure] = []

    def write(self, frames: bytes) -> None:
        self.written += frames

    def answered(self, number: int) -> bool:
        self.heard.append(number)
        return True

    def close(self, closure: Closure) -> None:
        self.closures.append(closure)

    def let_go(self) -> None:
        self.is_let_go = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(websocket, "time", clock)
    return clock


@pytest.fixture
async def application() -> Application:
    return Application()


@pytest.fixture
async def server(application: Application) -> GatewayServer:
    return idle_server(application, TIMEOUTS)


@pytest.fixture
async def client(server: GatewayServer, clock: Clock) -> Client:
    """One that has shaken hands."""
    client = Client(server)
    await client.shake_hands()
    return client


@pytest.fixture
def outbox(client: Client) -> Outbox:
    client.websocket.outbox = outbox = Outbox()
    return outbox


def check_after(clock: Clock, client: Client, seconds: float) -> float | None:
    clock.now += seconds
    return client.websocket.check_timeouts()


# Silence


async def test_a_silent_client_is_asked_twice_and_then_dropped(client: Client, clock: Clock) -> None:
    assert check_after(clock, client, 19) == 1
    assert client.received() == b""
    assert check_after(clock, client, 1) == 4
    assert client.received() == PING
    assert check_after(clock, client, 4) == 4
    assert client.received() == PING
    check_after(clock, client, 3)
    assert not client.has_ended
    check_after(clock, client, 1)
    assert client.transport.aborted
    assert client.received() == b""


async def test_a_ping_that_goes_along_is_answered_or_the_client_is_dropped(client: Client, clock: Clock) -> None:
    check_after(clock, client, 15)
    assert client.websocket.ask_along()
    client.send(frame(ANSWER))
    assert check_after(clock, client, 15) == 5
    assert client.websocket.ask_along()
    clock.now += 3
    assert not client.websocket.ask_along(), "it owes an answer, and has no more time for it than before"
    assert check_after(clock, client, 1) == 4
    assert client.received() == PING
    check_after(clock, client, 3)
    assert not client.has_ended
    check_after(clock, client, 1)
    assert client.transport.aborted


async def test_who_is_asked_along_and_looked_at_late_is_asked_again_all_the_same(client: Client, clock: Clock) -> None:
    clock.now += 1
    assert client.websocket.ask_along()
    assert check_after(clock, client, 15) == 4
    assert client.received() == PING
    check_after(clock, client, 3)
    assert not client.has_ended
    check_after(clock, client, 1)
    assert client.transport.aborted


async def test_the_pong_to_a_ping_that_went_along_is_not_counted(client: Client, outbox: Outbox) -> None:
    for _ in range(2 * FRAMES_AT_ONCE):
        assert client.websocket.ask_along()
        client.send(frame(ANSWER))
    assert outbox.closures == []


async def test_who_is_closing_is_asked_nothing(client: Client) -> None:
    client.websocket.close_with(SERVICE_RESTART)
    assert not client.websocket.ask_along()


def test_heartbeats_ask_before_the_server_does_and_who_is_gone_is_found_within_half_a_minute() -> None:
    timeouts = Timeouts()
    assert timeouts.ping > ASK_SECONDS
    assert ASK_SECONDS + timeouts.pong + timeouts.round <= 27
    assert timeouts.ping + timeouts.pong + 2 * timeouts.round < 30


@pytest.mark.parametrize("data", [frame(ANSWER), frame(TEXT, b"x"), b"\x81"], ids=["pong", "message", "one byte"])
async def test_whatever_a_client_sends_ends_its_silence(data: bytes, client: Client, clock: Clock) -> None:
    check_after(clock, client, 20)
    client.received()
    clock.now += 5
    client.send(data)
    assert check_after(clock, client, 5) == 15
    assert client.received() == b""
    assert not client.has_ended


async def test_nobody_is_dropped_because_this_process_stood_still(client: Client, clock: Clock) -> None:
    check_after(clock, client, 20)
    assert client.received() == PING
    clock.now += 40
    client.websocket.forgive(40)
    check_after(clock, client, 4)
    assert client.received() == PING
    check_after(clock, client, 3)
    assert not client.has_ended
    check_after(clock, client, 1)
    assert client.transport.aborted


async def test_a_client_that_is_not_read_from_is_not_taken_for_silent(
    client: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.websocket.hold()
    monkeypatch.setattr(websocket, "unacknowledged_for", lambda _: TIMEOUTS.ping + TIMEOUTS.pong - 1)
    assert check_after(clock, client, 1_000) == 2
    assert client.received() == b""
    assert not client.has_ended


async def test_a_client_that_is_behind_is_dropped_when_its_system_acknowledges_nothing(
    client: Client, clock: Clock, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.behind = True
    monkeypatch.setattr(websocket, "unacknowledged_for", lambda _: TIMEOUTS.ping + TIMEOUTS.pong)
    check_after(clock, client, 1)
    assert client.transport.aborted


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' tcp_info")
@pytest.mark.parametrize(("probes", "packets", "seconds"), [(0, 0, 0.0), (1, 0, 0.0), (2, 0, 1.5), (0, 3, 1.5)])
def test_a_system_owes_an_answer_for_packets_and_for_more_than_one_probe(
    probes: int, packets: int, seconds: float
) -> None:
    connection = mock.Mock(spec=socket.socket)
    connection.getsockopt.return_value = struct.pack("=3x B 20x I 28x I", probes, packets, 1_500)
    assert unacknowledged_for(connection) == seconds


def test_a_real_connection_that_owes_nothing_owes_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as one:
        assert unacknowledged_for(one) == 0.0


# Frames that carry nothing, and messages that do not end


@pytest.mark.parametrize("kind", [ASK, ANSWER], ids=["ping", "pong"])
async def test_whoever_keeps_sending_frames_that_carry_nothing_is_closed(
    kind: int, client: Client, outbox: Outbox
) -> None:
    for _ in range(FRAMES_AT_ONCE):
        client.send(frame(kind))
    assert outbox.closures == []
    for _ in range(10):
        client.send(frame(kind))
    assert outbox.closures == [FLOODING]


async def test_a_pong_that_was_asked_for_is_not_counted(client: Client, outbox: Outbox) -> None:
    for _ in range(2 * FRAMES_AT_ONCE):
        client.websocket.ask()
        client.send(frame(ANSWER))
    assert outbox.closures == []


async def test_the_pong_of_a_silent_client_is_taken_past_autobahn(client: Client, outbox: Outbox) -> None:
    client.websocket.ask()
    with mock.patch.object(client.websocket, "_dataReceived") as read:
        client.send(frame(ANSWER))
        assert client.websocket.owed == 0
        read.assert_not_called()
        client.send(frame(ANSWER))  # nobody asked for it
        read.assert_called_once()


async def test_an_open_connection_keeps_nothing_of_the_handshake(client: Client) -> None:
    kept = repr(vars(client.websocket))
    assert "AAAAAAAAAAAAAAAAAAAAAA" not in kept, "what the client sent"
    assert "Switching Protocols" not in kept
    assert not {"send_queue", "trafficStats", "is_open", "is_closed"} & vars(client.websocket).keys()
    client.send(frame(TEXT, b"x"))
    client.leave()
    assert client.websocket.request.path == "/"


async def test_of_many_pings_in_one_read_the_last_are_answered(client: Client) -> None:
    client.send(b"".join(frame(ASK, bytes([number])) for number in range(100)))
    assert client.received() == b"".join(frame_to_client(ANSWER, bytes([number])) for number in range(90, 100))


def frame_to_client(opcode: int, payload: bytes) -> bytes:
    return bytes([0x80 | opcode, len(payload)]) + payload


async def test_a_message_that_does_not_end_has_its_time(client: Client, clock: Clock, outbox: Outbox) -> None:
    client.send(frame(TEXT, b"x") + frame(TEXT, b"xyz")[:-1])
    for _ in range(5):
        check_after(clock, client, 5)
        client.send(b"")
    assert outbox.closures == []
    check_after(clock, client, 5)
    assert outbox.closures == [FLOODING]


async def test_messages_that_end_have_theirs_each(client: Client, clock: Clock, outbox: Outbox) -> None:
    data = frame(TEXT, b"xyz")
    client.send(data[:3])
    for _ in range(5):
        check_after(clock, client, 10)
        client.send(data[3:] + data[:3])
    assert outbox.closures == []


async def test_a_message_has_its_time_while_it_is_read(client: Client, clock: Clock, outbox: Outbox) -> None:
    client.send(frame(TEXT, b"xyz")[:-1])
    client.websocket.hold()
    clock.now += 100
    client.websocket.release()
    check_after(clock, client, 20)
    assert outbox.closures == []


# The handshake


async def test_a_handshake_has_its_time(server: GatewayServer, application: Application, clock: Clock) -> None:
    application.may_accept.clear()
    client = Client(server)
    client.send(HANDSHAKE)
    assert check_after(clock, client, 29) == 1
    assert check_after(clock, client, 2) is None
    assert client.received().startswith(b"HTTP/1.1 403 ")


async def test_a_handshake_that_took_too_long_is_not_checked_any_more(
    server: GatewayServer, application: Application, clock: Clock
) -> None:
    application.may_accept.clear()
    client = Client(server)
    client.send(HANDSHAKE)
    clock.now += 31
    for _ in range(round(TIMEOUTS.handshake)):
        await server.housekeeping.check()
    assert client.has_ended
    assert len(server.housekeeping.websockets) == 0


async def test_a_closing_client_is_left_to_the_closing_handshake(client: Client, clock: Clock) -> None:
    client.websocket.close_with(SERVICE_RESTART)
    client.received()
    assert check_after(clock, client, 1_000) == TIMEOUTS.ping
    assert client.received() == b""


async def test_a_handshake_of_another_version_is_refused_and_leaves_nothing_behind(
    server: GatewayServer, clock: Clock
) -> None:
    client = Client(server)
    client.send(HANDSHAKE.replace(b"Version: 13", b"Version: 0"))
    assert client.received().startswith(b"HTTP/1.1 400 ")
    assert client.has_ended
    assert not server.connections


# An inbox that is full


async def test_a_client_is_not_read_from_while_its_inbox_is_full(client: Client, application: Application) -> None:
    application.may_take.clear()
    client.send(frame(TEXT, b"x") * (MOST_EVENTS + 10))
    assert client.websocket.held
    assert client.transport.producerState == "paused"
    assert len(client.websocket.application_queue) == MOST_EVENTS


async def test_what_was_read_already_is_taken_when_there_is_room(client: Client, application: Application) -> None:
    client.send(frame(TEXT, b"x") * (3 * MOST_EVENTS))
    await until(lambda: len(application.taken) == 3 * MOST_EVENTS)
    assert client.transport.producerState == "producing"


async def test_a_client_whose_socket_is_full_is_not_read_from_when_there_is_room_in_its_inbox(
    client: Client, application: Application, outbox: Outbox
) -> None:
    outbox.stuffed = True
    client.send(frame(TEXT, b"x") * MOST_EVENTS)
    await until(lambda: len(application.taken) == MOST_EVENTS)
    assert not client.websocket.held
    assert client.transport.producerState == "paused"


# The outbox


async def test_control_frames_go_through_the_outbox(client: Client, outbox: Outbox) -> None:
    client.send(frame(ASK, b"?"))
    assert outbox.written == b"\x8a\x01?"
    assert client.received() == b""


async def test_the_outbox_hears_how_far_the_client_has_read(client: Client, outbox: Outbox) -> None:
    for payload in (b"", (7).to_bytes(4), b"12345", (8).to_bytes(4)):
        client.send(frame(ANSWER, payload))
    assert outbox.heard == [7, 8]


async def test_an_answer_that_comes_in_pieces_is_one_too(client: Client, outbox: Outbox) -> None:
    answer = (
        bytes([0x80 | ANSWER, 0x84]) + b"mask" + bytes(a ^ b for a, b in zip(b"mask", (7).to_bytes(4), strict=True))
    )
    for data in (answer, answer[:3], answer[3:], answer + answer):
        client.send(data)
    assert outbox.heard == [7, 7, 7, 7]


async def test_control_frames_wait_behind_what_was_begun(client: Client, outbox: Outbox) -> None:
    outbox.stuffed = True
    client.send(frame(ASK, b"?"))
    assert outbox.written == b""
    assert client.received() == b"\x8a\x01?"


async def test_a_client_with_an_outbox_is_closed_behind_what_was_delivered(client: Client, outbox: Outbox) -> None:
    client.websocket.close_with(SERVICE_RESTART)
    assert outbox.closures == [SERVICE_RESTART]
    assert client.received() == b""


async def test_a_client_without_one_is_closed_at_once(client: Client) -> None:
    client.websocket.close_with(SERVICE_RESTART)
    assert client.received() == RESTART


async def test_the_outbox_is_let_go_when_the_client_closes(client: Client, outbox: Outbox) -> None:
    client.send(frame(CLOSE))
    assert outbox.is_let_go


async def test_the_outbox_is_let_go_when_the_connection_is_lost(client: Client, outbox: Outbox) -> None:
    client.leave()
    assert outbox.is_let_go


async def test_a_connection_that_is_lost_ends_its_application(client: Client, server: GatewayServer) -> None:
    client.leave()
    await until(lambda: not server.connections)
    assert len(server.housekeeping.websockets) == 0


async def test_no_connection_keeps_a_copy_of_the_options(client: Client) -> None:
    options = set(type(client.websocket).__mro__[1].CONFIG_ATTRS)  # type: ignore[attr-defined]
    assert options
    assert options.isdisjoint(vars(client.websocket))


@pytest.mark.parametrize("size", [1, 7, 512, 513, 100_000])
async def test_messages_are_taken_in_their_order_however_they_are_cut(
    size: int, application: Application, client: Client
) -> None:
    texts = [f"{number}{'x' * (number % 140)}" for number in range(300)]
    frames = [masked(text.encode()) for text in texts]
    frames[50:50] = [frame(ASK, b"?")]
    frames[100:100] = [bytes([TEXT, *masked(b"be")[1:]]), bytes([0x80, *masked(b"hind")[1:]])]
    texts[99:99] = ["behind"]
    data = b"".join(frames)
    for start in range(0, len(data), size):
        client.send(data[start : start + size])
        await asyncio.sleep(0)
    await until(lambda: len(application.taken) == len(texts))
    assert application.taken == texts
    assert not client.has_ended


async def test_a_short_message_costs_a_few_calls(application: Application, client: Client) -> None:
    data = b"".join(masked(b'{"action":"list"}') for _ in range(40))
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        client.send(data)
    finally:
        sys.setprofile(None)
    await until(lambda: len(application.taken) == 40)
    assert calls < 10 * 40, "the whole way takes fifty each"


async def test_a_message_that_is_no_text_is_refused_behind_others(application: Application, client: Client) -> None:
    client.send(masked(b"one") + masked(b"\xff\xfe"))
    await until(lambda: application.taken)
    assert application.taken == ["one"]
    assert client.has_ended or client.received()
