"""A server's definition as fields that a person fills in, and back: what stands in them is checked by gateway.mcp."""

from collections.abc import Mapping
from typing import Any, Final

from django import forms
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

SECRET: Final = "secret:"  # noqa: S105 - a word
TEXT: Final = 20_000
PAIRS: Final = "One a line: NAME=text, or NAME=secret:MY_SECRET for what stands under MCP secrets."


def _many_lines(label: str, help_text: str) -> forms.CharField:
    return forms.CharField(
        label=label,
        required=False,
        max_length=TEXT,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=help_text,
    )


class DefinitionForm(forms.Form):
    transport = forms.ChoiceField(
        choices=[("stdio", "a program on this host (stdio)"), ("http", "an address (streamable HTTP)")],
        widget=UnfoldAdminSelectWidget,
    )
    command = forms.CharField(
        label="Program",
        required=False,
        max_length=1_000,
        widget=UnfoldAdminTextInputWidget,
        help_text="An absolute path that stands in NEXUS_MCP_COMMANDS. For a program only.",
    )
    args = _many_lines("Arguments", "One a line. No secrets: programs' arguments can be read by everybody on a host.")
    env = _many_lines("Environment", PAIRS)
    url = forms.CharField(
        label="Address",
        required=False,
        max_length=2_000,
        widget=UnfoldAdminTextInputWidget,
        help_text="Like https://tools.example.org/mcp. For an address only.",
    )
    headers = _many_lines("Headers", PAIRS)
    allow_private = forms.BooleanField(
        required=False, widget=UnfoldBooleanWidget, help_text="It may be http, and in your own network."
    )
    timeout_s = forms.FloatField(
        label="Limit in seconds", required=False, widget=UnfoldAdminTextInputWidget, help_text="60 if left empty."
    )

    def definition(self) -> dict[str, Any]:
        """Only what belongs to the chosen transport and was filled in."""
        given = self.cleaned_data
        made: dict[str, Any]
        if given["transport"] == "stdio":
            made = {"command": given["command"], "args": _lines(given["args"]), "env": _table(given["env"])}
        else:
            made = {"url": given["url"], "headers": _table(given["headers"])}
            made |= {"allow_private": True} if given["allow_private"] else {}
        if given["timeout_s"] is not None:
            made["timeout_s"] = given["timeout_s"]
        return {name: value for name, value in made.items() if value not in ([], {})}


class NewServerForm(DefinitionForm):
    name = forms.CharField(
        max_length=31, widget=UnfoldAdminTextInputWidget, help_text="Small letters, digits and dashes, like tracker."
    )
    field_order = ("name",)


def filled(transport: str, definition: Mapping[str, Any]) -> dict[str, Any]:
    """What the fields hold for a definition that is there."""
    return {
        **{name: definition.get(name) for name in ("command", "url", "allow_private", "timeout_s")},
        "transport": transport,
        "args": "\n".join(definition.get("args", [])),
        "env": _text(definition.get("env", {})),
        "headers": _text(definition.get("headers", {})),
    }


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _table(text: str) -> dict[str, Any]:
    pairs = (line.partition("=") for line in _lines(text))
    return {name.strip(): _value(value.strip()) for name, _, value in pairs}


def _value(text: str) -> str | dict[str, str]:
    return {"secret": text.removeprefix(SECRET)} if text.startswith(SECRET) else text


def _text(table: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{name}={SECRET}{value['secret']}" if isinstance(value, dict) else f"{name}={value}"
        for name, value in table.items()
    )
