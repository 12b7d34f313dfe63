"""Does the API do what its OpenAPI document says? Every operation, with good and bad requests made from the document."""

import json

import hypothesis
import pytest
import requests
import schemathesis
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from composer.memory import client as memory
from gateway import bridges
from gateway.api.urls import router
from tests.admin import rows

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.timeout(120)]

EXAMPLES = 4


def document():
    return SchemaGenerator().get_schema(request=None, public=True)


def operations():
    found = schemathesis.openapi.from_dict(document()).get_all_operations()
    return [one.ok() for one in found]  # type: ignore[union-attr]  # a bad document fails here


@pytest.fixture
def quiet(monkeypatch, settings, tmp_path):
    """No chat, no memory and no MCP server to ask."""
    settings.NEXUS_MCP_SECRETS = str(tmp_path / "secrets.env")

    def no_chat(**_):
        raise bridges.ChatTroubleError("the chat did not do it")

    monkeypatch.setattr(bridges, "create", no_chat)
    monkeypatch.setattr(memory, "call", lambda *_, **__: b"{}")


def test_the_document_is_valid_and_names_every_resource():
    paths = document()["paths"]

    assert {f"/api/v1/{prefix}" for prefix, _, _ in router.registry} <= set(paths)
    assert {"/api/v1/login", "/api/v1/health", "/api/v1/invocations/{id}/stream"} <= set(paths)


@pytest.mark.filterwarnings("ignore")
def test_every_operation_answers_as_documented(quiet, settings):
    """Zero server errors, zero undocumented statuses, answers of the documented form."""
    it = rows.everything()
    known = {"bridges": it.bridge.pk, "agents": it.agent.pk, "rooms": it.room.pk, "invocations": it.row.pk,
             "mcp-servers": it.server.pk}  # fmt: skip
    client = Client(raise_request_exception=False)
    headers = {"Authorization": f"Bearer {settings.NEXUS_ADMIN_TOKEN}"}
    troubles = []
    for operation in operations():
        if operation.path.endswith("/stream"):
            continue  # tests/admin/test_resources.py reads it
        seen = _try(operation, client=client, headers=headers, known=known)
        troubles += [f"{operation.method} {operation.path}: {trouble}" for trouble in seen]

    assert not troubles, "\n".join(troubles)


def _try(operation, *, client, headers, known):
    troubles = []

    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        phases=[hypothesis.Phase.generate],
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def one(case):
        for sent in (case, _of_real_row(case, known)):
            answer = _send(sent, client=client, headers=headers)
            troubles.extend(_complaints(sent, operation, answer))

    one()
    return troubles[:3]


def _of_real_row(case, known):
    """The same request about a row that is there."""
    resource = case.operation.path.split("/")[3]
    if "id" not in case.path_parameters or resource not in known:
        return case
    return case.operation.Case(
        method=case.method,
        path_parameters={**case.path_parameters, "id": known[resource]},
        query=case.query,
        headers=case.headers,
        body=case.body,
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
    if answer.status_code >= 500 and answer.status_code != 502:
        return [f"{answer.status_code} for {case.as_curl_command()}"]
    if str(answer.status_code) not in documented:
        return [f"{answer.status_code} is not documented: {case.as_curl_command()} {answer.content[:200]!r}"]
    if answer.status_code >= 400:
        error = json.loads(answer.content)["error"]
        return [] if {"code", "message", "hint", "request_id"} == set(error) else [f"form of {error}"]
    if not answer.headers.get("Content-Type", "").startswith("application/json") or not answer.content:
        return []
    return _form(case, operation, answer)


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
