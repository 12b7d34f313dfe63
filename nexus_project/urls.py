"""HTTP paths of the gateway."""

from django.urls import URLResolver, path
from django.urls.resolvers import RoutePattern

from gateway import bridge_http, downloads, health, links

urlpatterns = [
    path("healthz", health.healthz),
    path("metrics", health.metrics),
    path("bridge/check", bridge_http.check),
    path("bridge/join", bridge_http.join),
    path("join", bridge_http.join_page),
    path("bridge/files/", bridge_http.send_file),
    path("bridge/files/<int:file_id>", bridge_http.fetch_file),
    path("client/", downloads.listing),
    path("client/<str:name>", downloads.wheel),
    path("m/<str:rc_id>", links.follow),
    # By name, so that their modules are imported when somebody asks for them: a gateway that nobody looks into stays small.
    URLResolver(RoutePattern("api/v1/"), "gateway.api.urls"),
    URLResolver(RoutePattern("admin/"), "admin_ui.urls", app_name="admin", namespace="admin"),
]
