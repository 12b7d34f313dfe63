"""Which answers and events go wrong on purpose? Scripted by tests at the control door, never by Rocket.Chat."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from gateway.devchat.wire import Document, random_id

REST_ACTIONS = ("drop_socket", "delay", "status", "swallow", "hang")
CALL_ACTIONS = ("drop_socket", "delay", "error", "swallow", "swallow_updated", "hang", "duplicate")
STREAM_ACTIONS = ("drop_socket", "delay", "duplicate", "swallow_broadcast")
MATCHES = {"rest": ("path", "method", "user"), "call": ("call", "user"), "stream": ("stream", "event", "user")}
FIELDS = frozenset(
    {"match", "action", "count", "skip", "delay_ms", "status", "retry_after", "html", "body", "when", "copies", "code"}
)
MAX_RULES = 200  # a test that piles up more has forgotten to clear; it is told


@dataclass(slots=True)
class Fault:
    """One rule. `skip` events pass first, then `count` are hit (None: for ever)."""

    id: str
    door: str
    match: dict[str, str]
    action: str
    count: int | None = 1
    skip: int = 0
    delay_ms: int = 0
    status: int = 502
    retry_after: int | None = None
    html: bool = False
    body: Document | None = None
    when: str = "before"
    copies: int = 2
    code: str = "500"
    hits: int = field(default=0)

    def document(self) -> Document:
        return {
            "id": self.id,
            "match": self.match,
            "action": self.action,
            "count": self.count,
            "skip": self.skip,
            "hits": self.hits,
        }


class Faults:
    def __init__(self) -> None:
        self._rules: list[Fault] = []

    @property
    def is_empty(self) -> bool:
        return not self._rules

    def add(self, raw: Document) -> Fault:
        """Raises ValueError with the reason and the cure."""
        if len(self._rules) >= MAX_RULES:
            raise ValueError(f"more than {MAX_RULES} rules: DELETE /devchat/faults first")
        fault = _parse(raw)
        self._rules.append(fault)
        return fault

    def clear(self) -> None:
        self._rules.clear()

    def documents(self) -> list[Document]:
        return [rule.document() for rule in self._rules]

    def hit(self, door: str, **facts: str) -> Fault | None:
        """The first rule that matches these facts; counts it."""
        if not self._rules:
            return None
        for rule in self._rules:
            if rule.door == door and _matches(rule, facts):
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                self._use(rule)
                return rule
        return None

    def _use(self, rule: Fault) -> None:
        rule.hits += 1
        if rule.count is not None:
            rule.count -= 1
            if rule.count <= 0:
                self._rules.remove(rule)


def _matches(rule: Fault, facts: dict[str, str]) -> bool:
    return all(fnmatchcase(facts.get(name, ""), pattern) for name, pattern in rule.match.items())


def _parse(raw: Document) -> Fault:
    unknown = sorted(set(raw) - FIELDS)
    if unknown:
        raise ValueError(f"unknown field {unknown[0]}; there are: {', '.join(sorted(FIELDS))}")
    match = raw.get("match")
    if not isinstance(match, dict) or not match or not all(isinstance(value, str) for value in match.values()):
        raise ValueError('match must be an object of text patterns, such as {"path": "chat.*"}')
    door = _door(match)
    actions = {"rest": REST_ACTIONS, "call": CALL_ACTIONS, "stream": STREAM_ACTIONS}[door]
    if raw.get("action") not in actions:
        raise ValueError(f"action must be one of {', '.join(actions)} for this match")
    count = raw.get("count", 1)
    options = {key: raw[key] for key in FIELDS - {"match", "action", "count"} if key in raw}
    return Fault(
        id=random_id(8),
        door=door,
        match=match,
        action=raw["action"],
        count=None if count == "forever" else int(count),
        **options,
    )


def _door(match: dict[str, str]) -> str:
    for door, names in MATCHES.items():
        if names[0] in match and not set(match) - set(names):
            return door
    if "event" in match and not set(match) - set(MATCHES["stream"]):
        return "stream"
    raise ValueError("match names one door: path (with method, user), call (with user), or stream/event (with user)")
