"""HTTP paths of the gateway itself."""

from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from gateway.edge.debug import staff_debug, staff_speedscope
from gateway.edge.documents import api_page, openapi, problem_kind
from gateway.edge.live import staff_live
from gateway.edge.page import index, instruments
from gateway.edge.probes import healthz, livez, readyz
from gateway.edge.sse import not_here
from gateway.edge.staff import ConnectionsView, NodesView
from gateway.edge.views import asyncapi, metrics, upgrade_required, websockets_page

urlpatterns = [
    path("", index, name="index"),
    path("instruments", instruments, name="instruments"),
    path("ws", upgrade_required),
    path("ws/publish", upgrade_required),
    path("livez", livez, name="livez"),
    path("readyz", readyz, name="readyz"),
    path("admin/live/", staff_live, name="admin-live"),
    path("debug/", staff_debug, name="debug"),
    path("debug/speedscope.json", staff_speedscope, name="debug-speedscope"),
    path("healthz", healthz, name="healthz"),
    path("metrics", metrics, name="metrics"),
    path("api/v1/stream", csrf_exempt(not_here), name="stream"),
    path("api/v1/asyncapi.json", asyncapi, name="asyncapi"),
    path("api/v1/openapi.json", openapi, name="openapi"),
    path("api/v1/docs", api_page, name="api"),
    path("api/v1/docs/websockets", websockets_page, name="websockets"),
    path("api/v1/nodes", NodesView.as_view(), name="nodes"),
    path("api/v1/connections", ConnectionsView.as_view(), name="connections"),
    path("api/v1/problems/<slug:code>", problem_kind),
]
