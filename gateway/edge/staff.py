"""What staff may ask the API: how all workers are, and who is connected to them."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from gateway.edge import picture, roster
from gateway.edge.watch import get_watch
from ticks import lookups
from ticks.views import AsyncAPIView

__all__ = ["SEES_CONNECTIONS", "ConnectionsView", "NodesView"]

SEES_CONNECTIONS: Final = "marketmux_ticks.view_connection"
"""The permission to know who is connected, here and in the admin."""

_MOST_WANTED: Final = 100
"""Characters of a search."""


class IsStaff(BasePermission):
    """Lets in who may see the admin's front page."""

    message = "This needs a login of staff."

    def has_permission(self, request: Request, _view: APIView) -> bool:
        return bool(request.user and request.user.is_active and request.user.is_staff)


class SeesConnections(IsStaff):
    """Lets in who may see connections in the admin."""

    message = "This needs a login of staff that may view connections."

    def has_permission(self, request: Request, view: APIView) -> bool:
        return super().has_permission(request, view) and request.user.has_perm(SEES_CONNECTIONS)


class NodesView(AsyncAPIView):
    """All workers of all gateways on the bus, with their figures; the slowest clients, for who may see connections."""

    permission_classes = [IsStaff]
    name = "Nodes"

    async def get(self, request: Request) -> Response:
        taken = await picture.take()
        if not await lookups.ask(request.user.has_perm, SEES_CONNECTIONS):
            taken.slow = []
        return Response(msgspec.to_builtins(taken), headers={"Cache-Control": "no-store"})


class ConnectionsView(AsyncAPIView):
    """Who is connected to any worker of any gateway on the bus; with `?q=` those of a key, user, address or symbol."""

    permission_classes = [SeesConnections]
    name = "Connections"

    async def get(self, request: Request) -> Response:
        wanted = request.query_params.get("q", "").strip()[:_MOST_WANTED]
        after = request.query_params.get("after", "")[:_MOST_WANTED]
        found = await roster.ask(get_watch(), wanted, after=after)
        return Response(answer(found), headers={"Cache-Control": "no-store"})


def answer(found: roster.Roster) -> dict[str, Any]:
    """A roster as the API has it."""
    return {
        "count": found.matching,
        "connections": found.connections,
        "publishers": found.publishers,
        "behind": found.behind,
        "workers": found.workers,
        "is_whole": found.is_whole,
        "next": found.next,
        "results": found.rows,
    }
