"""What a worker says of itself every two seconds: who is behind, and how it finds that out among thousands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from channels.layers import channel_layers
from pytest_django.fixtures import Settings

from bus.layers import MemoryLayer
from gateway.edge import watch
from gateway.edge.process import get_node
from gateway.edge.reports import Reporter
from gateway.fanout.outbox import Outbox
from tests.gateway.edge.test_watch import Socket, key_of
from ticks.access import keys

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
async def layer(settings: Settings) -> AsyncIterator[None]:
    settings.MARKETMUX_HEARTBEAT_SECONDS = 0.0
    channel_layers.set("default", MemoryLayer())
    yield
    await watch.get_watch().close()
    channel_layers.backends.clear()
    keys.forget()


class NotWalked(dict[Any, Any]):
    """What nobody goes over from one to the next."""

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("it was walked over")


def outboxes() -> list[Outbox]:
    return list(get_node().hub.subscriptions.clients)


async def test_a_report_says_who_is_behind_and_how_many_publish() -> None:
    _, header = await key_of()
    reporter = Reporter()
    async with Socket("/ws", header) as socket, Socket("/ws", header), Socket("/ws/publish", header) as publisher:
        await socket.ask(action="subscribe", symbol="AAPL")
        await publisher.ask(symbol="AAPL", price=1)
        load = (await reporter.look()).worker
        assert (load.connections, load.publishers, load.behind) == (2, 1, 0)
        outboxes()[0].lag()
        report = await reporter.look()
        assert report.worker.behind == 1
        assert [(slow.symbols, slow.who.startswith("feed (mmx_")) for slow in report.slow] == [(1, True)]
    load = (await reporter.look()).worker
    assert (load.connections, load.publishers, load.behind) == (0, 0, 0)


async def test_while_nobody_is_behind_a_report_looks_at_no_subscriber(monkeypatch: pytest.MonkeyPatch) -> None:
    _, header = await key_of()
    async with Socket("/ws", header), Socket("/ws", header):
        reporter = Reporter()
        monkeypatch.setattr(watch.get_watch(), "connections", NotWalked(watch.get_watch().connections))
        assert (await reporter.look()).slow == []
        outboxes()[1].lag()
        with pytest.raises(AssertionError, match="walked"):
            await reporter.look()
        monkeypatch.undo()
