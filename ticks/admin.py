"""The admin of instruments, with their latest price. Keys and users are in ticks/access/."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest

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

_LATEST_SECONDS: Final = 2.0

admin.site.site_header = "MarketMux"
admin.site.site_title = "MarketMux"
admin.site.index_title = "Administration"


class InstrumentChangeList(ChangeList):
    """A page of instruments that asks the bus once for the latest ticks of all of them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        latest = latest_of([instrument.symbol for instrument in self.result_list])
        for instrument in self.result_list:
            instrument.latest = latest.get(instrument.symbol)


@admin.register(Instrument)
class InstrumentAdmin(InstrumentModelAdmin):
    list_display = ["symbol", "name", "active", "latest_price", "latest_time"]
    list_editable = ["active"]
    list_filter = ["active"]
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
