"""All HTTP paths of the gateway, for a project's ``include("gateway.urls")`` at its root."""

from django.urls import include, path

app_name = "marketmux"

urlpatterns = [
    path("", include("gateway.edge.urls")),
    path("api/v1/", include("ticks.urls")),
]
