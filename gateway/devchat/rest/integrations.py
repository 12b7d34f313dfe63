"""Outgoing webhooks: create, list, change, remove."""

from gateway.devchat.errors import ChatError, PlainError, UnauthorizedError
from gateway.devchat.rest.calls import Call, Options, get, post
from gateway.devchat.rest.schema import Schema
from gateway.devchat.webhooks import CHANNEL_GROUPS, EVENTS
from gateway.devchat.wire import Document, Moment, random_id

OPTIONAL = {
    "urls": "array",
    "triggerWords": "array",
    "triggerWordAnywhere": "boolean",
    "token": "string",
    "alias": "string",
    "avatar": "string",
    "emoji": "string",
    "script": "string",
    "scriptEngine": "string",
    "runOnEdits": "boolean",
    "retryFailedCalls": "boolean",
    "retryCount": "number",
    "retryDelay": "string",
    "impersonateUser": "boolean",
    "targetRoom": "string",
    "targetChannel": "string",
    "overrideDestinationChannelEnabled": "boolean",
}
REQUIRED = {
    "type": "string",
    "username": "string",
    "channel": "string",
    "event": "string",
    "scriptEnabled": "boolean",
    "name": "string",
    "enabled": "boolean",
}
CREATE = Schema(REQUIRED, OPTIONAL)
UPDATE = Schema(REQUIRED | {"integrationId": "string"}, OPTIONAL | {"target_url": "string"})


@post("integrations.create", Options(schema=CREATE))
def create(call: Call) -> Document:
    _require(call)
    document = _checked(call)
    document |= {
        "_id": random_id(),
        "_createdAt": Moment(call.store.now()),
        "_createdBy": {"_id": call.user.id, "username": call.user.username},
    }
    document["token"] = document.get("token") or random_id(24)
    call.store.integrations[document["_id"]] = document
    call.store.changes += 1
    return {"integration": document}


def _require(call: Call) -> None:
    own, every = "manage-own-outgoing-integrations", "manage-outgoing-integrations"
    if not call.store.may(call.user, every) and not call.store.may(call.user, own):
        raise UnauthorizedError


def _checked(call: Call) -> Document:
    body = call.body
    if body["type"] != "webhook-outgoing":
        raise ChatError("error-invalid-type", "The stand-in knows outgoing webhooks only")
    if body["event"] not in EVENTS:
        raise ChatError("error-invalid-event-type", "Invalid event type", {"function": "validateOutgoing.event"})
    owner = call.store.user_named(body["username"])
    if owner is None:
        raise ChatError("error-invalid-user", "Invalid user", {"method": "addOutgoingIntegration"})
    urls = [str(url).strip() for url in body.get("urls") or []]
    if not all(urls):
        raise ChatError("invalid-params", "must NOT have fewer than 1 characters")
    if not urls:
        raise ChatError("error-invalid-urls", "Invalid URLs", {"method": "addOutgoingIntegration"})
    channels = [name.strip() for name in body["channel"].split(",") if name.strip()]
    _check_channels(call, channels)
    words = [str(word).strip() for word in body.get("triggerWords") or [] if str(word).strip()]
    kept = {key: value for key, value in body.items() if key != "integrationId"}
    return kept | {
        "urls": urls,
        "channel": channels,
        "triggerWords": words,
        "userId": owner.id,
        "scriptEngine": "isolated-vm",
        "_updatedAt": Moment(call.store.now()),
    }


def _check_channels(call: Call, channels: list[str]) -> None:
    if not channels:
        raise ChatError("error-invalid-channel", "Invalid Channel", {"function": "validateOutgoing.scope"})
    for name in channels:
        if name in CHANNEL_GROUPS:
            continue
        found = call.store.user_named(name[1:]) if name.startswith("@") else call.store.room_named(name[1:])
        if not name.startswith(("@", "#")):
            raise ChatError("error-invalid-channel-start-with-chars", "Invalid channel. Start with @ or #")
        if found is None:
            raise ChatError("error-invalid-room", "Invalid room", {"method": "addOutgoingIntegration"})


@get("integrations.list")
def list_integrations(call: Call) -> Document:
    _require(call)
    return call.page("integrations", list(call.store.integrations.values()))


@get("integrations.get")
def get_integration(call: Call) -> Document:
    _require(call)
    return {"integration": _integration(call)}


def _integration(call: Call) -> Document:
    document = call.store.integrations.get(call.text("integrationId"))
    if document is None:
        raise PlainError("No integration found.")
    return document


def update(call: Call) -> Document:
    _require(call)
    document = _integration(call)
    document |= _checked(call)
    call.store.changes += 1
    return {"integration": document}


post("integrations.update", Options(schema=UPDATE))(update)


@post("integrations.remove", Options(schema=Schema({"type": "string", "integrationId": "string"})))
def remove(call: Call) -> Document:
    _require(call)
    document = _integration(call)
    call.store.integrations.pop(document["_id"])
    call.store.changes += 1
    return {"integration": document}
