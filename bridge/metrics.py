"""Facts become figures for Prometheus; ``docs/metrics.md`` explains each. Per turn, never per chunk."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from bridge import __version__
from bridge.facts import Happening, Refused, TurnReport
from bridge.rollout import Rollout

CONTENT_TYPE = CONTENT_TYPE_LATEST
FIRST_CHUNK_S = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
TURN_S = (0.25, 0.5, 1, 2, 4, 6, 8, 10, 15, 30, 60, 120)
LATE_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
"""Bounds of the buckets; the limits that alerts ask for are among them."""
CODES_LIMIT = 64
"""More codes of refusals than there are; beyond it they are ``other``."""

_COUNTED = {
    Happening.TAKEN_OVER: "bridge_takeovers",
    Happening.FENCED: "bridge_fenced",
    Happening.GAP_REPAIRED: "bridge_gaps_repaired",
    Happening.LETTERS_LOST: "bridge_inbox_losses",
    Happening.RESUMED: "bridge_resumes",
    Happening.RESUME_UNKNOWN: "bridge_resumes_unknown",
    Happening.LAGGED: "bridge_devices_lagged",
    Happening.CUT_OFF: "bridge_devices_cut_off",
    Happening.FLAG_CHANGED: "bridge_flag_changes",
    Happening.FRAME_SKIPPED: "bridge_frames_skipped",
    Happening.GAP_REPORTED: "bridge_gaps_reported",
    Happening.CONFIRMED: "bridge_confirmations",
    Happening.UNCONFIRMED: "bridge_confirmations_missing",
    Happening.GUARD_TRIPPED: "bridge_guard_trips",
    Happening.GUARD_REFRAINED: "bridge_guard_refrained",
    Happening.GUARD_REARMED: "bridge_guard_rearmed",
    Happening.WEBHOOK_LOST: "bridge_guard_webhooks_lost",
}
_READ = {
    "bridge_turns_running": "turns that run on this node",
    "bridge_devices": "devices that are in a room of this node",
    "bridge_draining": "1 while this node takes no new turn",
    "bridge_store_up": "1 while the store answers; always 1 without Redis",
    "bridge_guard_state": "the guard: 0 nothing to watch, 1 watching, 2 half-open, 3 it turned streaming off",
    "bridge_inbox_lag_seconds": "how long the letters that were read last had waited in the inbox",
}


class Metrics:
    """The figures of one process, in a registry of its own; implements `Telemetry`."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Info("bridge", "the bridge", registry=self.registry).info({"version": __version__})
        self._turns = self._counter("bridge_turns", "ended turns", "path", "finish_reason")
        self._errors = self._counter("bridge_turn_errors", "turns that ended by an error", "code")
        self._differing = self._counter("bridge_turns_differing", "turns whose final text differs")
        self._deltas = self._counter("bridge_deltas", "pieces of text that backends sent")
        self._chunks = self._counter("bridge_chunks", "chunks that rooms heard")
        self._calls = self._counter("bridge_backend_calls", "calls of the backend")
        self._codes: set[str] = set()
        self._refusals = self._counter("bridge_refusals", "what was refused", "what", "code")
        self._faults = self._counter("bridge_faults", "faults of the bridge itself", "error")
        self._counted = {what: self._counter(name, what.value) for what, name in _COUNTED.items()}
        self._delta = self._histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds", "the backend's first text", FIRST_CHUNK_S
        )
        self._hops = self._histogram(
            "bridge_time_to_first_chunk_seconds", "from the send to each hop", FIRST_CHUNK_S, "hop"
        )
        self._whole = self._histogram("bridge_turn_duration_seconds", "whole turns", TURN_S, "path")
        self._confirmed = self._histogram(
            "bridge_device_confirm_seconds", "from telling a device to its ack", FIRST_CHUNK_S, "event"
        )
        self._late = self._histogram("bridge_loop_lag_seconds", "how late the heartbeat was", LATE_S)
        self._percent = Gauge("bridge_flag_percent", "the flag: 0 is off, 100 is on", registry=self.registry)
        self._read = {name: Gauge(name, says, registry=self.registry) for name, says in _READ.items()}

    def turn_ended(self, report: TurnReport) -> None:
        """Count a turn; see `Telemetry.turn_ended`."""
        path = "streaming" if report.streaming else "complete"
        self._turns.labels(path, report.finish_reason).inc()
        if report.error_code is not None:
            self._errors.labels(report.error_code).inc()
        self._differing.inc(report.differs)
        self._deltas.inc(report.deltas)
        self._chunks.inc(report.chunks)
        self._calls.inc(report.backend_calls)
        self._whole.labels(path).observe(report.completion_s)
        if report.streaming and not report.taken_over:
            self._observe_hops(report)

    def _observe_hops(self, report: TurnReport) -> None:
        if report.first_delta_s is not None:
            self._delta.observe(report.first_delta_s)
        hops = {
            "backend": report.first_event_s,
            "journalled": report.first_kept_s,
            "written": report.first_chunk_s,
        }
        for hop, after_s in hops.items():
            if after_s is not None:
                self._hops.labels(hop).observe(after_s)

    def fault(self, error: BaseException) -> None:
        """Count a fault; see `Telemetry.fault`."""
        self._faults.labels(type(error).__name__).inc()

    def happened(self, what: Happening, times: int = 1) -> None:
        """Count what happened; see `Telemetry.happened`."""
        self._counted[what].inc(times)

    def refused(self, what: Refused, code: str) -> None:
        """Count what was refused; see `Telemetry.refused`. Codes are few, and are kept so."""
        if code not in self._codes and len(self._codes) >= CODES_LIMIT:
            code = "other"
        self._codes.add(code)
        self._refusals.labels(what, code).inc()

    def beaten(self, late_s: float) -> None:
        """Measure the event loop; see `Telemetry.beaten`."""
        self._late.observe(late_s)

    def confirmed(self, event: str, after_s: float) -> None:
        """Measure how soon a device confirmed ``first_chunk`` or ``end``."""
        self._confirmed.labels(event).observe(after_s)

    def flag_is(self, rollout: Rollout) -> None:
        """Show the value that holds."""
        shown = {"off": 0, "on": 100}
        self._percent.set(rollout.value if isinstance(rollout.value, int) else shown[rollout.value])

    def read(self, sources: dict[str, Callable[[], float]]) -> None:
        """Ask ``sources``, by the name of their gauge, whenever somebody looks."""
        for name, source in sources.items():
            self._read[name].set_function(source)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(name, says, labels, registry=self.registry)

    def _histogram(self, name: str, says: str, bounds_s: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, says, labels, buckets=bounds_s, registry=self.registry)
