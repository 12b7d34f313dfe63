"""Does mem0-api check keys and fields, answer every failure by name, and stay upright?"""

import asyncio
import threading

import httpx
import pytest

from composer.memory.learning import Progress
from composer.memory.service import MAX_WAITING, MemoryApi
from composer.memory.store import Found, Kept, NewMemory, Stored, StoreUnavailableError
from gateway.watch import about

KEY = "k" * 40
ID = "0b6f1d0e-5f0e-4f6e-9f4e-0d2f6a1b2c3d"


class FakeStore:
    def __init__(self) -> None:
        self.added: list[NewMemory] = []
        self.searched: list[tuple[str, list[str], int]] = []
        self.error: Exception | None = None
        self.gate: threading.Event | None = None
        self.asked_for: list[int | None] = []

    def add(self, memories):
        self._stumble()
        self.added += memories
        return [Stored(memory.msg, "added") for memory in memories]

    def search(self, *, query, scopes, limit):
        self._stumble()
        self.searched.append((query, list(scopes), limit))
        self.asked_for.append(about.current())
        return [Found(1, "text", 0.5)]

    def remove(self, *, msg):
        self._stumble()
        return 1

    def kept(self, *, scope, msg, after, limit):
        self._stumble()
        self.searched.append((f"{msg} {after}", [scope], limit))
        return [Kept(ID, 1, scope, "text", False, "hashed-1", "")]

    def one(self, *, memory_id, scope):
        self._stumble()
        return Kept(str(memory_id), 1, scope, "text", False, "hashed-1", "") if scope == "room:a" else None

    def remove_one(self, *, memory_id, scope):
        self._stumble()
        return int(scope == "room:a")

    def learn(self, *, limit):
        return Progress(limit, False)

    def reembed(self, *, limit):
        return Progress(limit, True)

    def is_alive(self):
        return self.error is None

    def _stumble(self) -> None:
        if self.gate is not None:
            self.gate.wait(5)
        if self.error is not None:
            raise self.error


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
async def client(store):
    api = MemoryApi(make_store=lambda: store, key=KEY)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://memory", headers=headers
    ) as client:
        yield client


def memory(**values):
    return {"msg": 1, "scope": "room:backend", "text": "hello", "rev": 1} | values


async def test_memories_are_taken_with_the_key(client, store):
    answer = await client.post("/memories", json={"memories": [memory()]})

    assert answer.status_code == 200
    assert answer.json() == {"results": [{"msg": 1, "state": "added", "reason": ""}]}
    assert store.added[0].scope == "room:backend"


@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer wrong", KEY, f"bearer {KEY}x"])
async def test_without_the_key_nothing_is_answered(client, store, given):
    paths = ("/memories?scope=room:a", f"/memories/{ID}?scope=room:a", "/other")
    posts = ("/memories", "/search", "/learn", "/reembed")
    for method, path in [("POST", path) for path in posts] + [(m, path) for path in paths for m in ("GET", "DELETE")]:
        answer = await client.request(method, path, headers={"Authorization": given})
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "unauthorized"
    assert not store.added
    assert not store.searched


async def test_health_is_told_without_a_key(client, store):
    well = await client.get("/healthz", headers={"Authorization": ""})
    store.error = StoreUnavailableError("down")
    ill = await client.get("/healthz")

    assert (well.status_code, ill.status_code) == (200, 503)


async def test_work_for_an_invocation_knows_its_number_in_every_thread(client, store):
    body = {"query": "port?", "scope": "room:backend", "limit": 5}

    for number in ("42", "nonsense", "9" * 30):
        await client.post("/search", json=body, headers={about.HEADER: number})

    assert store.asked_for == [42, None, None]


async def test_its_figures_are_for_loopback_or_the_token(client, settings):
    settings.NEXUS_METRICS_TOKEN = "m" * 40

    refused = await client.get("/metrics", headers={"Authorization": ""})
    told = await client.get("/metrics", headers={"Authorization": f"Bearer {'m' * 40}"})

    assert (refused.status_code, told.status_code) == (401, 200)
    assert "process_cpu_seconds_total" in told.text


