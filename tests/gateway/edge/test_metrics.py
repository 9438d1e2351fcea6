"""What a process tells Prometheus."""

from __future__ import annotations

import os
import re

import pytest
from django.test import AsyncClient

from gateway.edge.metrics import _HELP, collect, held, render


async def test_every_metric_has_a_help_and_every_help_a_metric() -> None:
    assert (collect() | await held()).keys() == _HELP.keys()


def test_a_metric_has_its_help_its_type_and_the_workers_number() -> None:
    assert render({"bus_lost_total": 2, "behind": 3}).splitlines() == [
        "# HELP marketmux_bus_lost_total Times this process lost the bus, or one of its hosts.",
        "# TYPE marketmux_bus_lost_total counter",
        f'marketmux_bus_lost_total{{worker="{os.getpid()}"}} 2',
        "# HELP marketmux_behind Clients that do not keep up.",
        "# TYPE marketmux_behind gauge",
        f'marketmux_behind{{worker="{os.getpid()}"}} 3',
    ]


@pytest.mark.parametrize("text", _HELP.values())
def test_a_help_is_a_phrase_on_one_line_that_needs_no_escapes(text: str) -> None:
    assert re.fullmatch(r"[A-Z1][^\n\\]{10,}\.", text)


async def test_metrics_are_served_as_text(async_client: AsyncClient) -> None:
    response = await async_client.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "marketmux_connections{" in response.content.decode()
