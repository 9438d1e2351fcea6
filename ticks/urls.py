"""Paths of the API, below /api/v1/."""

from django.urls import path, re_path

from ticks.compression import compressed
from ticks.views import AccessView, ApiNotFoundView, TickDetailView, TickListView, TokenView

urlpatterns = [
    path("ticks", compressed(TickListView.as_view()), name="ticks"),
    # A symbol may hold a slash (EUR/USD), percent-encoded or not.
    path("ticks/<path:symbol>", TickDetailView.as_view(), name="tick"),
    path("access", AccessView.as_view(), name="access"),
    path("tokens", TokenView.as_view(), name="tokens"),
    re_path(r"", ApiNotFoundView.as_view()),
]