async def test_a_search_names_its_scopes(client, store):
    one = await client.post("/search", json={"query": "port?", "scope": "room:backend", "limit": 5})
    two = await client.post("/search", json={"query": "port?", "scope": ["room:a", "project:1"]})

    assert one.json()["results"] == [{"msg": 1, "text": "text", "score": 0.5, "is_fact": False}]
    assert two.status_code == 200
    assert store.searched == [("port?", ["room:backend"], 5), ("port?", ["room:a", "project:1"], 20)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/memories", b""),
        ("/memories", b"{"),
        ("/memories", b"\xff\xfe"),
        ("/memories", b"[]"),
        ("/memories", b'{"memories": []}'),
        ("/memories", b'{"memories": [{"msg": "one", "scope": "room:a", "text": "x"}]}'),
        ("/memories", b'{"memories": [{"msg": 1, "scope": "room a", "text": "x"}]}'),
        ("/memories", b'{"memories": [{"msg": 1, "scope": "*", "text": "x"}]}'),
        ("/memories", b'{"memories": [{"msg": 1, "scope": "room:a", "text": "  "}]}'),
        ("/memories", b'{"memories": [{"msg": 1, "scope": "room:a", "text": "a\\u0000b"}]}'),
        ("/memories", b'{"memories": [{"msg": 1, "scope": "room:a", "text": "x", "user_id": "mallory"}]}'),
        ("/memories", b'{"memories": [' + b",".join([b'{"msg": 1, "scope": "r", "text": "x"}'] * 101) + b"]}"),
        ("/search", b'{"query": "", "scope": "room:a"}'),
        ("/search", b'{"query": "x"}'),
        ("/search", b'{"query": "x", "scope": []}'),
        ("/search", b'{"query": "x", "scope": "*"}'),
        ("/search", b'{"query": "x", "scope": "room:a", "limit": 0}'),
        ("/search", b'{"query": "x", "scope": "room:a", "limit": 100000}'),
        ("/search", b'{"query": "x", "scope": "room:a", "run_id": "*"}'),
    ],
)
async def test_a_bad_body_gets_a_named_error(client, store, path, body):
    answer = await client.post(path, content=body)

    assert answer.status_code == 422
    assert set(answer.json()["error"]) == {"code", "message", "hint"}
    assert not store.added
    assert not store.searched


@pytest.mark.parametrize("query", ["", "?msg=", "?msg=abc", "?msg=1&msg=2", "?msg=-1", "?msg=" + "9" * 40])
async def test_a_removal_names_one_message(client, query):
    answer = await client.delete(f"/memories{query}")

    assert answer.status_code == 422


async def test_memories_are_listed_read_and_removed_by_scope(client, store):
    listed = await client.get(f"/memories?scope=room:a&msg=1&limit=7&after={ID}")
    one = await client.get(f"/memories/{ID}?scope=room:a")
    removed = await client.delete(f"/memories/{ID}?scope=room:a")

    assert listed.json()["results"][0]["id"] == ID
    assert store.searched == [(f"1 {ID}", ["room:a"], 7)]
    assert one.json()["scope"] == "room:a"
    assert removed.json() == {"removed": 1}


async def test_a_memory_of_another_scope_is_as_good_as_not_there(client):
    for method in ("GET", "DELETE"):
        answer = await client.request(method, f"/memories/{ID}?scope=room:b")
        assert answer.status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/memories",
        "/memories?scope=*",
        "/memories?scope=room:a&scope=room:b",
        "/memories?scope=room:a&limit=0x",
        "/memories?scope=room:a&limit=100000",
        "/memories?scope=room:a&after=1",
        f"/memories/{ID}",
        "/memories/1?scope=room:a",
        "/memories/..%2fsearch?scope=room:a",
    ],
)
async def test_a_bad_address_gets_a_named_error(client, path):
    answer = await client.get(path)

    assert answer.status_code == 422
    assert set(answer.json()["error"]) == {"code", "message", "hint"}


async def test_learning_and_new_vectors_go_step_by_step(client):
    learned = await client.post("/learn", json={"limit": 3})
    vectors = await client.post("/reembed", json={})
    wrong = await client.post("/learn", json={"limit": 0})

    assert learned.json() == {"done": 3, "left": False, "trouble": ""}
    assert vectors.json() == {"done": 20, "left": True, "trouble": ""}
    assert wrong.status_code == 422


async def test_a_body_that_is_too_large_is_refused(client):
    answer = await client.post("/memories", content=b"x" * (3 * 1024 * 1024))

    assert answer.status_code == 413


async def test_an_unknown_path_says_what_is_served(client):
    answer = await client.get("/memory")

    assert answer.status_code == 404
    assert "docs/memory.md" in answer.json()["error"]["hint"]


async def test_a_database_that_is_down_is_told_as_such(client, store):
    store.error = StoreUnavailableError("no connection")

    answer = await client.post("/search", json={"query": "x", "scope": "room:a"})

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "unavailable"


async def test_an_unexpected_failure_is_answered_without_its_insides(client, store):
    store.error = RuntimeError("password=hunter2")

    answer = await client.post("/search", json={"query": "x", "scope": "room:a"})

    assert answer.status_code == 500
    assert "hunter2" not in answer.text


async def test_too_many_calls_at_once_are_told_to_come_back(client, store):
    store.gate = threading.Event()
    search = {"query": "x", "scope": "room:a"}
    calls = [asyncio.create_task(client.post("/search", json=search)) for _ in range(MAX_WAITING + 5)]
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    store.gate.set()

    statuses = [answer.status_code for answer in await asyncio.gather(*calls)]

    assert all(call.result().status_code == 503 for call in done)
    assert statuses.count(200) == MAX_WAITING
    assert statuses.count(503) == 5
