"""The admin of recorded ticks, of which there may be many millions: to look at, to narrow down and to export.

Every list is read along an index, and no query looks at more than some thousand rows: it runs in a process that serves
ticks. So a list is narrowed down by symbol and time alone and has one order, what there is of it is counted up to a
bound, and what is exported is read by a process of its own (``manage.py export_ticks``).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict, StreamingHttpResponse
from django.urls import path
from django.utils import timezone
from django.utils.functional import cached_property

from ticks import exporting
from ticks.access.audit_admin import ReadOnly
from ticks.models import RecordedTick

__all__ = ["RecordedTickAdmin", "period_of"]

if TYPE_CHECKING:
    RecordedTickModelAdmin = admin.ModelAdmin[RecordedTick]
    RecordedTickPaginator = Paginator[RecordedTick]
else:
    RecordedTickModelAdmin = admin.ModelAdmin
    RecordedTickPaginator = Paginator

_COUNTED: Final = 10_000
"""Ticks that are counted, and that can be paged through."""


_SPANS: Final = {
    "1m": ("Last minute", timedelta(minutes=1)),
    "15m": ("Last 15 minutes", timedelta(minutes=15)),
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
}


class Choice(NamedTuple):
    """Which ticks are meant: those of one symbol or of all, in a span of time; none of several symbols at once."""

    symbols: frozenset[str]
    since: datetime | None
    until: datetime | None

    @classmethod
    def of(cls, query: QueryDict) -> Choice:
        """What the filters and the words of the search say."""
        text = query.get("q", "").strip()
        periods = []
        for word in text.split():
            if (period := period_of(word)) is not None:
                periods.append(period)
                text = text.replace(word, "\n", 1)  # what is left is a symbol, which may have spaces within it
        symbols = {part.strip() for part in text.split("\n") if part.strip()}
        if symbol := query.get(SymbolFilter.parameter_name):
            symbols.add(symbol)
        since = [start for start, _ in periods]
        if span := _SPANS.get(query.get(TimeFilter.parameter_name, "")):
            since.append(timezone.now() - span[1])
        until = [end for _, end in periods]
        return cls(frozenset(symbols), max(since, default=None), min(until, default=None))

    def ticks(self) -> QuerySet[RecordedTick]:
        if len(self.symbols) > 1:
            return RecordedTick.objects.none()  # the database would look for them among all ticks of one
        return exporting.chosen(next(iter(self.symbols), None), self.since, self.until)

    def arguments(self) -> list[str]:
        """Of ``manage.py export_ticks``."""
        found = [f"--symbol={symbol}" for symbol in self.symbols]
        times = (("since", self.since), ("until", self.until))
        return found + [f"--{name}={at.isoformat()}" for name, at in times if at is not None]


class _Shown(admin.SimpleListFilter):
    """A filter that is applied with the search, of which it is a part."""

    def queryset(self, _request: HttpRequest, queryset: QuerySet[RecordedTick]) -> QuerySet[RecordedTick]:
        return queryset


class SymbolFilter(_Shown):
    """One symbol. There is no list to choose from: it would be as long as there are instruments."""

    title = "symbol"
    parameter_name = "symbol"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        value = self.value()
        return [(value, value)] if value else []


class TimeFilter(_Shown):
    """The last minutes, hours or days. (``date_hierarchy`` would read the time of every row to list the days.)"""

    title = "time"
    parameter_name = "last"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(value, title) for value, (title, _) in _SPANS.items()]


class BoundedPaginator(RecordedTickPaginator):
    """Counts so many ticks and no more: a full count of a large table takes longer than the page is worth."""

    @cached_property
    def count(self) -> int:
        ticks = cast("QuerySet[RecordedTick]", self.object_list)
        return ticks.order_by()[:_COUNTED].count()


class RecordedTickChangeList(ChangeList):
    """One order, the newest first; and how many there are, in words that are true."""

    how_many = ""

    def get_ordering(self, _request: HttpRequest, _queryset: QuerySet[Any]) -> list[Any]:
        return ["-at", "-pk"]  # whatever the query says: any other would sort the whole table

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if self.result_count < _COUNTED:
            self.how_many = f"{self.result_count:,} recorded tick{'' if self.result_count == 1 else 's'}"
        elif any(Choice.of(request.GET)):
            self.how_many = f"{_COUNTED:,} recorded ticks or more, of which the newest {_COUNTED:,} are listed"
        else:
            total = RecordedTick.objects.about()
            self.how_many = f"about {total:,} recorded ticks, of which the newest {_COUNTED:,} are listed"


@admin.register(RecordedTick)
class RecordedTickAdmin(ReadOnly, RecordedTickModelAdmin):
    """Read-only; every way to narrow the list down uses an index."""

    list_display = ["symbol", "price", "bid", "ask", "size", "timestamp", "extra", "seq", "epoch", "recorded_at"]
    list_filter = [SymbolFilter, TimeFilter]
    sortable_by = ()
    search_fields = ["symbol__exact"]
    search_help_text = "A symbol, a time in UTC (2026-05-12, 2026-05-12T15, 2026-05-12T15:04 or with seconds), or both."
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would be a count of its own

    def get_changelist(self, *_: Any, **__: Any) -> type[ChangeList]:
        return RecordedTickChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """No column but by the filters: ``?price=1`` would read the whole table."""
        return lookup in {SymbolFilter.parameter_name, TimeFilter.parameter_name}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[RecordedTick], _search_term: str
    ) -> tuple[QuerySet[RecordedTick], bool]:
        return Choice.of(request.GET).ticks(), False

    def get_urls(self) -> Any:
        view = self.admin_site.admin_view(self.export_view)
        return [path("export/", view, name="marketmux_ticks_recordedtick_export"), *super().get_urls()]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """A file that is made while it is sent."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        choice = Choice.of(request.GET)
        if len(choice.symbols) > 1:
            return HttpResponse("One symbol at a time.", status=400, content_type="text/plain")
        if exporting.is_busy():
            return HttpResponse("Others are exporting. Try again later.", status=503, content_type="text/plain")
        response = StreamingHttpResponse(exporting.beside(*choice.arguments()), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="ticks.csv"'
        response["Cache-Control"] = "no-store"
        return response


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
