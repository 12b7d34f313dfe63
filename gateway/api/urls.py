"""Paths below /api/v1/."""

from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularJSONAPIView
from rest_framework.routers import SimpleRouter

from gateway.api import bridges, docs, errors, knowledge, people, records, session, stream, tools, work

router = SimpleRouter(trailing_slash=False)
for _prefix, _view in (
    ("bridges", bridges.Bridges),
    ("agents", people.Agents),
    ("users", people.Users),
    ("projects", people.Projects),
    ("rooms", people.Rooms),
    ("messages", work.Messages),
    ("invocations", work.Invocations),
    ("grants", work.Grants),
    ("mcp-servers", tools.Servers),
    ("tool-leaves", tools.Leaves),
    ("facts", knowledge.Facts),
    ("landmarks", knowledge.Landmarks),
    ("memories", knowledge.Memories),
    ("audit", records.Entries),
):
    router.register(_prefix, _view, basename=f"api-{_prefix}")

urlpatterns = [
    path("login", session.Login.as_view()),
    path("logout", session.Logout.as_view()),
    path("me", session.Who.as_view()),
    path("health", records.Health.as_view()),
    path("stats", records.Stats.as_view()),
    path("audit/verify", records.Verify.as_view()),
    path("invocations/<int:pk>/stream", stream.Stream.as_view()),
    path("mcp-secrets", tools.Secrets.as_view()),
    path("mcp-secrets/<str:name>", tools.OneSecret.as_view()),
    path("openapi.json", SpectacularJSONAPIView.as_view(urlconf="nexus_project.urls")),
    path("docs", docs.show),
    path("", include(router.urls)),
    re_path(r"", errors.no_such_path),
]
