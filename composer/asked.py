"""What is being asked: the claimed invocation with its question, agent, room and people, in one query?"""

from dataclasses import dataclass

from gateway.models import Agent, Invocation, Message, Room, User


@dataclass(frozen=True, slots=True)
class Asked:
    invocation: Invocation
    question: Message
    agent: Agent
    room: Room
    root: User

    @property
    def asker_name(self) -> str:
        return self.invocation.asker_agent.slug if self.invocation.asker_agent else self.root.username

    @property
    def asker_id(self) -> str:
        """The chat's own id of whoever wrote the question; an agent is known by its slug."""
        return self.invocation.asker_agent.slug if self.invocation.asker_agent else self.root.rocketchat_id


def read(*, invocation_id: int) -> Asked:
    row = Invocation.objects.select_related(
        "message__user", "message__agent", "agent", "room__project", "root_asker", "asker_agent"
    ).get(pk=invocation_id)
    return Asked(row, row.message, row.agent, row.room, row.root_asker)
