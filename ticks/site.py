"""The admin's site: it looks at no query that its own pages would not ask, and enters who changed what."""

from __future__ import annotations

from functools import wraps
from typing import Any, Final

from django.contrib.admin import AdminSite
from django.db import transaction
from django.http import HttpRequest

from ticks.access import audit
from ticks.refusals import refusal

__all__ = ["MAX_QUERY_LENGTH", "BoundedAdminSite"]

MAX_QUERY_LENGTH: Final = 1_024
"""Most characters of a query string. A word of a search or an order is a clause of SQL, and each costs its time."""


class BoundedAdminSite(AdminSite):
    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        inner = super().admin_view(view, cacheable)

        @wraps(inner)
        def bounded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if len(request.META.get("QUERY_STRING", "")) > MAX_QUERY_LENGTH:
                return refusal(request, 414, "uri_too_long", "The query is too long.")
            return self._acting(request, inner, *args, **kwargs)

        return bounded

    def _acting(self, request: HttpRequest, view: Any, *args: Any, **kwargs: Any) -> Any:
        """Answers with the view. What it changes, and who did, are in one transaction."""
        if request.method != "POST" or not self.has_permission(request):
            return view(request, *args, **kwargs)
        with audit.acting(f"user {request.user.get_username()}"), transaction.atomic():
            return view(request, *args, **kwargs)
