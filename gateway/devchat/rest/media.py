"""Files in two steps: upload, then confirm into a message. Confirming twice posts twice, as upstream."""

from gateway.devchat import history, messages
from gateway.devchat.drafts import check_may_post, check_restriction
from gateway.devchat.errors import ChatError, ForbiddenError, not_allowed
from gateway.devchat.models import Room
from gateway.devchat.rest.calls import Call, Options, get, post
from gateway.devchat.wire import Document

CONFIRM_KEYS = frozenset({"msg", "tmid", "description", "customFields", "fileName", "content", "t"})


@post("rooms.media", Options(takes_form=True))
def upload(call: Call) -> Document:
    room = _room(call)
    check_may_post(call.store, user=call.user, room=room)
    file = call.workspace.uploads.keep_file(form=call.form, room=room, user=call.user)
    return {"file": {"_id": file["_id"], "url": file["url"]}}


@post("rooms.mediaConfirm")
def confirm(call: Call) -> Document:
    room = _room(call)
    body = call.body if isinstance(call.body, dict) else {}
    if set(body) - CONFIRM_KEYS:
        raise ChatError("invalid-params", "must NOT have additional properties")
    file = call.store.files.get(call.parts[1] if len(call.parts) > 1 else "")
    if file is None or file["rid"] != room.id or file["userId"] != call.user.id:
        raise ChatError("invalid-file", "invalid-file")
    check_restriction(call.store)
    file["is_confirmed"] = True
    described = {
        "_id": file["_id"],
        "name": file["name"],
        "type": file["type"],
        "size": file["size"],
        "format": file["format"],
    }
    draft: Document = {
        "msg": body.get("msg") or "",
        "tmid": body.get("tmid"),
        "file": described,
        "files": [described],
        "attachments": [_attachment(file, body.get("description"))],
        "groupable": False,
    }
    stored = messages.send(call.store, user=call.user, room=room, draft=draft)
    return {"message": stored}


def _attachment(file: Document, description: str | None) -> Document:
    url = file["url"]
    attachment: Document = {
        "type": "file",
        "title": file["name"],
        "title_link": url,
        "title_link_download": True,
        "fileId": file["_id"],
    }
    if description:
        attachment["description"] = description
    for kind in ("image", "audio", "video"):
        if file["type"].startswith(f"{kind}/"):
            attachment |= {f"{kind}_url": url, f"{kind}_type": file["type"], f"{kind}_size": file["size"]}
    return attachment


def _room(call: Call) -> Room:
    room = call.store.rooms.get(call.parts[0] if call.parts else "")
    if room is None or not call.store.can_access(call.user, room):
        raise ForbiddenError
    return room


def _files(call: Call) -> Document:
    room = history.readable_room(call.store, user=call.user, room_id=call.text("roomId"), method="getRoomFiles")
    if call.user.id not in room.members:
        raise not_allowed("getRoomFiles")
    found = [file for file in call.store.files.values() if file["rid"] == room.id and file["is_confirmed"]]
    return call.page("files", [{key: value for key, value in file.items() if key != "is_confirmed"} for file in found])


for _family in ("channels", "groups", "im", "dm"):
    get(f"{_family}.files")(_files)
