"""Messages over REST: post, edit, delete, react, pin, star, follow."""

from typing import Any

from gateway.devchat import history, marks, messages
from gateway.devchat.drafts import check_restriction, system_types
from gateway.devchat.errors import ChatError, PlainError
from gateway.devchat.models import CHANNEL, Room
from gateway.devchat.rest.calls import Call, Options, post
from gateway.devchat.rest.schema import Schema
from gateway.devchat.rooms import join, open_direct
from gateway.devchat.wire import Document

SEND = Schema({"message": "object"}, {"previewUrls": "array"})
SEND_MESSAGE = Schema(
    {},
    {
        "_id": "string",
        "tmid": "string",
        "alias": "string",
        "avatar": "string",
        "emoji": "string",
        "attachments": "array",
        "blocks": "array",
        "tshow": "boolean",
        "customFields": "object",
        "t": "string",
        "content": "object",
        "e2e": "string",
        "e2eMentions": "object",
    },
    # Clients add keys of their own here (the JavaScript SDK sends roomId).
    is_strict=False,
)
POST = Schema(
    {},
    {
        "text": "string",
        "alias": "string",
        "emoji": "string",
        "avatar": "string",
        "attachments": "array",
        "tmid": "string",
        "customFields": "object",
        "parseUrls": "boolean",
    },
    one_of=("roomId", "channel"),
)
UPDATE = Schema(
    {"roomId": "string", "msgId": "string", "text": "string"},
    {"previewUrls": "array", "customFields": "object"},
)
STUMBLE = "Cannot read properties of undefined (reading 'starred')"


@post("chat.sendMessage", Options(schema=SEND))
def send_message(call: Call) -> Document:
    draft = call.body["message"]
    SEND_MESSAGE.check(draft)
    if draft.get("t") in system_types():
        raise PlainError("Cannot send system messages using 'chat.sendMessage'")
    check_restriction(call.store)
    if not draft.get("rid"):
        raise PlainError("The 'rid' property on the message object is missing.")
    room = messages.room_for_posting(call.store, str(draft["rid"]))
    stored = messages.send(call.store, user=call.user, room=room, draft=_without_ts(draft))
    if stored is None:
        return _duplicate(call, draft["_id"])
    return {"message": stored}


def _without_ts(draft: Document) -> Document:
    return {key: value for key, value in draft.items() if key not in ("ts", "bot", "groupable", "file", "files")}


def _duplicate(call: Call, message_id: str) -> Document:
    """8.x stores nothing and then stumbles over its own empty result; the switch shows milder manners."""
    match call.store.switches.duplicate_reply:
        case "message":
            return {"message": call.store.messages[message_id]}
        case "empty":
            return {}
        case _:
            raise PlainError(STUMBLE)


@post("chat.postMessage", Options(schema=POST))
def post_message(call: Call) -> Document:
    body = call.body
    if "channel" in body and "tmid" in body:
        raise ChatError("invalid-params", "must NOT have additional properties")
    check_restriction(call.store)
    posted: Document = {}
    for room in _targets(call, body):
        _join_public(call, room)
        draft = {key: body.get(key) for key in ("alias", "emoji", "avatar", "attachments", "tmid", "customFields")}
        draft |= {"msg": str(body.get("text") or "").strip(), "groupable": False}
        stored = messages.send(call.store, user=call.user, room=room, draft=draft)
        if stored is not None and not posted:
            posted = {"ts": int(stored["ts"]), "channel": room.id, "message": stored}
    return posted


def _targets(call: Call, body: Document) -> list[Room]:
    wanted = body.get("roomId") if "roomId" in body else body.get("channel")
    names = wanted if isinstance(wanted, list) else [wanted]
    return [_target(call, name) for name in names]


