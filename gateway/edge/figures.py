"""Figures of workers: how they travel between processes, how they add up, and how Prometheus reads them.

A series is named by its metric and the values of its labels, ``limited_total|share``. What ends on ``_total`` counts,
and goes on in the next process in a worker's place; other figures are what a process has now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from operator import add
from typing import Final, NamedTuple, TypeAlias

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from bus.histogram import Histogram
from gateway.server.exchange import Place

__all__ = ["Figures", "Kind", "Value", "common", "families", "merge", "read", "series", "text"]

Value: TypeAlias = float | Mapping[str, float] | Histogram
"""A number, or numbers by the values of labels, which ``|`` is between; or a histogram."""


class Figures(msgspec.Struct):
    """What a process says of itself, by series."""

    counters: dict[str, float] = {}
    gauges: dict[str, float] = {}
    histograms: dict[str, list[float]] = {}
    """The counts of the buckets, and then the sum of all values."""

    @classmethod
    def of(cls, values: Mapping[str, Value]) -> Figures:
        """Takes values by metric."""
        figures = cls()
        for name, value in values.items():
            if isinstance(value, Histogram):
                figures.histograms[name] = [*value.counts, value.total]
                continue
            numbers = figures.counters if name.endswith("_total") else figures.gauges
            numbers.update(series(name, value))
        return figures

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)


class Kind(NamedTuple):
    """A metric as Prometheus is told of it."""

    help: str
    labels: tuple[str, ...] = ()
    is_state: bool = False
    """Whether two processes in one place, while one replaces the other, do not add up: the newer one's holds."""

    bounds: Sequence[float] = ()
    """Of a histogram's buckets."""


read: Final = msgspec.msgpack.Decoder(Figures).decode


def series(name: str, value: float | Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """The numbers of a metric by the names of their series."""
    if isinstance(value, Mapping):
        for labels, number in value.items():
            yield f"{name}|{labels}", number
    else:
        yield name, value


def merge(past: bytes, last: bytes) -> bytes:
    """The counters and histograms of two processes that have ended in one."""
    return _total([read(past), read(last)]).encode()


def families(kinds: Mapping[str, Kind], places: Iterable[Place]) -> Iterator[Metric]:
    """What the places of all workers have answered, by metric; each series has its worker's number."""
    by_worker = {str(place.number): _figures(kinds, place) for place in places}
    for name, kind in kinds.items():
        if kind.bounds:
            yield _histogram(name, kind, by_worker)
            continue
        is_counter = name.endswith("_total")
        family = _family(name, kind, [*kind.labels, "worker"])
        for worker, figures in by_worker.items():
            numbers = figures.counters if is_counter else figures.gauges
            for key in [name] if not kind.labels else [key for key in numbers if key.startswith(f"{name}|")]:
                if key in numbers:
                    family.add_metric([*key.split("|")[1:], worker], numbers[key])
        yield family


def common(kinds: Mapping[str, Kind], values: Mapping[str, float]) -> Iterator[Metric]:
    """What is the same for all workers, by metric."""
    for name, value in values.items():
        family = _family(name, kinds[name], [])
        family.add_metric([], value)
        yield family


def _histogram(name: str, kind: Kind, by_worker: Mapping[str, Figures]) -> Metric:
    family = HistogramMetricFamily(f"marketmux_{name}", kind.help, labels=["worker"])
    edges = [*map(repr, kind.bounds), "+Inf"]
    for worker, figures in by_worker.items():
        if name in figures.histograms:
            *counts, total = figures.histograms[name]
            family.add_metric([worker], list(zip(edges, accumulate(counts), strict=True)), total)
    return family


def text(family: Metric) -> str:
    """A metric in Prometheus' text format."""
    return generate_latest(_One(family)).decode()


def _family(name: str, kind: Kind, labels: Sequence[str]) -> CounterMetricFamily | GaugeMetricFamily:
    full = name if name.startswith("process_") else f"marketmux_{name}"
    return (CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily)(full, kind.help, labels=labels)


class _One:
    """A registry of one metric, so that they can be written one after the other."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


def _figures(kinds: Mapping[str, Kind], place: Place) -> Figures:
    answers = [read(answer) for answer in place.answers]
    figures = _total([*map(read, place.past), *answers])
    for answer in answers:
        for key, number in answer.gauges.items():
            is_state = kinds[key.partition("|")[0]].is_state
            figures.gauges[key] = number if is_state else figures.gauges.get(key, 0) + number
    figures.gauges["worker_up"] = int(bool(answers))
    return figures


def _total(several: Iterable[Figures]) -> Figures:
    """The counters and histograms of several in one."""
    total = Figures()
    for figures in several:
        for key, number in figures.counters.items():
            total.counters[key] = total.counters.get(key, 0) + number
        for key, counts in figures.histograms.items():
            before = total.histograms.get(key, [])
            # Another version of the gateway may have other buckets: then the newer one's hold.
            total.histograms[key] = [*map(add, before, counts)] if len(before) == len(counts) else counts
    return total
