"""Paths that are answered outside Django's handler: sockets, and HTTP that must be fast."""

from collections.abc import Awaitable, Callable
from typing import Any

from django.urls import path

from gateway import webhook
from gateway.hub import BridgeConsumer

websocket_urlpatterns = [path("ws/bridge/", BridgeConsumer.as_asgi())]

hot_paths: dict[str, Callable[..., Awaitable[Any]]] = {"/rc/webhook": webhook.application}
"""ASGI functions by exact path."""
