"""The admin of who is connected, to any worker of any gateway on the bus."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from gateway.edge import roster
from gateway.edge.roster import MOST_ROWS, Roster
from gateway.edge.watch import get_watch
from ticks.access import audit
from ticks.access.models import ApiKey, Connection
from ticks.admin import InstrumentAdmin, InstrumentChangeList, length
from ticks.models import Instrument

if TYPE_CHECKING:
    ConnectionModelAdmin = admin.ModelAdmin[Connection]
else:
    ConnectionModelAdmin = admin.ModelAdmin


_PAGE: Final = 100
"""Connections on a page."""


@admin.register(Connection)
class ConnectionAdmin(ConnectionModelAdmin):
    """A list without a table: workers are asked each time."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        wanted = request.GET.get("q", "").strip()[:100]
        if request.method == "POST":
            if not self.has_change_permission(request):
                raise PermissionDenied
            self._act(request, request.POST.get("action", ""), request.POST.getlist("id")[:MOST_ROWS])
            return HttpResponseRedirect(request.get_full_path())
        after = request.GET.get("after", "")[:100]
        found = _ask(wanted, after=after)
        for row in found.rows:
            row["at"] = datetime.fromtimestamp(row["since"], UTC)
            row["age"] = length(time.time() - row["since"])
            if row["bytes"] is not None:
                row["speed"] = row["bytes"] / max(1.0, time.time() - row["since"])
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Connections",
            "found": found,
            "wanted": wanted,
            "after": after,
            "may_change": self.has_change_permission(request),
            "may_revoke": self._may_revoke(request),
            **(extra_context or {}),
        }
        response = TemplateResponse(request, "admin/marketmux_ticks/connection/change_list.html", context)
        response["Cache-Control"] = "no-store"
        return response

    def change_view(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:marketmux_ticks_connection_changelist"))

    def has_add_permission(self, *_: Any, **__: Any) -> bool:
        return False

    def has_delete_permission(self, *_: Any, **__: Any) -> bool:
        return False

    def _may_revoke(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request) and request.user.has_perm("marketmux_ticks.change_apikey")

    def _act(self, request: HttpRequest, action: str, ids: list[str]) -> None:
        rows = _ask(ids=ids).rows if ids else []  # asked anew: what the form says of them is not believed
        if action == "kick":
            self._kick(request, rows)
        elif action == "revoke" and self._may_revoke(request):
            self._revoke(request, rows)
        else:
            raise PermissionDenied

    def _kick(self, request: HttpRequest, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            subject = f"{row['owner'] or 'connection'} {row['who']}"
            audit.note("kicked", subject, address=row["address"], connection=row["id"], publishes=row["publishes"])
        if rows and not async_to_sync(_kick)([row["id"] for row in rows]):
            self.message_user(
                request,
                "The bus is away: only connections of the worker that shows this page were kicked.",
                messages.WARNING,
            )
            return
        self.message_user(request, f"Kicked {len(rows)} connections; they may come back.", messages.SUCCESS)

    def _revoke(self, request: HttpRequest, rows: list[dict[str, Any]]) -> None:
        pks = {row["owner"].removeprefix("key:") for row in rows if row["owner"].startswith("key:")}
        revoked = [key for key in ApiKey.objects.select_for_update().filter(pk__in=pks) if key.revoke()]
        self.message_user(request, f"Revoked {len(revoked)} API keys, with all their connections.", messages.SUCCESS)


class FollowedChangeList(InstrumentChangeList):
    """A page of instruments that asks the workers once for the subscribers of all of them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        followed = async_to_sync(roster.audience)([instrument.symbol for instrument in self.result_list])
        for instrument in self.result_list:
            instrument.subscribers = followed.get(instrument.symbol)


class FollowedInstrumentAdmin(InstrumentAdmin):
    """With how many clients have subscribed to each by name, on all workers of all gateways on the bus."""

    list_display = [*InstrumentAdmin.list_display, "subscribers"]

    def get_changelist(self, *_: Any, **__: Any) -> type[ChangeList]:
        return FollowedChangeList

    @admin.display(description="subscribers by name")
    def subscribers(self, instrument: Instrument) -> int | None:
        found: int | None = getattr(instrument, "subscribers", None)
        return found


admin.site.unregister(Instrument)
admin.site.register(Instrument, FollowedInstrumentAdmin)


def _ask(wanted: str = "", ids: list[str] | None = None, *, after: str = "") -> Roster:
    async def asked() -> Roster:
        return await roster.ask(get_watch(), wanted, ids or (), after=after, most=MOST_ROWS if ids else _PAGE)

    return async_to_sync(asked)()


async def _kick(ids: list[str]) -> bool:
    return await roster.kick(get_watch(), ids)
