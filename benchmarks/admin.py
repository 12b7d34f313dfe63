"""W1, W2: how long the admin's list pages and the API's lists take, and how many queries each asks, in full tables.

One million messages, 100,000 invocations, 1,000 bridges. The pages are drawn by Django in this process: no server and no
network between, which add some milliseconds.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import Figure, median, ms, percentile
from benchmarks.ingest import database

IDS = ("W1", "W2")

MESSAGES, INVOCATIONS, BRIDGES = 1_000_000, 100_000, 1_000
PEOPLE, ROOMS = 2_000, 500
ROUNDS = 7
GOAL_S = 0.3
MAX_QUERIES = 30
SEARCHES = ("gateway/message/?q=pipeline+worker", "gateway/invocation/?q=agent-7", "gateway/bridge/?q=bridge-7",
            "gateway/user/?q=person-7", "gateway/room/?q=room-7", "gateway/invocation/?state__exact=failed",
            "gateway/message/?p=2000", "gateway/bridge/?is=asleep")  # fmt: skip


def measure() -> Iterator[Figure]:
    with database():
        fill()
        client = browser()
        counts = {path: queries(client, path) for path in pages()}
        times = timed(client, list(counts))
    yield _times_figure(times)
    yield _queries_figure(counts)


def timed(client: Any, paths: list[str]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {path: [] for path in paths}
    for _ in range(ROUNDS):
        for path in paths:
            started = time.perf_counter()
            get(client, path)
            times[path].append(time.perf_counter() - started)
    return times


def _times_figure(times: dict[str, list[float]]) -> Figure:
    every = [one for found in times.values() for one in found]
    slowest = sorted(times, key=lambda path: -percentile(times[path], 0.95))[:6]
    worst = percentile(times[slowest[0]], 0.95)
    told = ", ".join(f"{path} {ms(percentile(times[path], 0.95))} ({ms(median(times[path]))})" for path in slowest)
    return Figure(
        id="W1",
        what="a list page of the admin or the API, p95 of the slowest",
        value=ms(worst),
        goal="300 ms",
        is_met=worst < GOAL_S,
        note=f"{len(times)} pages × {ROUNDS}; p95 over all {ms(percentile(every, 0.95))}; slowest (median): {told}",
    )


def _queries_figure(counts: dict[str, int]) -> Figure:
    most = sorted(counts, key=lambda path: -counts[path])
    return Figure(
        id="W2",
        what="queries of a page, the most",
        value=str(counts[most[0]]),
        goal=f"{MAX_QUERIES}",
        is_met=counts[most[0]] <= MAX_QUERIES,
        note=", ".join(f"{path} {counts[path]}" for path in most),
    )


def pages() -> Iterator[str]:
    import admin_ui.urls  # which fills the site
    from admin_ui.site import site
    from gateway.api.urls import router

    if not admin_ui.urls.urlpatterns:
        raise RuntimeError("the site has no pages")
    yield "/admin/"
    yield "/admin/tools/"
    for model in site._registry:
        yield f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    for path in SEARCHES:
        yield f"/admin/{path}"
    for prefix, _, _ in router.registry:
        yield f"/api/v1/{prefix}"
    yield "/api/v1/stats"


def browser() -> Any:
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.test import Client

    from gateway import parts

    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.ALLOWED_HOSTS = ["testserver"]
    parts._ask = list
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("bench"), "django.contrib.auth.backends.ModelBackend")
    return client


def get(client: Any, path: str) -> None:
    answer = client.get(path)
    if answer.status_code != 200:
        raise RuntimeError(f"{path} answered {answer.status_code}")


def queries(client: Any, path: str) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as asked:
        get(client, path)
    return len(asked)


def fill() -> None:
    """Rows as they are after some months, each table's copied from one that the models made; triggers sleep meanwhile."""
    from django.db import connection

    first = _first_rows()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("SET statement_timeout = 0")
    _fill_team(first)
    _fill_talk(first)
    _fill_work(first)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("RESET session_replication_role")
        cursor.execute("RESET statement_timeout")


@dataclass(frozen=True, slots=True)
class _First:
    """Ids of the rows that are copied."""

    user: int
    room: int
    bridge: int
    agent: int
    message: int
    row: int

    @property
    def person(self) -> str:
        return f"{self.user} + n % {PEOPLE}"

    @property
    def place(self) -> str:
        return f"{self.room} + n % {ROOMS}"


