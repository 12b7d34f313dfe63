"""Tools for agents: the endpoint `/mcp/`, the upstream servers behind it, and what an admin does with those."""

from gateway.mcp.definitions import BadDefinitionError, McpError, check_definition
from gateway.mcp.registry import approve, probe, register, remove, switch_off

__all__ = [
    "BadDefinitionError",
    "McpError",
    "approve",
    "check_definition",
    "probe",
    "register",
    "remove",
    "switch_off",
]
