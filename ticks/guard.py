"""django-axes as a backend of logins. By itself: a project that does without axes has not even its models."""

from __future__ import annotations

from typing import Any

from axes.backends import AxesStandaloneBackend
from django.http import HttpRequest

__all__ = ["Guard"]


class Guard(AxesStandaloneBackend):  # type: ignore[misc] # axes has no types
    """Asks axes; a command that logs somebody in has no request, and nothing to count."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        if request is not None:
            super().authenticate(request, **credentials)
