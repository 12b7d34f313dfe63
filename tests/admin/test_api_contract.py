"""Does the API do what its OpenAPI document says? Every operation, with good and bad requests made from the document."""

import json
import re

import hypothesis
import pytest
import requests
import schemathesis
from asgiref.sync import sync_to_async
from django.db.models.functions import Now
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from schemathesis import GenerationMode

from composer.memory import client as memory
from docker.ports import free_ports
from gateway.api import stream
from gateway.api.urls import router
from gateway.invocations import request_cancel
from gateway.models import FINAL, Invocation
from runtime.models import Chunk
from tests.admin import rows
from tests.admin.asking import send
from tests.server.devchat_process import ADMIN, PASSWORD, people_and_rooms, running_devchat

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.timeout(300)]

EXAMPLES = 12
THERE = {"POST /api/v1/bridges": {"user": "alice", "role": "desk", "rooms": ["backend"]}}
"""What of a body must name something for the operation to go on."""


def document():
    return SchemaGenerator().get_schema(request=None, public=True)


def operations():
    found = schemathesis.openapi.from_dict(document()).get_all_operations()
    return [one.ok() for one in found]  # type: ignore[union-attr]  # a bad document fails here


@pytest.fixture
def quiet(monkeypatch, settings, tmp_path):
    """A chat with Alice, Bob and #backend; no memory and no MCP server to ask."""
    settings.NEXUS_MCP_SECRETS = str(tmp_path / "secrets.env")
    settings.NEXUS_ROCKETCHAT_ADMIN, settings.NEXUS_ROCKETCHAT_ADMIN_PASSWORD = ADMIN, PASSWORD
    monkeypatch.setattr(memory, "call", lambda *_, **__: b"{}")
    monkeypatch.setattr(stream, "database_sync_to_async", sync_to_async)  # that would close the test's own connection
    with running_devchat(tmp_path) as chat:
        people_and_rooms(chat)
        settings.NEXUS_ROCKETCHAT_URL = chat.url
        yield


def test_the_document_is_valid_and_names_every_resource():
    paths = document()["paths"]

    assert {f"/api/v1/{prefix}" for prefix, _, _ in router.registry} <= set(paths)
    assert {"/api/v1/login", "/api/v1/health", "/api/v1/invocations/{id}/stream"} <= set(paths)


@pytest.mark.filterwarnings("ignore")
def test_every_operation_answers_as_documented(quiet, settings):
    """Zero server errors, zero undocumented statuses, answers of the documented form."""
    it = rows.everything()
    known = {"bridges": it.bridge.pk, "agents": it.agent.pk, "rooms": it.room.pk, "invocations": it.row.pk,
             "mcp-servers": it.server.pk, "users": it.bob.pk, "projects": it.project.pk}  # fmt: skip
    client = Client(raise_request_exception=False)
    headers = {"Authorization": f"Bearer {settings.NEXUS_ADMIN_TOKEN}"}
    troubles, met = [], set()
    for operation in sorted(operations(), key=_is_stream):
        if _is_stream(operation):
            _end_all()
        seen, answers = _try(operation, client=client, headers=headers, known=known)
        met |= {(operation.label, status) for status in answers}
        troubles += [f"{operation.label}: {trouble}" for trouble in seen]

    assert not troubles, "\n".join(troubles)
    assert {("POST /api/v1/bridges", 201), ("GET /api/v1/invocations/{id}/stream", 200)} <= met


def test_a_chat_that_is_away_is_no_error_of_the_server(api, quiet, settings):
    settings.NEXUS_ROCKETCHAT_URL = f"http://127.0.0.1:{free_ports(1)[0]}"

    answer = send(api, "POST", "bridges", {"user": "alice", "cli": "claude"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (424, "chat_trouble")


def _is_stream(operation):
    return operation.path.endswith("/stream")


def _end_all():
    """An open row's stream goes on until the row has ended."""
    for row in Invocation.objects.exclude(state__in=FINAL):
        request_cancel(invocation_id=row.pk, reason="stopped")
    Invocation.objects.exclude(state__in=FINAL).update(state="failed", reason="bridge_lost", ended_at=Now())
    assert Chunk.objects.exists()


def _try(operation, *, client, headers, known):
    """What was wrong, and the statuses that came."""
    troubles, statuses = [], set()
    strategies = [operation.as_strategy()]
    if operation.body:
        strategies.append(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE, path_parameters={"id": 1}))

    @hypothesis.given(cases=hypothesis.strategies.tuples(*strategies))
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        phases=[hypothesis.Phase.generate],
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def one(cases):
        for sent in (cases[0], *(_of_what_is_there(case, known) for case in cases)):
            answer = _send(sent, client=client, headers=headers)
            statuses.add(answer.status_code)
            troubles.extend(_complaints(sent, operation, answer))

    one()
    return troubles[:3], statuses


def _of_what_is_there(case, known):
    """The same request about a row, or for a person and a room, that is there."""
    resource = case.operation.path.split("/")[3]
    path, body = case.path_parameters, case.body
    if "id" in path and resource in known:
        path = {**path, "id": known[resource]}
    if case.operation.label in THERE and isinstance(body, dict):
        body = {**body, **THERE[case.operation.label]}
    return case.operation.Case(
        method=case.method,
        path_parameters=path,
        query=case.query,
        headers=case.headers,
        body=body,
        media_type=case.media_type,
    )


def _send(case, *, client, headers):
    given = case.as_transport_kwargs(base_url="http://testserver", headers=headers)
    is_json = given.get("json") is not None or case.media_type == "application/json"
    content = json.dumps(given["json"]) if given.get("json") is not None else given.get("data") or b""
    path = given["url"].removeprefix("http://testserver")
    sent = {str(name): str(value) for name, value in (given.get("headers") or {}).items()}
    kind = "application/json" if is_json else "application/octet-stream"
    sent.pop("Content-Type", None)
    query = given.get("params") or {}
    return client.generic(
        case.method, path, content if is_json else b"", content_type=kind, headers=sent, query_params=query
    )


def _complaints(case, operation, answer):
    documented = operation.definition.raw["responses"]
    if answer.status_code >= 500:
        return [f"{answer.status_code} for {case.as_curl_command()}"]
    if str(answer.status_code) not in documented:
        return [f"{answer.status_code} is not documented: {case.as_curl_command()} {answer.content[:200]!r}"]
    if answer.status_code >= 400:
        error = json.loads(answer.content)["error"]
        return [] if {"code", "message", "hint", "request_id"} == set(error) else [f"form of {error}"]
    if answer.streaming:
        return _stream(answer)
    if not answer.headers.get("Content-Type", "").startswith("application/json") or not answer.content:
        return []
    return _form(case, operation, answer)


def _stream(answer):
    told = b"".join(answer).decode()
    last = re.fullmatch(r'.*event: state\ndata: {"state": "([a-z]+)"}\n\n', told, re.DOTALL)
    is_whole = answer["Content-Type"] == "text/event-stream" and last is not None and last[1] in FINAL
    return [] if is_whole else [f"the stream says {told[-300:]!r}"]


def _form(case, operation, answer):
    try:
        operation.validate_response(_as_requests(case, answer))
    except (schemathesis.errors.SchemathesisError, AssertionError, ExceptionGroup) as error:
        return [f"{answer.status_code}: {str(error)[:300]}"]
    return []


def _as_requests(case, answer):
    return schemathesis.Response(
        status_code=answer.status_code,
        headers={name: [value] for name, value in answer.headers.items()},
        content=answer.content,
        request=requests.Request(case.method, "http://testserver/").prepare(),
        elapsed=0.0,
        verify=False,
    )
