"""A consumer that is cancelled leaves nothing behind, wherever it was: it is cancelled after every turn of the loop."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from channels.layers import channel_layers
from pytest_django.fixtures import Settings

from bus.layers import MemoryLayer
from gateway.edge.process import get_node
from gateway.edge.subscriber import TickConsumer
from tests.gateway.fakes import until
from ticks.access.grant import Grant
from ticks.access.patterns import ALL

COMMANDS = [
    {"action": "subscribe", "symbols": ["A", "B"]},
    {"action": "subscribe", "symbols": ["*"]},
    {"action": "unsubscribe", "symbols": ["A"]},
    {"action": "subscribe", "symbols": ["A"], "max_rate": 5},
]


@pytest.fixture
async def layer(settings: Settings) -> Any:
    settings.MARKETMUX_HEARTBEAT_SECONDS = 0.0
    settings.MARKETMUX_LEAVE_DELAY_SECONDS = 0.0
    layer = MemoryLayer()
    channel_layers.set("default", layer)
    yield layer
    channel_layers.backends.clear()


async def test_a_consumer_that_is_cancelled_leaves_nothing_behind(layer: MemoryLayer) -> None:
    for count in range(100):
        events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        events.put_nowait({"type": "websocket.connect"})
        for command in COMMANDS:
            events.put_nowait({"type": "websocket.receive", "text": json.dumps(command)})
        events.put_nowait({"type": "websocket.disconnect"})

        async def send(_: dict[str, Any]) -> None:
            await asyncio.sleep(0)

        consumer = asyncio.create_task(
            TickConsumer()({"type": "websocket", "grant": Grant(subscribe=ALL)}, events.get, send)
        )
        for _ in range(count):
            await asyncio.sleep(0)
        consumer.cancel()
        await asyncio.wait({consumer})
        node = get_node()
        assert node.hub.connections == 0
        await until(lambda node=node: not node.hub.subscriptions.streams)  # type: ignore[misc]
        assert not node.memberships.joined
        if not consumer.cancelled():
            assert count > 5, consumer
            return
    raise AssertionError("it never came to its end")