def _first_rows() -> _First:
    from django.utils import timezone

    from composer.models import Prompt
    from gateway import audit
    from gateway.models import Agent, Bridge, Invocation, Message, Room, User
    from runtime.models import Chunk

    now = timezone.now()
    user = User.objects.create(rocketchat_id="u0", username="person-0")
    room = Room.objects.create(rid="r0", kind="channel", name="room-0")
    bridge = Bridge.objects.create(name="bridge-0", owner=user, token_digest="0" * 64, client_version="1.0")
    agent = Agent.objects.create(
        slug="agent-0", cli_kind="claude", bridge=bridge, owner=user, persona="Be terse. " * 20
    )
    message = Message.objects.create(rc_id="m0", room=room, user=user, ts=now, rc_updated_at=now, remembered_at=now)
    row = Invocation.objects.create(
        message=message, agent=agent, room=room, session_key="r0", asker_user=user, root_asker=user, wait_until=now
    )
    Prompt.objects.create(invocation=row, fence=1, text="a line " * 1_000, token_count=3_000, budget=8_000)
    Chunk.objects.create(invocation=row, seq=1, kind="text", payload="{}")
    audit.record(actor="site:olga", action="room_changed", target="r0")
    return _First(user.pk, room.pk, bridge.pk, agent.pk, message.pk, row.pk)


def _fill_team(first: _First) -> None:
    from gateway.models import Agent, Bridge, Room, User

    multiply(User, PEOPLE, rocketchat_id="'u' || n", username="'person-' || n")
    multiply(Room, ROOMS, rid="'r' || n", name="'room-' || n")
    digest = "encode(sha256(n::text::bytea), 'hex')"
    lease = "CASE WHEN n % 2 = 0 THEN now() + interval '1 hour' END"
    multiply(Bridge, BRIDGES, name="'bridge-' || n", owner_id=first.person, token_digest=digest, lease_until=lease)
    multiply(Agent, BRIDGES, slug="'agent-' || n", bridge_id=f"{first.bridge} + n", owner_id=first.person)


def _fill_talk(first: _First) -> None:
    from gateway.models import Message

    words = "'the build ' || n || ' fails since the pipeline moved to another worker, see the log of stage ' || n % 17"
    at = f"now() - ({MESSAGES} - n) * interval '5 seconds'"
    multiply(Message, MESSAGES, rc_id="'m' || n", room_id=first.place, user_id=first.person, text=words, ts=at)


def _fill_work(first: _First) -> None:
    from composer.models import Prompt
    from gateway.models import AuditEntry, Invocation
    from runtime.models import Chunk

    at = f"now() - ({INVOCATIONS} - n) * interval '50 seconds'"
    has_failed = "n % 20 = 0"
    multiply(
        Invocation,
        INVOCATIONS,
        message_id=f"{first.message} + n * {MESSAGES // INVOCATIONS}",
        agent_id=f"{first.agent} + n % {BRIDGES}",
        room_id=first.place,
        root_asker_id=first.person,
        asker_user_id=first.person,
        state=f"CASE WHEN {has_failed} THEN 'failed' ELSE 'done' END",
        reason=f"CASE WHEN {has_failed} THEN 'wall_limit' ELSE '' END",
        opened_at=at,
        first_text_at=f"{at} + interval '2 seconds'",
        ended_at=f"{at} + interval '9 seconds'",
        reply_settled_at=at,
        input_tokens="4000",
        output_tokens="300",
        cost_usd="0.02",
    )
    multiply(Prompt, INVOCATIONS // 5, invocation_id=f"{first.row} + n")
    multiply(Chunk, INVOCATIONS, invocation_id=f"{first.row} + n")
    multiply(AuditEntry, INVOCATIONS, target="'r' || n")


def multiply(model: Any, count: int, **columns: str) -> None:
    """`count` copies of the table's one row; `columns` are SQL over n, from 1."""
    from django.db import connection

    kept = [one.column for one in model._meta.concrete_fields if one.column and not _is_id(one)]
    picked = ", ".join(columns.get(name, f't."{name}"') for name in kept)
    names = ", ".join(f'"{name}"' for name in kept)
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({names}) SELECT {picked} FROM (SELECT * FROM {table} LIMIT 1) t,"  # noqa: S608 - ours
            f" generate_series(1, {count}) n"
        )


def _is_id(column: Any) -> bool:
    return column.get_internal_type() == "BigAutoField"
