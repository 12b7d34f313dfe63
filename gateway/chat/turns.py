"""Which call does the next thing to do make, and how long do the chat's limits ask to leave it alone?"""

from gateway.chat.desk import Chat
from gateway.chat.due import DueNotice
from gateway.chat.plan import Act, Check, Edit, LiveReply, React, Remove, Send
from gateway.rocketchat import calls


def wait_s(chat: Chat, *, item: LiveReply | DueNotice, act: Act) -> float:
    """0: go on. Notices and what a finished reply still needs come before the stages of running ones."""
    route = _of_notice(item) if isinstance(item, DueNotice) else _of_act(act)
    is_final = isinstance(item, DueNotice) or (item.is_final and not isinstance(act, React))
    return chat.wait_s(route=route, is_final=is_final) if route else 0.0


def _of_notice(notice: DueNotice) -> str:
    if not notice.text:
        return _DELETE
    return _SEND if notice.posted_revision == 0 else _UPDATE


def _of_act(act: Act) -> str:
    match act:
        case Send():
            return _SEND
        case Edit():
            return _UPDATE
        case Check():
            return _GET
        case Remove():
            return _DELETE
        case React():
            return _REACT
    return ""


_SEND = calls.send(rid="", rc_id="", text="").route
_UPDATE = calls.update(rid="", rc_id="", text="").route
_GET = calls.get(rc_id="").route
_DELETE = calls.delete(rid="", rc_id="").route
_REACT = calls.react(rc_id="", emoji="", is_on=True).route
