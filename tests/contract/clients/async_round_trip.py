"""Logs in with rocketchat-async, subscribes, sends, hears an edit, reacts; prints what it saw as one JSON line.

The client has no call to edit (of 4.3.0's methods only sending, reacting and typing write), so the edit that it hears is Bob's.
Runs in an environment of its own, for the client wants an old `websockets`. Bob's part goes by REST.
"""

import asyncio
import json
import os
import sys
import urllib.request
from typing import Any

from rocketchat_async import RocketChat  # type: ignore[import-not-found]  # it has an environment of its own

HOST, ROOM = os.environ["HOST"], os.environ["ROOM"]
LIMIT_S = 10


def bob(route, **body):
    request = urllib.request.Request(
        f"{HOST}/api/v1/{route}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **json.loads(os.environ["OTHER"])},
    )
    with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
        return json.load(answer)


async def main():
    seen: dict[str, Any] = {"heard": [], "reactions": None}
    news = asyncio.Event()

    def hear(message):
        seen["heard"].append(message["msg"])
        seen["reactions"] = message.get("reactions")
        news.set()

    async def until(check):
        async with asyncio.timeout(LIMIT_S):
            while not check():
                await news.wait()
                news.clear()

    client = RocketChat()
    address = HOST.replace("http", "ws") + "/websocket"
    await client.start(address, os.environ["CLIENT_USER"], os.environ["CLIENT_PASSWORD"])
    seen["user"] = client.user_id
    seen["rooms"] = ROOM in [room_id for room_id, _ in await client.get_channels()]
    await client.subscribe_to_channel_messages_raw(ROOM, hear)
    await client.send_typing_event(ROOM)
    await client.send_message("from the client", ROOM)
    await until(lambda: len(seen["heard"]) == 1)
    said = (await asyncio.to_thread(bob, "chat.sendMessage", message={"rid": ROOM, "msg": "from bob"}))["message"]
    await until(lambda: len(seen["heard"]) == 2)
    await asyncio.to_thread(bob, "chat.update", roomId=ROOM, msgId=said["_id"], text="from bob, edited")
    await until(lambda: len(seen["heard"]) == 3)
    await client.send_reaction(said["_id"], ":eyes:")
    await until(lambda: seen["reactions"])
    sys.stdout.write(json.dumps(seen) + "\n")


asyncio.run(main())
