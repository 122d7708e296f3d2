"""Turns as spans of OpenTelemetry (the extra ``otel``): one a turn, nothing per chunk, no content.

Names are those of OpenTelemetry's GenAI conventions where it has some, else ``bridge.``:
https://github.com/open-telemetry/semantic-conventions-genai. The standard variables (``OTEL_...``) say where
spans go and which; they leave on a thread of their own, and are dropped where nobody takes them.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from bridge import __version__
from bridge.errors import SettingsError, SpansLost
from bridge.facts import TurnReport
from bridge.ports import Claim
from bridge.tracing import Trace

SERVICE = "chat-stream-bridge"
CLOSE_S = 0.5
"""How long the last spans get to leave when the process goes down."""
_W3C = TraceContextTextMapPropagator()
_ROOT = Context()
_HOPS = ("first_event", "first_delta", "first_kept", "first_chunk")
"""The times of a report that a span has as events."""


class _Turn:
    """One span; implements `Trace`."""

    def __init__(self, span: Span, headers: Mapping[str, str]) -> None:
        self._span = span
        self._began_at_ns = time.time_ns(), time.monotonic_ns()
        own: dict[str, str] = {}
        _W3C.inject(own, trace.set_span_in_context(span, _ROOT))
        self.name = own.get("traceparent", "")
        self.headers = {name: value for name, value in headers.items() if name not in _W3C.fields} | own

    def ended(self, report: TurnReport, *, fenced: bool) -> None:
        """End the span; see `Trace.ended`."""
        if self._span.is_recording():
            ended_at_ns = self._now_ns()
            self._span.set_attributes(_attributes(report) if not fenced else {"bridge.fenced": True})
            self._tell_hops(report, ended_at_ns)
            if report.error_code is not None and not fenced:
                self._span.set_attribute("error.type", report.error_code)
                self._span.set_status(Status(StatusCode.ERROR))
            self._span.end(ended_at_ns)

    def _now_ns(self) -> int:
        """Return the wall clock as it goes on from the start, so that no span ends before it began."""
        wall_ns, steady_ns = self._began_at_ns
        return wall_ns + time.monotonic_ns() - steady_ns

    def _tell_hops(self, report: TurnReport, ended_at_ns: int) -> None:
        for hop in _HOPS:
            after_s = getattr(report, f"{hop}_s")
            if after_s is not None:
                at_ns = ended_at_ns - round((report.completion_s - after_s) * 1e9)
                self._span.add_event(f"bridge.{hop}", timestamp=at_ns)


class OpenTelemetry:
    """Makes spans and gives them to ``processor``, which it owns; implements `Tracing`.

    ``profile`` and ``backend_url`` say who answers.
    """

    def __init__(self, processor: SpanProcessor, *, profile: str, backend_url: str) -> None:
        named = Resource({SERVICE_NAME: SERVICE}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=Resource.create(named.attributes), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("bridge", __version__)
        at = urlsplit(backend_url)
        self._answers: dict[str, str | int] = {
            "gen_ai.provider.name": profile,
            "server.address": at.hostname or "",
        }
        if at.port is not None:
            self._answers["server.port"] = at.port

    def begin(self, claim: Claim, headers: Mapping[str, str]) -> Trace:
        """Begin a span below the one that ``headers`` name; see `Tracing.begin`."""
        return _Turn(self._span(claim, _W3C.extract(headers, _ROOT)), headers)

    def go_on(self, claim: Claim) -> Trace:
        """Begin a span in the trace of the first owner's, with a link to that; see `Tracing.go_on`."""
        before = _W3C.extract({"traceparent": claim.trace}, _ROOT)
        return _Turn(self._span(claim, before, trace.get_current_span(before).get_span_context()), {})

    def _span(self, claim: Claim, parent: Context, *beside: SpanContext) -> Span:
        attributes: dict[str, str | int] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.stream": claim.streaming,
            "bridge.turn.id": claim.turn_id,
            **self._answers,
        }
        links = [Link(each) for each in beside if each.is_valid]
        return self._tracer.start_span("chat", parent, SpanKind.CLIENT, attributes, links)

    async def close(self) -> None:
        """Send what waits, for a short time; who is not done by then is left."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            _tell(loop, done.set)

        # an executor's thread is waited for at exit, however long the collector hangs
        threading.Thread(target=shut_down, name="last spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await done.wait()


class _Watched(SpanExporter):
    """Tells ``failed`` in the loop when ``exporter`` begins to fail, not at every batch."""

    def __init__(self, exporter: SpanExporter, failed: Callable[[BaseException], None]) -> None:
        self._exporter = exporter
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._well = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export on the processor's thread."""
        result = self._exporter.export(spans)
        well = result is SpanExportResult.SUCCESS
        if self._well and not well:
            lost = SpansLost("unable to export spans; the collector does not take them")
            _tell(self._loop, lambda: self._failed(lost))
        self._well = well
        return result

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to be told
        loop.call_soon_threadsafe(what)


def exported(failed: Callable[[BaseException], None]) -> SpanProcessor:
    """Return what sends spans over OTLP and HTTP as the environment says. Raises `SettingsError`."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # `failed` is told, once
    try:
        return BatchSpanProcessor(_Watched(OTLPSpanExporter(), failed))
    except Exception as exc:  # whatever a variable that cannot be used makes the SDK raise
        raise SettingsError(f"unable to use BRIDGE_OTEL; an OTEL_ variable is wrong: {exc}") from exc


def _attributes(report: TurnReport) -> dict[str, str | bool | int | float | list[str]]:
    attributes: dict[str, str | bool | int | float | list[str]] = {
        "gen_ai.response.finish_reasons": [report.finish_reason],
        "bridge.request.id": str(report.request_id),
        "bridge.room.id": str(report.room_id),
        "bridge.message.id": str(report.message_id),
        "bridge.deltas": report.deltas,
        "bridge.chunks": report.chunks,
        "bridge.backend_calls": report.backend_calls,
        "bridge.taken_over": report.taken_over,
        "bridge.differs": report.differs,
    }
    if report.first_delta_s is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = report.first_delta_s
    return attributes
