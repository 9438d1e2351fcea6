"""The admin: instruments with their latest price, recorded ticks to look at. Keys and users are in ticks/access/."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property

from bus.contract import BusUnavailable
from ticks import publish
from ticks.access import admin as access_admin  # noqa: F401 - registers what is there
from ticks.access import audit_admin  # noqa: F401
from ticks.grammar import is_symbol
from ticks.models import Instrument, RecordedTick
from ticks.tick import Placed, Tick

if TYPE_CHECKING:
    InstrumentModelAdmin = admin.ModelAdmin[Instrument]
    RecordedTickModelAdmin = admin.ModelAdmin[RecordedTick]
    RecordedTickPaginator = Paginator[RecordedTick]
else:
    InstrumentModelAdmin = RecordedTickModelAdmin = admin.ModelAdmin
    RecordedTickPaginator = Paginator

_LATEST_SECONDS: Final = 2.0
_COUNTED_TICKS: Final = 10_000

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


class SymbolFilter(admin.SimpleListFilter):
    """The known instruments: the symbols in millions of ticks would take a scan of them all to list."""

    title = "symbol"
    parameter_name = "symbol"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(symbol, symbol) for symbol in Instrument.objects.values_list("symbol", flat=True)]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[RecordedTick]) -> QuerySet[RecordedTick]:
        return queryset.filter(symbol=self.value()) if self.value() else queryset


class TimeFilter(admin.SimpleListFilter):
    """The last minutes, hours or days. (``date_hierarchy`` would read the time of every row to list the days.)"""

    title = "time"
    parameter_name = "last"

    _SPANS: Final = {
        "1m": ("Last minute", timedelta(minutes=1)),
        "15m": ("Last 15 minutes", timedelta(minutes=15)),
        "1h": ("Last hour", timedelta(hours=1)),
        "24h": ("Last 24 hours", timedelta(hours=24)),
        "7d": ("Last 7 days", timedelta(days=7)),
    }

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(value, title) for value, (title, _) in self._SPANS.items()]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[RecordedTick]) -> QuerySet[RecordedTick]:
        value = self.value()
        if value not in self._SPANS:
            return queryset
        return queryset.filter(at__gte=timezone.now() - self._SPANS[value][1])


class BoundedPaginator(RecordedTickPaginator):
    """Counts so many ticks and no more: a full count of a large table takes longer than the page is worth."""

    @cached_property
    def count(self) -> int:
        ticks = cast("QuerySet[RecordedTick]", self.object_list)
        return ticks.order_by()[:_COUNTED_TICKS].count()


@admin.register(RecordedTick)
class RecordedTickAdmin(RecordedTickModelAdmin):
    """Read-only; every way to narrow the list down uses an index."""

    list_display = ["symbol", "price", "bid", "ask", "size", "timestamp", "extra", "seq", "epoch", "recorded_at"]
    list_filter = [SymbolFilter, TimeFilter]
    search_fields = ["symbol__exact"]
    search_help_text = "A symbol, a time in UTC (2026-05-12, 2026-05-12T15, 2026-05-12T15:04 or with seconds), or both."
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would be a count of its own

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[RecordedTick], search_term: str
    ) -> tuple[QuerySet[RecordedTick], bool]:
        words = []
        for word in search_term.split():
            period = period_of(word)
            if period is None:
                words.append(word)
            else:
                queryset = queryset.filter(at__gte=period[0], at__lt=period[1])
        return super().get_search_results(request, queryset, " ".join(words))

    def has_add_permission(self, *_: Any, **__: Any) -> bool:
        return False

    def has_change_permission(self, *_: Any, **__: Any) -> bool:
        return False

    def has_delete_permission(self, *_: Any, **__: Any) -> bool:
        return False


_PERIODS: Final = (
    ("%Y-%m-%d", timedelta(days=1)),
    ("%Y-%m-%dT%H", timedelta(hours=1)),
    ("%Y-%m-%dT%H:%M", timedelta(minutes=1)),
    ("%Y-%m-%dT%H:%M:%S", timedelta(seconds=1)),
)


def period_of(text: str) -> tuple[datetime, datetime] | None:
    """Start and end of the day, hour, minute or second of UTC that ``text`` names; None if it names none."""
    for layout, length in _PERIODS:
        try:
            start = datetime.strptime(text.removesuffix("Z"), layout).replace(tzinfo=UTC)
            return start, start + length
        except (ValueError, OverflowError):
            continue
    return None
