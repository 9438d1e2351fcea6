"""The admin's site, which looks at no query that its own pages would not ask."""

from __future__ import annotations

from functools import wraps
from typing import Any, Final

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse

__all__ = ["MAX_QUERY_LENGTH", "BoundedAdminSite"]

MAX_QUERY_LENGTH: Final = 1_024
"""Most characters of a query string. A word of a search or an order is a clause of SQL, and each costs its time."""


class BoundedAdminSite(AdminSite):
    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        inner = super().admin_view(view, cacheable)

        @wraps(inner)
        def bounded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if len(request.META.get("QUERY_STRING", "")) > MAX_QUERY_LENGTH:
                return HttpResponse("The query is too long.", status=414, content_type="text/plain")
            return inner(request, *args, **kwargs)

        return bounded
