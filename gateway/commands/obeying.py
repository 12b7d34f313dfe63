"""Does what a command says, and answers it in the room."""

from datetime import datetime

from django.conf import settings

from gateway import nudges
from gateway.commands.registry import COMMANDS, Command, Order, Place, nearest
from gateway.invocations import chat_message_id
from gateway.models import Notice, NoticeKind, RoomMember, User


def obey(found: Command, *, place: Place, now: datetime) -> None:
    """Do what the command says and answer it in the room."""
    entry = COMMANDS.get(found.name)
    is_late = now.timestamp() - place.ts / 1000 > settings.NEXUS_MENTION_MAX_AGE_S
    if is_late and (entry is None or not entry.works_late):
        return
    user = User.objects.get(pk=place.user_id)
    if user.is_foreign_bot:
        return
    if entry is None:
        text = f"There is no `!{found.name}`. Did you mean `!{nearest(found.name)}`? `!help` lists all commands."
    else:
        text = entry.act(Order(command=found, place=place, user=user, now=now))
    if text:
        answer(place=place, text=text)


def answer(*, place: Place, text: str) -> None:
    """Said by an agent that is in the room; by `nexus` where there is none."""
    agents = RoomMember.objects.filter(room_id=place.room_id, agent__isnull=False).order_by("agent_id")
    speaker = agents.values_list("agent_id", flat=True).first()
    Notice.objects.get_or_create(
        chat_id=chat_message_id(f"command:{place.message_id}"),
        defaults={
            "room_id": place.room_id,
            "agent_id": speaker,
            "about_id": place.message_id,
            "kind": NoticeKind.COMMAND,
            "thread": place.thread,
            "text": text,
        },
    )
    nudges.chat(agent_id=speaker, room_id=place.room_id)
