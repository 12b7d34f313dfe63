"""How tests ask the API."""

import json


def path(text):
    return f"/api/v1/{text}"


def send(client, method, where, body=None, **headers):
    return client.generic(
        method,
        path(where),
        b"" if body is None else json.dumps(body),
        content_type="application/json",
        headers=headers,
    )
