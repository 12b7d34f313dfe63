"""Messages read over REST: one, by change, by thread, by text, by mark."""

from gateway.devchat import history
from gateway.devchat.errors import BareFailureError, ChatError, not_allowed
from gateway.devchat.rest.calls import Call, get
from gateway.devchat.wire import Document, Moment, moment_from


@get("chat.getMessage")
def get_message(call: Call) -> Document:
    message = call.store.messages.get(call.text("msgId"))
    if message is None or not call.store.can_access(call.user, call.store.rooms[message["rid"]]):
        raise BareFailureError
    return {"message": history.for_reader([message], call.user.id)[0]}


@get("chat.syncMessages")
def sync_messages(call: Call) -> Document:
    if not call.text("roomId"):
        raise ChatError("error-param-required", 'The required "roomId" query param is missing')
    last_update, kind = call.query.get("lastUpdate"), call.query.get("type")
    if last_update is None and kind is None:
        raise ChatError("error-param-required", 'The required "type" or "lastUpdate" parameters must be provided')
    since = moment_from(last_update)
    if last_update is not None and since is None:
        raise ChatError("error-lastUpdate-param-invalid", 'The "lastUpdate" query parameter must be a valid date.')
    result = history.sync(
        call.store,
        user=call.user,
        room_id=call.text("roomId"),
        last_update=since,
        kind=kind,
        next_cursor=call.query.get("next") or None,
        previous_cursor=call.query.get("previous") or None,
        count=call.number("count", history.DEFAULT_HISTORY_COUNT),
    )
    return {"result": result | {"updated": history.for_reader(result["updated"], call.user.id)}}


@get("chat.getDeletedMessages")
def deleted_messages(call: Call) -> Document:
    room = history.readable_room(call.store, user=call.user, room_id=call.text("roomId"), method="getDeletedMessages")
    since = moment_from(call.query.get("since"))
    if since is None:
        raise ChatError("error-since-param-invalid", 'The "since" query parameter must be a valid date.')
    traces = [
        {"_id": message_id, "_deletedAt": Moment(time)}
        for time, message_id in call.store.logs[room.id].deleted
        if time > since
    ]
    return call.page("messages", traces)


@get("chat.getThreadMessages")
def thread_messages(call: Call) -> Document:
    _readable_root(call, "getThreadMessages")
    return call.page(
        "messages", history.for_reader(history.thread(call.store, root_id=call.text("tmid")), call.user.id)
    )


def _readable_root(call: Call, method: str) -> Document:
    root = call.store.messages.get(call.text("tmid"))
    if root is None or not call.store.can_access(call.user, call.store.rooms[root["rid"]]):
        raise not_allowed(method)
    return root


@get("chat.syncThreadMessages")
def sync_thread_messages(call: Call) -> Document:
    _readable_root(call, "syncThreadMessages")
    since = moment_from(call.query.get("updatedSince")) or 0
    changed = [
        message for message in history.thread(call.store, root_id=call.text("tmid")) if message["_updatedAt"] > since
    ]
    return {"messages": {"update": history.for_reader(changed, call.user.id), "remove": []}}


@get("chat.getThreadsList")
def threads_list(call: Call) -> Document:
    room = history.readable_room(call.store, user=call.user, room_id=call.text("rid"), method="getThreadsList")
    return call.page("threads", history.for_reader(history.threads_of(call.store, room=room), call.user.id))


@get("chat.search")
def search(call: Call) -> Document:
    if not call.text("searchText"):
        raise ChatError("error-searchText-param-not-provided", 'The required "searchText" query param is missing.')
    room = history.readable_room(call.store, user=call.user, room_id=call.text("roomId"), method="messageSearch")
    found = history.search(call.store, room=room, text=call.text("searchText"))
    return {"messages": history.for_reader(call.page("messages", found)["messages"], call.user.id)}


@get("chat.getPinnedMessages")
def pinned_messages(call: Call) -> Document:
    room = history.readable_room(call.store, user=call.user, room_id=call.text("roomId"), method="getPinnedMessages")
    found = [message for message in call.store.newest_messages_of(room.id) if message.get("pinned")]
    return call.page("messages", history.for_reader(found, call.user.id))


@get("chat.getMentionedMessages")
def mentioned_messages(call: Call) -> Document:
    room = history.readable_room(
        call.store, user=call.user, room_id=call.text("roomId"), method="getMentionedMessages"
    )
    found = [
        message
        for message in call.store.newest_messages_of(room.id)
        if any(mention["_id"] == call.user.id for mention in message["mentions"])
    ]
    return call.page("messages", history.for_reader(found, call.user.id))


@get("chat.getStarredMessages")
def starred_messages(call: Call) -> Document:
    room = history.readable_room(call.store, user=call.user, room_id=call.text("roomId"), method="getStarredMessages")
    found = [
        message
        for message in call.store.newest_messages_of(room.id)
        if any(entry["_id"] == call.user.id for entry in message.get("starred", []))
    ]
    return call.page("messages", history.for_reader(found, call.user.id))
