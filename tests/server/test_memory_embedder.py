"""Are vectors always 1536 finite numbers of length one, and is a bad embedder named?"""

import json
import math
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer.memory.embedder import DIMENSIONS, EmbedderError, HashedEmbedder, HttpEmbedder, from_settings

pytestmark = pytest.mark.timeout(60)

hashed = HashedEmbedder()


def cosine(one, other):
    return sum(a * b for a, b in zip(*hashed.embed([one, other]), strict=True))


@given(text=st.text(max_size=300))
def test_any_text_becomes_a_direction(text):
    (vector,) = hashed.embed([text])

    assert len(vector) == DIMENSIONS
    assert math.isclose(sum(value * value for value in vector), 1.0, rel_tol=1e-6)


def test_the_same_text_is_the_same_vector_everywhere():
    (vector,) = hashed.embed(["The port is 5433."])

    assert vector == hashed.embed(["The port is 5433."])[0]
    # Fixed for good: stored vectors must stay comparable after an update of Python or of this module.
    assert [index for index, value in enumerate(vector) if value][:4] == [14, 128, 187, 258]


def test_texts_about_the_same_are_nearer_than_others():
    question = "which port does the database use?"

    assert cosine(question, "The database listens on port 5433.") > 0.3
    assert cosine(question, "Lunch is at noon.") < 0.1
    assert cosine("deployment", "deploying") > 0.2


@pytest.fixture
def endpoint():
    class Handler(BaseHTTPRequestHandler):
        answer = (200, b"{}")
        seen: list[dict[str, object]] = []
        url = ""

        def do_POST(self):
            Handler.seen.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            status, body = Handler.answer
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    Handler.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    yield Handler
    server.shutdown()
    server.server_close()
    thread.join(5)


def vectors(*entries):
    return json.dumps({"data": [{"index": index, "embedding": vector} for index, vector in entries]}).encode()


def test_vectors_of_a_model_are_filled_up_and_put_in_order(endpoint):
    endpoint.answer = (200, vectors((1, [0.0, 1.0]), (0, [1.0, 0.0])))

    first, second = HttpEmbedder(url=endpoint.url, model="m", key="k").embed(["a", "b"])

    assert (first[:2], second[:2]) == ([1.0, 0.0], [0.0, 1.0])
    assert len(first) == len(second) == DIMENSIONS
    assert endpoint.seen[-1] == {"model": "m", "input": ["a", "b"]}


@pytest.mark.parametrize(
    "answer",
    [
        (500, b""),
        (302, b""),
        (200, b"garbage"),
        (200, b'{"data": []}'),
        (200, vectors((0, []))),
        (200, vectors((0, [0.0, 0.0]))),
        (200, vectors((0, [1.0] * 3072))),
        (200, b'{"data": [{"embedding": [NaN]}]}'),
        (200, b'{"data": [{"embedding": [1e39, 1]}]}'),
        (200, b'{"data": [{"embedding": [1e-30, 0]}]}'),
        (200, b'{"data": [{"embedding": [1e999]}]}'),
        (200, b'{"data": [{"embedding": null}]}'),
        (200, b"null"),
        (200, b"<!DOCTYPE html><html><body>Sign in</body></html>"),
        (200, b'{"error": {"message": "quota exceeded", "type": "insufficient_quota"}}'),
        (200, vectors((0, [1.0]), (1, [1.0]))),
        (200, b'{"data": [' + b" " * 33 * 1024 * 1024 + b"]}"),
        (200, b'{"data": [{"embedding": "text"}]}'),
    ],
)
def test_a_model_that_answers_nonsense_is_named(endpoint, answer):
    endpoint.answer = answer

    with pytest.raises(EmbedderError):
        HttpEmbedder(url=endpoint.url, model="m", key="").embed(["a"])


def test_vectors_of_two_lengths_in_one_answer_are_refused(endpoint):
    endpoint.answer = (200, vectors((0, [1.0, 0.0]), (1, [1.0, 0.0, 0.0])))

    with pytest.raises(EmbedderError, match="another model"):
        HttpEmbedder(url=endpoint.url, model="m", key="").embed(["a", "b"])


def test_an_unreachable_model_is_named():
    with pytest.raises(EmbedderError, match="reached"):
        HttpEmbedder(url="http://127.0.0.1:9/v1", model="m", key="").embed(["a"])


def test_without_a_url_the_built_in_one_serves(settings):
    settings.NEXUS_EMBEDDER_URL = ""
    assert from_settings().name == "hashed-1"
    settings.NEXUS_EMBEDDER_URL, settings.NEXUS_EMBEDDER_MODEL = "http://127.0.0.1:9/v1", "small"
    assert from_settings().name == "small"