def _target(call: Call, name: Any) -> Room:
    if not isinstance(name, str) or not name:
        raise ChatError("invalid-params", "must be string")
    if name.startswith("@"):
        user = call.store.user_named(name[1:])
        if user is None:
            raise ChatError("invalid-channel", "invalid-channel")
        return open_direct(call.store, creator=call.user, others=[user])
    plain = name.removeprefix("#")
    room = call.store.rooms.get(plain) or call.store.room_named(plain)
    if room is not None:
        return room
    user = call.store.users.get(plain) or call.store.user_named(plain)
    if user is None or name.startswith("#"):
        raise ChatError("invalid-channel", "invalid-channel")
    return open_direct(call.store, creator=call.user, others=[user])


def _join_public(call: Call, room: Room) -> None:
    if room.t == CHANNEL and call.user.id not in room.members:
        join(call.store, room=room, user=call.user)


@post("chat.update", Options(schema=UPDATE))
def update_message(call: Call) -> Document:
    message = call.store.messages.get(call.body["msgId"])
    if message is None:
        raise PlainError(f'No message found with the id of "{call.body["msgId"]}".')
    if message["rid"] != call.body["roomId"]:
        raise PlainError("The room id provided does not match where the message is from.")
    check_restriction(call.store)
    custom_fields = call.body.get("customFields")
    messages.update(call.store, user=call.user, message=message, text=call.body["text"], custom_fields=custom_fields)
    return {"message": history.for_reader([message], call.user.id)[0]}


@post(
    "chat.delete",
    Options(schema=Schema({"msgId": "string", "roomId": "string"}, {"asUser": "boolean", "fileId": "string"})),
)
def delete_message(call: Call) -> Document:
    message = call.store.messages.get(call.body["msgId"])
    if message is None:
        raise PlainError(f'No message found with the id of "{call.body["msgId"]}".')
    if message["rid"] != call.body["roomId"]:
        raise PlainError("The room id provided does not match where the message is from.")
    messages.delete(call.store, user=call.user, message=message)
    shown = {"_id": message["_id"], "rid": message["rid"], "u": message["u"]}
    return {"_id": message["_id"], "ts": str(call.store.now()), "message": shown}


@post(
    "chat.react",
    Options(schema=Schema({"messageId": "string"}, {"shouldReact": "boolean"}, one_of=("emoji", "reaction"))),
)
def react(call: Call) -> Document:
    reaction = call.text("emoji") or call.text("reaction")
    wanted = call.body.get("shouldReact")
    marks.react(call.store, user=call.user, message=_message(call), reaction=reaction, is_wanted=wanted)
    return {}


def _message(call: Call) -> Document:
    message = call.store.messages.get(call.text("messageId"))
    if message is None:
        raise ChatError("error-message-not-found", 'The provided "messageId" does not match any existing message.')
    return message


@post("chat.pinMessage", Options(schema=Schema({"messageId": "string"})))
def pin_message(call: Call) -> Document:
    return {"message": marks.pin(call.store, user=call.user, message=_message(call))}


@post("chat.unPinMessage", Options(schema=Schema({"messageId": "string"})))
def unpin_message(call: Call) -> Document:
    marks.unpin(call.store, user=call.user, message=_message(call))
    return {}


@post("chat.starMessage", Options(schema=Schema({"messageId": "string"})))
def star_message(call: Call) -> Document:
    marks.star(call.store, user=call.user, message=_message(call), is_starred=True)
    return {}


@post("chat.unStarMessage", Options(schema=Schema({"messageId": "string"})))
def unstar_message(call: Call) -> Document:
    marks.star(call.store, user=call.user, message=_message(call), is_starred=False)
    return {}


@post("chat.followMessage", Options(schema=Schema({"mid": "string"})))
def follow_message(call: Call) -> Document:
    marks.follow(call.store, user=call.user, message=_followed(call), follows=True)
    return {}


@post("chat.unfollowMessage", Options(schema=Schema({"mid": "string"})))
def unfollow_message(call: Call) -> Document:
    marks.follow(call.store, user=call.user, message=_followed(call), follows=False)
    return {}


def _followed(call: Call) -> Document:
    message = call.store.messages.get(call.text("mid"))
    if message is None:
        raise ChatError("error-invalid-message", "Invalid message", {"method": "followMessage"})
    return message
