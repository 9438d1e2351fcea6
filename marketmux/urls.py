"""HTTP paths of the project."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("gateway.urls")),
    path("api/auth/", include("rest_framework.urls")),
    path("admin/", admin.site.urls),
]

handler400 = "gateway.edge.failures.bad_request"
handler404 = "gateway.edge.failures.not_found"
handler500 = "gateway.edge.failures.server_error"
