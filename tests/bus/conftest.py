"""Fixtures of the tests of every bus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bus.layers import MemoryLayer, RedisLayer

Layer = Any


@pytest.fixture(params=["memory", "redis", "cluster"])
async def layer(request: pytest.FixtureRequest) -> AsyncIterator[Layer]:
    """Channels' API over each of the buses, which is empty afterwards."""
    is_memory = request.param == "memory"
    layer: Layer = MemoryLayer() if is_memory else RedisLayer(hosts=[request.getfixturevalue(f"{request.param}_url")])
    yield layer
    await layer.flush()
