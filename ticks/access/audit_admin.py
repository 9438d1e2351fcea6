"""The admin of the audit log: to read, to search and to export."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import path

from ticks import lookups
from ticks.access.export import FORMATS, pages
from ticks.access.models import AuditEntry

__all__ = ["AuditEntryAdmin", "ReadOnly"]

if TYPE_CHECKING:
    AuditEntryModelAdmin = admin.ModelAdmin[AuditEntry]
else:
    AuditEntryModelAdmin = admin.ModelAdmin


class ReadOnly:
    """What an admin is whose entries nobody may add, change or delete, superusers included."""

    def has_add_permission(self, *_: Any, **__: Any) -> bool:
        return False

    def has_change_permission(self, *_: Any, **__: Any) -> bool:
        return False

    def has_delete_permission(self, *_: Any, **__: Any) -> bool:
        return False


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly, AuditEntryModelAdmin):
    """What is on the page can be exported whole, with the filters and the search that it has."""

    list_display = ["at", "actor", "action", "subject", "detail"]
    list_filter = ["at", "action"]
    search_fields = ["actor", "subject"]
    actions = ["export_csv", "export_jsonl"]
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def get_urls(self) -> Any:
        view = self.admin_site.admin_view(self.export_view)
        return [path("export/<str:ending>/", view, name="marketmux_ticks_auditentry_export"), *super().get_urls()]

    def export_view(self, request: HttpRequest, ending: str) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if ending not in FORMATS:
            return HttpResponse("csv or jsonl", status=404, content_type="text/plain")
        try:
            entries = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return HttpResponse("There is no such filter.", status=400, content_type="text/plain")
        return _exported(request, entries, ending)

    @admin.action(description="Export selected entries as CSV", permissions=["view"])
    def export_csv(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> HttpResponseBase:
        return _exported(request, queryset, "csv")

    @admin.action(description="Export selected entries as JSON lines", permissions=["view"])
    def export_jsonl(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> HttpResponseBase:
        return _exported(request, queryset, "jsonl")


def _exported(request: HttpRequest, entries: QuerySet[AuditEntry], ending: str) -> HttpResponseBase:
    """A file that is made while it is sent."""
    kind, head, _ = FORMATS[ending]
    parts = _parts(entries, ending)
    response = StreamingHttpResponse(
        _from_loop(head, parts) if isinstance(request, ASGIRequest) else _from_thread(head, parts), content_type=kind
    )
    response["Content-Disposition"] = f'attachment; filename="audit.{ending}"'
    response["Cache-Control"] = "no-store"
    return response


def _parts(entries: QuerySet[AuditEntry], ending: str) -> Iterator[str]:
    lines = FORMATS[ending][2]
    return (lines(page) for page in pages(entries))


def _from_thread(head: str, parts: Iterator[str]) -> Iterator[str]:
    yield head
    yield from parts


async def _from_loop(head: str, parts: Iterator[str]) -> AsyncIterator[str]:
    yield head
    while (part := await lookups.ask(next, parts, None)) is not None:
        yield part
