"""Tools for agents: the endpoint `/mcp/`, the upstream servers behind it, and what an admin does with those."""

from gateway.mcp.definitions import (
    BadDefinitionError,
    McpError,
    NoSuchServerError,
    ServerConflictError,
    check_definition,
    secrets_of,
)
from gateway.mcp.registry import approve, probe, redefine, register, remove, switch_off
from gateway.mcp.secrets_file import BadSecretError, NoSuchSecretError
from gateway.mcp.secrets_file import drop as drop_secret
from gateway.mcp.secrets_file import keep as keep_secret
from gateway.mcp.secrets_file import names as secret_names
from gateway.mcp.standing import SeenTool, missing_secrets, state_of, tools_of
from gateway.mcp.upstream import UpstreamError

__all__ = [
    "BadDefinitionError",
    "BadSecretError",
    "McpError",
    "NoSuchSecretError",
    "NoSuchServerError",
    "SeenTool",
    "ServerConflictError",
    "UpstreamError",
    "approve",
    "check_definition",
    "drop_secret",
    "keep_secret",
    "missing_secrets",
    "probe",
    "redefine",
    "register",
    "remove",
    "secret_names",
    "secrets_of",
    "state_of",
    "switch_off",
    "tools_of",
]
