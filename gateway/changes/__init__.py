"""What people who look after Nexus may change, each with its audit entry: one function for site, API and command."""

from gateway.changes.agents import change_agent, set_persona
from gateway.changes.errors import BadValueError, ChangeError, ConflictError, GoneError
from gateway.changes.knowledge import (
    LANDMARK_KINDS,
    change_landmark,
    correct_fact,
    correct_memory,
    forget_fact,
    forget_memory,
    take_back_grant,
)
from gateway.changes.leaves import LEAVES, names_of, set_leave
from gateway.changes.people import ROLES, change_user, forget_person
from gateway.changes.places import add_project, change_project, change_room, remove_project
from gateway.changes.tokens import rename_bridge
from gateway.changes.work import ask_again, stop

__all__ = [
    "LANDMARK_KINDS",
    "LEAVES",
    "ROLES",
    "BadValueError",
    "ChangeError",
    "ConflictError",
    "GoneError",
    "add_project",
    "ask_again",
    "change_agent",
    "change_landmark",
    "change_project",
    "change_room",
    "change_user",
    "correct_fact",
    "correct_memory",
    "forget_fact",
    "forget_memory",
    "forget_person",
    "names_of",
    "remove_project",
    "rename_bridge",
    "set_leave",
    "set_persona",
    "stop",
    "take_back_grant",
]
