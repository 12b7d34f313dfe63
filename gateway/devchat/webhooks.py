"""Which outgoing webhooks fire for an event, what do they carry, and what follows from the answer?"""

import asyncio
import http.client
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from gateway.devchat import messages
from gateway.devchat.errors import ChatError, PlainError
from gateway.devchat.events import Occurrence
from gateway.devchat.models import CHANNEL, DIRECT, PRIVATE, Room
from gateway.devchat.store import Store
from gateway.devchat.wire import Document, Moment, from_json, iso, to_rest

logger = logging.getLogger("devchat.webhooks")

EVENTS = frozenset(
    {"sendMessage", "fileUploaded", "roomArchived", "roomCreated", "roomJoined", "roomLeft", "userCreated"}
)
CHANNEL_GROUPS = {"all_public_channels": CHANNEL, "all_private_groups": PRIVATE, "all_direct_messages": DIRECT}
USER_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36"
)
TIMEOUT_S = 20
MAX_ANSWER_BYTES = 10 * 1024 * 1024
DEFAULT_RETRY_COUNT = 4
MAX_PARALLEL = 16
MAX_PENDING = 2_000  # further deliveries are dropped and logged: upstream promises at most once anyway


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    body: bytes


class Verdict(Enum):
    DELIVERED = "delivered"
    RETRY = "retry"
    GIVE_UP = "give up"
    DISABLE = "disable"


Fetch = Callable[[str, bytes], Awaitable[Answer]]
Sleep = Callable[[float], Awaitable[None]]


def judge(answer: Answer) -> Verdict:
    """An empty success counts as a failure; 500 with a body is final; 410 switches the integration off."""
    if answer.status in (200, 201, 202) and answer.body:
        return Verdict.DELIVERED
    if answer.status == 410:
        return Verdict.DISABLE
    if answer.status == 500 and answer.body:
        return Verdict.GIVE_UP
    return Verdict.RETRY


def retry_delay(integration: Document, tries: int) -> float | None:
    """Seconds before the next try, counted from 0; None when there is none."""
    count = integration.get("retryCount")
    limit = count if isinstance(count, int) and count > 0 else DEFAULT_RETRY_COUNT
    if not integration.get("retryFailedCalls") or tries >= limit:
        return None
    match integration.get("retryDelay", "powers-of-ten"):
        case "powers-of-two":
            return float(2 ** (tries + 1))
        case "increments-of-two":
            return float((tries + 1) * 2)
        case _:
            return 0.1 * 10.0**tries


def is_meant(integration: Document, occurrence: Occurrence) -> bool:
    if not integration.get("enabled") or integration["event"] != occurrence.event:
        return False
    if occurrence.is_edit and not integration.get("runOnEdits"):
        return False
    return occurrence.room is None or any(_covers(name, occurrence.room) for name in integration["channel"])


def _covers(name: str, room: Room) -> bool:
    if name in CHANNEL_GROUPS:
        return room.t == CHANNEL_GROUPS[name]
    if name.startswith("@"):
        return room.t == DIRECT and name[1:] in room.usernames
    return room.name == name.removeprefix("#")


def trigger_word(integration: Document, text: str) -> str | None:
    """The word that fires; empty when none is asked for, None when none of them stands there."""
    words = integration.get("triggerWords") or []
    if not words:
        return ""
    anywhere = integration.get("triggerWordAnywhere")
    return next((word for word in words if (word in text if anywhere else text.startswith(word))), None)


def payload(store: Store, integration: Document, occurrence: Occurrence, word: str) -> Document:
    room, message = occurrence.room, occurrence.message
    body: Document = {"token": integration["token"], "bot": False}
    if word:
        body["trigger_word"] = word
    if room is not None:
        body["channel_id"] = room.id
        if room.t != DIRECT:
            body["channel_name"] = room.name
    if message is None:
        return body | {
            "timestamp": iso(store.now()),
            "user_id": occurrence.user.id,
            "user_name": occurrence.user.username,
        }
    body |= {
        "bot": bool(message.get("bot")),
        "message_id": message["_id"],
        "timestamp": Moment(message["ts"]),
        "user_id": message["u"]["_id"],
        "user_name": message["u"]["username"],
        "text": message["msg"],
        "siteUrl": store.switches.site_url,
    }
    body |= {key: message[key] for key in ("alias", "tmid") if key in message}
    if occurrence.is_edit:
        body["isEdited"] = True
    if occurrence.event == "fileUploaded":
        body |= {"user": occurrence.user.author(), "message": message, "room": room.document() if room else {}}
    return body


