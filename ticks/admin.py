"""The admin of instruments, with their latest price. Keys and users are in ticks/access/."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.utils import timezone

from bus.contract import BusUnavailable
from ticks import (
    publish,
    recorded_admin,  # noqa: F401 - registers what is there
)
from ticks.access import admin as access_admin  # noqa: F401
from ticks.access import audit_admin  # noqa: F401
from ticks.grammar import is_symbol
from ticks.models import Instrument
from ticks.tick import Placed, Tick

if TYPE_CHECKING:
    InstrumentModelAdmin = admin.ModelAdmin[Instrument]
else:
    InstrumentModelAdmin = admin.ModelAdmin

STALE_SECONDS: Final = 60.0
_LATEST_SECONDS: Final = 2.0


class InstrumentChangeList(ChangeList):
    """A page of instruments that asks the bus once for the latest ticks of all of them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        latest = latest_of([instrument.symbol for instrument in self.result_list])
        for instrument in self.result_list:
            instrument.latest = latest.get(instrument.symbol)


@admin.register(Instrument)
class InstrumentAdmin(InstrumentModelAdmin):
    list_display = ["symbol", "name", "active", "latest_price", "latest_time", "age"]
    list_editable = ["active"]
    list_filter = ["active"]
    show_facets = admin.ShowFacets.NEVER
    search_fields = ["symbol", "name"]

    def get_changelist(self, *_: Any, **__: Any) -> type[ChangeList]:
        return InstrumentChangeList

    @admin.display(description="latest price")
    def latest_price(self, instrument: Instrument) -> str | None:
        tick = _latest(instrument)
        return tick.price if tick is not None else None

    @admin.display(description="at")
    def latest_time(self, instrument: Instrument) -> str | None:
        tick = _latest(instrument)
        return tick.timestamp if tick is not None else None

    @admin.display(description="age")
    def age(self, instrument: Instrument) -> str | None:
        """By the tick's own time; one that is active and has not ticked for a minute is stale."""
        tick = _latest(instrument)
        if tick is None:
            return None
        seconds = (timezone.now() - datetime.fromisoformat(tick.timestamp)).total_seconds()
        is_stale = instrument.active and seconds > STALE_SECONDS
        return f"{length(seconds)}, stale" if is_stale else length(seconds)


def length(seconds: float) -> str:
    """Of time, to two of its units."""
    minutes, seconds = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def latest_of(symbols: Sequence[str]) -> dict[str, Placed]:
    """The latest tick of each of ``symbols``; nothing if the bus does not say: the page works without."""
    try:
        return async_to_sync(_latest_of)([symbol for symbol in symbols if is_symbol(symbol)])
    except (BusUnavailable, TimeoutError):
        return {}


async def _latest_of(symbols: Sequence[str]) -> dict[str, Placed]:
    async with asyncio.timeout(_LATEST_SECONDS):
        return await publish.latest_of(symbols)


def _latest(instrument: Instrument) -> Tick | None:
    latest: Placed | None = getattr(instrument, "latest", None)
    return None if latest is None else latest.tick
