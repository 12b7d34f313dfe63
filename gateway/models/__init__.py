"""The gateway's tables, one file per noun; docs/data-model.md says who owns each and how long rows live."""

from gateway.models.audit import AuditEntry, AuditSeal
from gateway.models.bridges import Bridge, HostLease, JoinCode, ToolToken
from gateway.models.identity import Agent, BotAccount, CliKind, PersonaVersion, Project, User, WhoMayAsk
from gateway.models.invocations import FINAL, LIVE, Invocation, Purpose, State, Steer
from gateway.models.messages import File, Message, Reaction, SetAside
from gateway.models.notices import Notice, NoticeKind
from gateway.models.rooms import Room, RoomCursor, RoomKind, RoomMember
from gateway.models.tools import Approval, Asks, Grant, McpServer, RoomTool

__all__ = [
    "FINAL",
    "LIVE",
    "Agent",
    "Approval",
    "Asks",
    "AuditEntry",
    "AuditSeal",
    "BotAccount",
    "Bridge",
    "CliKind",
    "File",
    "Grant",
    "HostLease",
    "Invocation",
    "JoinCode",
    "McpServer",
    "Message",
    "Notice",
    "NoticeKind",
    "PersonaVersion",
    "Project",
    "Purpose",
    "Reaction",
    "Room",
    "RoomCursor",
    "RoomKind",
    "RoomMember",
    "RoomTool",
    "SetAside",
    "State",
    "Steer",
    "ToolToken",
    "User",
    "WhoMayAsk",
]