class Webhooks:
    """Sends what is due in the background. Every delivery is a task this object owns and ends."""

    def __init__(self, *, store: Store, fetch: Fetch | None = None, sleep: Sleep = asyncio.sleep) -> None:
        self._store = store
        self._fetch = fetch or fetch_by_http
        self._sleep = sleep
        self._deliveries: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MAX_PARALLEL)

    def fire(self, occurrence: Occurrence) -> None:
        """Never waits: called in the middle of a rule."""
        if not self._store.integrations:
            return
        for integration in list(self._store.integrations.values()):
            if not is_meant(integration, occurrence):
                continue
            word = trigger_word(integration, occurrence.message["msg"] if occurrence.message else "")
            if word is None:
                continue
            body = to_rest(payload(self._store, integration, occurrence, word))
            self._start(integration, occurrence, body)

    def _start(self, integration: Document, occurrence: Occurrence, body: bytes) -> None:
        if len(self._deliveries) >= MAX_PENDING:
            logger.warning("webhook dropped, too many are pending", extra={"integration": integration["_id"]})
            return
        delivery = asyncio.get_running_loop().create_task(
            self._deliver(integration, occurrence, body), name=f"webhook {integration['name']}"
        )
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)

    async def _deliver(self, integration: Document, occurrence: Occurrence, body: bytes) -> None:
        for url in integration["urls"]:
            try:
                await self._deliver_to(url, integration, occurrence, body)
            except Exception:
                # The outermost edge of a delivery: one bad URL must not keep the next one from its call.
                logger.exception("webhook failed", extra={"integration": integration["_id"]})

    async def _deliver_to(self, url: str, integration: Document, occurrence: Occurrence, body: bytes) -> None:
        tries = 0
        while True:
            try:
                async with self._slots:
                    answer = await self._fetch(url, body)
            except (OSError, http.client.HTTPException, ValueError) as error:
                # Refused and timed-out calls are logged and not retried, as upstream.
                logger.warning(
                    "webhook not reachable", extra={"integration": integration["_id"], "reason": str(error)}
                )
                return
            verdict = judge(answer)
            if verdict is Verdict.DELIVERED:
                self._post_answer(integration, occurrence, answer)
            if verdict is Verdict.DISABLE:
                integration["enabled"] = False
            delay = retry_delay(integration, tries) if verdict is Verdict.RETRY else None
            if delay is None:
                return
            await self._sleep(delay)
            tries += 1

    def _post_answer(self, integration: Document, occurrence: Occurrence, answer: Answer) -> None:
        draft = _answer_draft(integration, answer)
        user = self._store.user_named(integration["username"])
        if integration.get("impersonateUser"):
            user = occurrence.user
        if not draft or user is None or occurrence.room is None or occurrence.room.id not in self._store.rooms:
            return
        try:
            messages.post(self._store, user=user, room=occurrence.room, draft=draft)
        except (ChatError, PlainError) as error:
            logger.info("webhook answer refused", extra={"integration": integration["_id"], "reason": str(error)})

    async def stop(self) -> None:
        for delivery in list(self._deliveries):
            delivery.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)


def _answer_draft(integration: Document, answer: Answer) -> Document | None:
    if "json" not in answer.content_type and "javascript" not in answer.content_type:
        return None
    try:
        body = from_json(answer.body)
    except ValueError:
        return None
    if not isinstance(body, dict) or not (body.get("text") or body.get("attachments")):
        return None
    draft: Document = {"msg": str(body.get("text") or ""), "bot": {"i": integration["_id"]}, "groupable": False}
    for key in ("alias", "avatar", "emoji"):
        value = body.get(key) or integration.get(key)
        if value:
            draft[key] = str(value)
    if isinstance(body.get("attachments"), list):
        draft["attachments"] = body["attachments"]
    return draft


async def fetch_by_http(url: str, body: bytes) -> Answer:
    return await asyncio.to_thread(_post, url, body)


def _post(url: str, body: bytes) -> Answer:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http address: {url}")
    connection = (
        http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=TIMEOUT_S, context=ssl.create_default_context()
        )
        if parts.scheme == "https"
        else http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)
    )
    try:
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request("POST", target, body, {"Content-Type": "application/json", "User-Agent": USER_AGENT})
        response = connection.getresponse()
        return Answer(response.status, response.headers.get("Content-Type", ""), response.read(MAX_ANSWER_BYTES))
    finally:
        connection.close()
