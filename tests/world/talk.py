"""How does a person ask in the chat, and what became of the question: its row, and what the room shows?"""

from dataclasses import dataclass
from typing import Any

from gateway.models import FINAL
from tests.world.world import World

ANSWER_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Question:
    """A message that asks one agent."""

    world: World
    message_id: str
    rid: str
    slug: str

    def rows(self) -> list[dict[str, Any]]:
        return self.world.query(
            "SELECT i.* FROM invocations i JOIN messages m ON m.id = i.message_id JOIN agents a ON a.id = i.agent_id"
            " WHERE m.rc_id = %s AND a.slug = %s ORDER BY i.id",
            self.message_id,
            self.slug,
        )

    def state(self) -> str:
        rows = self.rows()
        return str(rows[-1]["state"]) if rows else ""

    def wait_state(self, *states: str, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.world.until(
            lambda: self.state() in states, what=f"{self.slug} is {states}, not {self._seen()}", timeout_s=timeout_s
        )

    def wait_said(self, text: str, *, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Until the room shows a part of the reply with that text."""
        self.world.until(lambda: text in self.reply(), what=f"the reply shows {text!r}", timeout_s=timeout_s)

    def wait_settled(self, *, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """The row, once it is final and the room has its last word."""

        def look() -> dict[str, Any] | None:
            rows = [row for row in self.rows() if row["state"] in FINAL and row["reply_settled_at"] is not None]
            return rows[-1] if rows and not self._due_notices() else None

        found = self.world.until(look, what=f"the question is settled, not {self._seen()}", timeout_s=timeout_s)
        assert found is not None
        return found

    def wait_done(self, *, timeout_s: float = ANSWER_TIMEOUT_S) -> str:
        """The reply as the room shows it."""
        row = self.wait_settled(timeout_s=timeout_s)
        assert row["state"] == "done", f"{row['state']}: {row['reason']} {row['detail']}"
        return self.reply()

    def reply_messages(self) -> list[dict[str, Any]]:
        """The chat's messages that are parts of the reply, in order."""
        parts = self.world.query(
            "SELECT p.chat_id FROM reply_parts p JOIN invocations i ON i.id = p.invocation_id"
            " JOIN messages m ON m.id = i.message_id JOIN agents a ON a.id = i.agent_id"
            " WHERE m.rc_id = %s AND a.slug = %s AND NOT p.is_gone ORDER BY p.invocation_id, p.part",
            self.message_id,
            self.slug,
        )
        return _messages(self.world, [part["chat_id"] for part in parts])

    def reply(self) -> str:
        return "\n".join(str(message["msg"]) for message in self.reply_messages())

    def sentences(self) -> list[str]:
        """What else the agent has told the room about this question, as far as it stands there now."""
        return [str(message["msg"]) for message in _messages(self.world, [row["chat_id"] for row in self._notices()])]

    def _notices(self) -> list[dict[str, Any]]:
        return self.world.query(
            "SELECT n.* FROM notices n JOIN invocations i ON i.id = n.invocation_id"
            " JOIN messages m ON m.id = i.message_id WHERE m.rc_id = %s ORDER BY n.id",
            self.message_id,
        )

    def _due_notices(self) -> list[dict[str, Any]]:
        return [notice for notice in self._notices() if notice["posted_revision"] < notice["revision"]]

    def _seen(self) -> str:
        return ", ".join(f"{row['state']} {row['reason']}".strip() for row in self.rows()) or "not there"


def ask(
    world: World, *, person: str, rid: str, slug: str, text: str, thread: str = "", is_direct: bool = False
) -> Question:
    """With a mention, but for a direct room."""
    message = {"rid": rid, "msg": text if is_direct else f"@{slug} {text}", **({"tmid": thread} if thread else {})}
    posted = world.person(person).post("chat.sendMessage", message=message)["message"]
    return Question(world, str(posted["_id"]), rid, slug)


def _messages(world: World, message_ids: list[str]) -> list[dict[str, Any]]:
    known = {message["_id"]: message for message in world.chat_state()["messages"]} if message_ids else {}
    return [known[one] for one in message_ids if one in known]
