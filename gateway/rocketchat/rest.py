"""What does Nexus read and write in the chat over REST? One method per purpose, for asyncio."""

from gateway.rocketchat import answers, calls
from gateway.rocketchat.answers import Deletion, Page, Posted
from gateway.rocketchat.calls import (
    RateLimitedError,
    RefusedError,
    RestError,
    UnauthorizedError,
    UnreachableError,
)
from gateway.rocketchat.events import (
    ChatMember,
    ChatMessage,
    ChatRoom,
    ChatSubscription,
    Document,
    member,
    message,
    room,
    subscription,
)
from gateway.rocketchat.transport import Transport, open_http

__all__ = [
    "Deletion",
    "Page",
    "Posted",
    "RateLimitedError",
    "RefusedError",
    "RestClient",
    "RestError",
    "UnauthorizedError",
    "UnreachableError",
    "open_http",
]

MEMBERS_PAGE = 100
FIND_PAGES, FIND_COUNT = 10, 100
MAX_MEMBERS = 5_000
"""Members read of one room; in a larger one the rest are not known to Nexus until they write."""


class RestClient(Transport):
    """The calls of one account, by what they are for."""

    # Reading

    async def me(self) -> ChatMember:
        return answers.read_one(member, await self.call(calls.me()))

    async def subscriptions(self) -> list[ChatSubscription]:
        answer = await self.call(calls.subscriptions())
        return answers.readable(subscription, answer.get("update"))

    async def rooms(self) -> list[ChatRoom]:
        answer = await self.call(calls.rooms())
        return answers.readable(room, answer.get("update"))

    async def room_info(self, *, rid: str) -> ChatRoom:
        answer = await self.call(calls.room_info(rid=rid))
        return answers.read_one(room, answer.get("room"))

    async def members(self, *, rid: str, kind: str) -> list[ChatMember]:
        found: list[ChatMember] = []
        for offset in range(0, MAX_MEMBERS, MEMBERS_PAGE):
            answer = await self.call(calls.members(rid=rid, kind=kind, offset=offset, count=MEMBERS_PAGE))
            found += answers.readable(member, answer.get("members"))
            if len(calls.texts(answer.get("members"))) < MEMBERS_PAGE:
                break
        return found

    async def owners(self, *, rid: str, kind: str) -> frozenset[str]:
        """User ids of the room's owners; a direct room has none."""
        if kind == "d":
            return frozenset()
        answer = await self.call(calls.roles(rid=rid, kind=kind))
        entries = [entry for entry in calls.texts(answer.get("roles")) if isinstance(entry, dict)]
        users = (entry.get("u") for entry in entries if "owner" in calls.texts(entry.get("roles")))
        return frozenset(str(user.get("_id")) for user in users if isinstance(user, dict))

    async def changed(self, *, rid: str, after_ms: int, count: int) -> Page:
        """One page of what changed later than `after_ms`, oldest change first."""
        result = answers.result(await self.call(calls.changed(rid=rid, after_ms=after_ms, count=count)))
        messages, bad = answers.split(calls.texts(result.get("updated")))
        return Page(messages=messages, bad=bad, next=answers.next_after(result))

    async def changed_since(self, *, rid: str, since: str) -> tuple[Page, list[Deletion]]:
        """Everything that changed or went since `since` (ISO), unbounded: for the moment a page can't step over."""
        result = answers.result(await self.call(calls.changed_since(rid=rid, since=since)))
        messages, bad = answers.split(calls.texts(result.get("updated")))
        return Page(messages=messages[::-1], bad=bad, next=None), answers.deletions(result)

    async def deleted(self, *, rid: str, after_ms: int, count: int) -> tuple[list[Deletion], int | None]:
        result = answers.result(await self.call(calls.deleted(rid=rid, after_ms=after_ms, count=count)))
        return answers.deletions(result), answers.next_after(result)

    async def history(self, *, rid: str, kind: str, latest: str, count: int) -> Page:
        answer = await self.call(calls.history(rid=rid, kind=kind, latest=latest, count=count))
        messages, bad = answers.split(calls.texts(answer.get("messages")))
        return Page(messages=messages, bad=bad, next=None)

    async def get_message(self, *, rc_id: str) -> ChatMessage | None:
        """None when the chat has no such message, or has it deleted."""
        try:
            answer = await self.call(calls.get(rc_id=rc_id))
        except RefusedError as error:
            if error.status == 400:
                return None
            raise
        document = answer.get("message")
        if document is None:
            return None
        found = answers.read_one(message, document)
        return None if found.is_tombstone else found

    async def open_direct(self, *, username: str) -> str:
        """The id of the direct room with this person."""
        answer = await self.call(calls.open_direct(username=username))
        return str(calls.direct_room(answer, username=username).get("_id"))

    # Writing

    async def send_message(
        self, *, rid: str, rc_id: str, text: str, thread: str = "", attachments: tuple[Document, ...] = ()
    ) -> Posted:
        """Post under our own id. The chat never takes the same id twice, so a repeated call finds the first one's message."""
        try:
            call = calls.send(rid=rid, rc_id=rc_id, text=text, thread=thread, attachments=attachments)
            answer = await self.call(call)
            return answers.posted(answer, rc_id=rc_id)
        except RefusedError:
            found = await self.get_message(rc_id=rc_id)
            if found is None:
                raise
            return Posted(rc_id=rc_id, ts=found.ts, updated=found.updated)

    async def update_message(self, *, rid: str, rc_id: str, text: str) -> Posted:
        return answers.posted(await self.call(calls.update(rid=rid, rc_id=rc_id, text=text)), rc_id=rc_id)

    async def delete_message(self, *, rid: str, rc_id: str) -> None:
        await self.call(calls.delete(rid=rid, rc_id=rc_id))

    async def react(self, *, rc_id: str, emoji: str, is_on: bool = True) -> None:
        await self.call(calls.react(rc_id=rc_id, emoji=emoji, is_on=is_on))

    async def upload(self, *, rid: str, name: str, content_type: str, data: bytes) -> str:
        """Bring a file to the chat, which shows it to nobody before `confirm_upload`; returns its id there."""
        answer = await self.call(calls.upload(rid=rid, name=name, content_type=content_type, data=data))
        file = answer.get("file")
        file_id = file.get("_id") if isinstance(file, dict) else None
        if not isinstance(file_id, str):
            raise UnreachableError("the chat took a file and gave no id for it")
        return file_id

    async def confirm_upload(self, *, rid: str, file_id: str, text: str, thread: str) -> Posted:
        """Post an uploaded file. Not to be repeated blindly: a second confirmation posts it again."""
        answer = await self.call(calls.confirm_upload(rid=rid, file_id=file_id, text=text, thread=thread))
        return answers.posted(answer, rc_id="")

    async def find_upload(self, *, rid: str, file_id: str, since_ms: int) -> bool:
        """Whether a message changed since then shows this file; looks through a bounded number of messages."""
        after: int | None = since_ms
        for _ in range(FIND_PAGES):
            if after is None:
                return False
            page = await self.changed(rid=rid, after_ms=after, count=FIND_COUNT)
            if any(item.get("id") == file_id for one in page.messages for item in one.attachments):
                return True
            after = page.next
        return False
