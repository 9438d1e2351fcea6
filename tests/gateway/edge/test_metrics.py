"""What the workers tell Prometheus."""

from __future__ import annotations

import re
import sys

import pytest
from django.test import AsyncClient
from prometheus_client.parser import text_string_to_metric_families

from gateway.edge import metrics
from gateway.edge.figures import Figures, merge
from gateway.edge.metrics import collect, explained, held, render
from gateway.server.exchange import Place


def said(**values: float) -> bytes:
    return Figures.of(values).encode()


async def read(*places: Place) -> dict[tuple[str, str], float]:
    """Samples by metric and worker."""
    families = text_string_to_metric_families(await render(places, {}))
    return {(one.name, one.labels["worker"]): one.value for family in families for one in family.samples}


async def test_every_metric_is_explained_and_every_one_explained_is_there() -> None:
    names = {name for name in collect() | await held() if not name.startswith("process_")}
    assert names | {"worker_up"} == explained().keys()


async def test_a_metric_has_its_help_its_type_and_the_workers_number() -> None:
    lines = (await render([Place(1, [said(bus_lost_total=2, behind=3)], [])], {"streams": 5})).splitlines()
    for line in (
        "# HELP marketmux_bus_lost_total Times the worker lost the bus, or one of its hosts.",
        "# TYPE marketmux_bus_lost_total counter",
        'marketmux_bus_lost_total{worker="1"} 2.0',
        "# HELP marketmux_behind Clients that do not keep up.",
        "# TYPE marketmux_behind gauge",
        'marketmux_behind{worker="1"} 3.0',
        'marketmux_worker_up{worker="1"} 1.0',
        "marketmux_streams 5.0",
    ):
        assert line in lines


async def test_a_counter_goes_on_in_the_next_process_and_what_is_held_does_not() -> None:
    past = merge(said(bus_lost_total=2, behind=7), said(bus_lost_total=3, behind=9))
    found = await read(Place(0, [said(bus_lost_total=1, behind=4)], [past]))
    assert found["marketmux_bus_lost_total", "0"] == 6
    assert found["marketmux_behind", "0"] == 4


async def test_two_processes_in_one_place_add_up_but_for_states() -> None:
    old, new = said(connections=5, bus_connected=1), said(connections=3, bus_connected=0)
    found = await read(Place(0, [old, new], []))
    assert found["marketmux_connections", "0"] == 8
    assert found["marketmux_bus_connected", "0"] == 0


async def test_of_a_worker_that_hangs_the_counters_are_shown_as_they_were() -> None:
    found = await read(Place(0, [said(delivered_total=1)], []), Place(1, [], [said(delivered_total=6, behind=1)]))
    assert found["marketmux_delivered_total", "1"] == 6
    assert ("marketmux_behind", "1") not in found
    assert (found["marketmux_worker_up", "0"], found["marketmux_worker_up", "1"]) == (1, 0)


@pytest.mark.parametrize("text", explained().values())
def test_a_help_is_a_phrase_on_one_line_that_needs_no_escapes(text: str) -> None:
    assert re.fullmatch(r"[A-Z1][^\n\\]{10,}\.", text)
    assert "this process" not in text


async def test_metrics_are_served_as_text(async_client: AsyncClient) -> None:
    response = await async_client.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = response.content.decode()
    assert 'marketmux_connections{worker="0"}' in text
    assert 'marketmux_limited_total{reason="' in text
    names = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    assert names >= {name for name in metrics._PROCESS if sys.platform == "linux"}
