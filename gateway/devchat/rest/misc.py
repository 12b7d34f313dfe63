"""What is left: information, settings, and methods called over REST."""

from typing import Any

from gateway.devchat.errors import ChatError, PlainError, ddp_error
from gateway.devchat.rest.calls import Call, Options, get, post
from gateway.devchat.rest.schema import Schema
from gateway.devchat.wire import Document, from_json, to_ddp


def settings_of(call: Call) -> dict[str, Any]:
    switches = call.store.switches
    return {
        "Message_MaxAllowedSize": switches.max_message_size,
        "Message_AllowEditing": True,
        "Message_AllowEditing_BlockEditInMinutes": switches.edit_block_minutes,
        "Message_ShowDeletedStatus": switches.shows_deleted_status,
        "FileUpload_MaxFileSize": switches.max_file_size,
        "FileUpload_ProtectFiles": True,
        "Threads_enabled": True,
        "Site_Url": switches.site_url,
        "Site_Name": "devchat",
        "E2E_Enable": False,
        "UI_Use_Real_Name": False,
        "Accounts_TwoFactorAuthentication_Enabled": switches.two_factor_enabled,
        "API_Enable_Rate_Limiter": switches.limits_enabled,
        "API_Enable_Rate_Limiter_Limit_Calls_Default": switches.rest_limit_calls,
        "API_Enable_Rate_Limiter_Limit_Time_Default": switches.rest_limit_ms,
    }


@get("info", Options(needs_login=False))
def info(call: Call) -> Document:
    return version_info(call)


def version_info(call: Call) -> Document:
    """The full version is for the privileged; everybody else sees major and minor."""
    version = call.store.switches.version
    sees_all = call.caller is not None and call.store.may(call.caller, "view-statistics")
    return {"version": version if sees_all else ".".join(version.split(".")[:2])}


@get("settings.public", Options(needs_login=False))
def public_settings(call: Call) -> Document:
    return _public_settings(call)


def _public_settings(call: Call) -> Document:
    wanted = [name for name in call.text("_id").split(",") if name]
    values = settings_of(call)
    found = [{"_id": name, "value": value} for name, value in values.items() if not wanted or name in wanted]
    return call.page("settings", found)


@get("settings")
def setting(call: Call) -> Document:
    if not call.parts:
        return _public_settings(call)
    call.require("view-privileged-setting")
    values = settings_of(call)
    if call.parts[0] not in values:
        raise PlainError("Setting not found")
    return {"_id": call.parts[0], "value": values[call.parts[0]]}


SETTABLE = {
    "Message_MaxAllowedSize": "max_message_size",
    "Message_AllowEditing_BlockEditInMinutes": "edit_block_minutes",
    "Message_ShowDeletedStatus": "shows_deleted_status",
    "FileUpload_MaxFileSize": "max_file_size",
    "Accounts_TwoFactorAuthentication_Enabled": "two_factor_enabled",
    "API_Enable_Rate_Limiter": "limits_enabled",
    "API_Enable_Rate_Limiter_Limit_Calls_Default": "rest_limit_calls",
    "API_Enable_Rate_Limiter_Limit_Time_Default": "rest_limit_ms",
}


@post("settings", Options(schema=Schema({}, {"value": "string|boolean|number"}, is_strict=False)))
def change_setting(call: Call) -> Document:
    call.pass_two_factor()
    call.require("edit-privileged-setting")
    name = SETTABLE.get(call.parts[0] if call.parts else "")
    if name is None:
        raise ChatError("error-action-not-allowed", "The stand-in cannot change this setting")
    try:
        call.store.switches.change({name: call.body.get("value")})
    except ValueError as error:
        raise ChatError("invalid-params", str(error)) from error
    return {}


@get("roles.list")
def roles(_call: Call) -> Document:
    return {
        "roles": [{"_id": name, "name": name, "scope": "Users"} for name in ("admin", "bot", "user", "app", "guest")]
    }


@get("emoji-custom.list")
def custom_emoji(_call: Call) -> Document:
    return {"emojis": {"update": [], "remove": []}}


@get("commands.list")
def commands(call: Call) -> Document:
    return call.page("commands", [])


@post("method.call", Options(is_limited=False, schema=Schema({"message": "string"}, is_strict=False)))
def call_method(call: Call) -> Document:
    return _method_call(call)


@post(
    "method.callAnon",
    Options(needs_login=False, is_limited=False, schema=Schema({"message": "string"}, is_strict=False)),
)
def call_method_anonymously(call: Call) -> Document:
    return _method_call(call)


def _method_call(call: Call) -> Document:
    try:
        frame = from_json(call.body["message"])
        name, params, call_id = str(frame["method"]), frame.get("params") or [], str(frame.get("id", ""))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ChatError("error-invalid-params", "The message is not a method call") from None
    if call.parts and "/".join(call.parts).replace(":", "/") != name.replace(":", "/"):
        answer: Document = {
            "msg": "result",
            "id": call_id,
            "error": ddp_error(ChatError("404", f"Method '{name}' not found")),
        }
    else:
        answer = call.workspace.call_method(call.caller, name, params, call_id)
    return {"message": to_ddp(answer)}
