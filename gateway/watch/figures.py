"""What does each process count of itself? Shown by its own `/metrics`; docs/watching.md describes every one."""

from collections.abc import Iterable

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.watch import BEATS

MESSAGES = Counter("nexus_messages_stored_total", "Chat messages stored or changed")
QUESTIONS = Counter("nexus_questions_total", "Invocations opened by chat messages")
CHAT_CALLS = Counter("nexus_chat_calls_total", "REST calls to the chat", ["outcome"])
CHAT_WAITS = Counter("nexus_chat_limit_waits_total", "Calls put off because the chat limits its callers")
CHAT_WAITED = Counter("nexus_chat_limit_waited_s_total", "Seconds that such calls were put off for")
CHAT_ACCOUNTS = Gauge("nexus_chat_accounts", "Bot accounts that this chat process holds", ["state"])
NUDGES_LOST = Counter("nexus_nudges_lost_total", "Nudges that Redis did not take; the sweep finds their work")
WEBHOOK_UNVERIFIED = Counter(
    "nexus_webhook_unverified_total", "Webhook calls that named a message which the chat does not have"
)
SWEEP_ROUNDS = Counter("nexus_sweep_rounds_total", "Rounds of the sweep that led")
SWEEP_MOVED = Counter("nexus_sweep_moved_total", "Rows that a timer moved", ["timer"])


class _Loops(Collector):
    def collect(self) -> Iterable[GaugeMetricFamily]:
        ages = GaugeMetricFamily(
            "nexus_loop_age_s", "Seconds since a loop of this process last did its work", labels=["loop"]
        )
        for name, age_s in BEATS.ages_s().items():
            ages.add_metric([name], age_s)
        yield ages


REGISTRY.register(_Loops())
