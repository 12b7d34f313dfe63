"""Where did the time of one invocation go? Its spans, for OpenTelemetry; nothing of that is imported while it is off.

The context of a trace is not carried: it follows from the invocation's id and the host's secret key, which every process
knows. So the row stays the only hand-over, a process may die anywhere, and whoever goes on is in the same trace.
"""

import contextlib
import contextvars
import hashlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import SpanContext

logger = logging.getLogger(__name__)

ROOT: Final = "invocation"
"""The span that all others of a trace stand below; written when the room has the final word."""

EXPORT_TIMEOUT_S: Final = 5
QUEUED_SPANS: Final = 2_000
"""Above it spans are dropped: a collector that is away must cost nothing else."""

_state: "_State | None" = None
_wanted: contextvars.ContextVar["SpanContext | None"] = contextvars.ContextVar("nexus_span", default=None)


class _State:
    def __init__(self, *, pid: int, provider: "TracerProvider") -> None:
        self.pid = pid
        self.provider = provider
        self.tracer = provider.get_tracer("nexus")


def is_on() -> bool:
    return _state is not None or (bool(settings.NEXUS_TRACES_URL) and _is_installed())


@lru_cache(maxsize=1)
def _is_installed() -> bool:
    """Asked once, at the first thing worth a span: without the packages a turn must not fail for its trace."""
    is_there = importlib.util.find_spec("opentelemetry.sdk") is not None
    if not is_there:
        logger.warning("no traces: their packages are not there; make install-traces brings them")
    return is_there


@contextlib.contextmanager
def span(name: str, *, invocation_id: int, **about: Any) -> Iterator[None]:
    """The time inside, as a span of that invocation's trace; what is raised inside marks it as failed."""
    if not is_on():
        yield
        return
    from opentelemetry import trace

    below = trace.set_span_in_context(trace.NonRecordingSpan(root_of(invocation_id)))
    given = {"nexus.invocation": invocation_id, **about}
    with _here().tracer.start_as_current_span(name, context=below, attributes=given):
        yield


def record(name: str, *, invocation_id: int, began_at: float, **about: Any) -> None:
    """A span that ends now and began at that time of `time.time()`."""
    if not is_on():
        return
    from opentelemetry import trace

    below = trace.set_span_in_context(trace.NonRecordingSpan(root_of(invocation_id)))
    given = {"nexus.invocation": invocation_id, **about}
    one = _here().tracer.start_span(name, context=below, attributes=given, start_time=int(began_at * 1e9))
    one.end()


def finish(*, invocation_id: int, began_at: float, **about: Any) -> None:
    """The root itself, once all is said and done."""
    if not is_on():
        return
    from opentelemetry.context import Context

    token = _wanted.set(root_of(invocation_id))
    try:
        given = {"nexus.invocation": invocation_id, **about}
        one = _here().tracer.start_span(ROOT, context=Context(), attributes=given, start_time=int(began_at * 1e9))
    finally:
        _wanted.reset(token)
    one.end()


@lru_cache(maxsize=1_000)
def root_of(invocation_id: int) -> "SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags

    digest = hashlib.sha256(f"trace {invocation_id} {settings.SECRET_KEY}".encode()).digest()
    trace_id, span_id = int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])
    is_kept = (trace_id & (2**64 - 1)) < round(settings.NEXUS_TRACES_RATIO * 2**64)
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(int(is_kept)))


def use(processor: "SpanProcessor", *, program: str) -> "TracerProvider":
    """Spans of this process go there from now on; tests bring their own."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    class Ids(RandomIdGenerator):
        """Of the root, both ids are known before."""

        def generate_trace_id(self) -> int:
            wanted = _wanted.get()
            return wanted.trace_id if wanted else super().generate_trace_id()

        def generate_span_id(self) -> int:
            wanted = _wanted.get()
            return wanted.span_id if wanted else super().generate_span_id()

    global _state
    provider = TracerProvider(
        resource=Resource.create({"service.name": program, "service.namespace": "nexus"}),
        sampler=ParentBased(TraceIdRatioBased(settings.NEXUS_TRACES_RATIO)),
        id_generator=Ids(),
    )
    provider.add_span_processor(processor)
    _state = _State(pid=os.getpid(), provider=provider)
    return provider


def stop() -> None:
    """Send what waits, and be as if never begun; for the end of a process and of a test."""
    global _state
    if _state is not None and _state.pid == os.getpid():
        _state.provider.shutdown()
    _state = None


def _here() -> _State:
    """Of this process: a worker's child does not use what its parent made."""
    if _state is not None and _state.pid == os.getpid():
        return _state
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=f"{settings.NEXUS_TRACES_URL}/v1/traces", timeout=EXPORT_TIMEOUT_S)
    use(BatchSpanProcessor(exporter, max_queue_size=QUEUED_SPANS, schedule_delay_millis=1_000), program=_program)
    assert _state is not None  # noqa: S101 - just made
    return _state


_program = "nexus"


def named(program: str) -> None:
    """What this process is called in its spans; before the first of them."""
    global _program
    _program = program
