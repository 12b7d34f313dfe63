"""B3's peer: the same relay as Channels' own guide has it, a JSON consumer and a `group_send` for each chunk. Stores nothing."""

import os
from typing import Any

from django.conf import settings

settings.configure(
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [os.environ["CHANNELS_REDIS_URL"]]},
        }
    }
)

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402 - after the settings
from channels.routing import ProtocolTypeRouter  # noqa: E402


class Relay(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """`/sub/<id>` hears what `/bridge/<id>` says, as `load.cjs` speaks it."""

    async def connect(self) -> None:
        _, kind, self.group = self.scope["path"].split("/")
        if kind == "sub":
            await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def receive_json(self, content: dict[str, Any], **_: Any) -> None:
        if content["t"] == "chunk":
            await self.channel_layer.group_send(content["inv"], {"type": "relay", "chunk": content})

    async def relay(self, event: dict[str, Any]) -> None:
        await self.send_json(event["chunk"])

    async def disconnect(self, _code: int) -> None:
        await self.channel_layer.group_discard(self.group, self.channel_name)


application = ProtocolTypeRouter({"websocket": Relay.as_asgi()})
