"""Facts become log lines: one per turn, as JSON, or for people where a person reads. Never a payload."""

import dataclasses
import logging
import sys
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from random import random

import structlog

from bridge.changes import Change
from bridge.facts import Happening, Refused, TurnReport


def configure_logs(**always: object) -> None:
    """Send log lines to stderr: for people on a terminal, else one JSON object a line; ``always`` in each."""
    person = sys.stderr.isatty()
    structlog.configure(
        processors=[
            lambda _, __, line: {**line, **always},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer()
            if person
            else structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # a line in one piece: others write too
    )


class LogTelemetry:
    """Writes each fact as one log line."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("bridge")
        self._dialect = ""
        self.passed: Counter[str] = Counter()
        """How many posts of a chat-server were passed on instead of being a turn, by reason."""

    def turn_ended(self, report: TurnReport) -> None:
        """Log the facts of a turn; see `Telemetry.turn_ended`."""
        facts = {name: getattr(report, name) for name in _FACTS}
        for name, in_ms in _DURATIONS.items():
            value = getattr(report, name)
            facts[in_ms] = None if value is None else round(value * 1000, 1)
        level = logging.INFO if report.error_code is None else logging.WARNING
        self._log.log(level, "turn ended", **facts)

    def stream_ended(self, dialect: str, malformed: int) -> None:
        """Log the dialect when it is not that of the stream before, and what could not be read."""
        if dialect != self._dialect:
            self._dialect = dialect
            self._log.info("backend speaks", dialect=dialect)
        if malformed:
            self._log.warning("frames skipped", dialect=dialect, malformed=malformed)

    def passed_on(self, reason: str) -> None:
        """Count and log that a chat-server's post was passed on to the backend, because it can be no turn."""
        self.passed[reason] += 1
        self._log.info("post passed on", reason=reason, count=self.passed[reason])

    def fault(self, error: BaseException) -> None:
        """Log a fault of the bridge with its trace; see `Telemetry.fault`."""
        self._log.error("fault", exc_info=(type(error), error, error.__traceback__))

    def happened(self, what: Happening, times: int = 1) -> None:
        """Log nothing: it is counted, and what ends a turn is in its line."""

    def refused(self, what: Refused, code: str) -> None:
        """Log nothing: whoever asks often must not fill the log."""

    def beaten(self, late_s: float) -> None:
        """Log nothing: it is measured."""

    def flag_changed(self, change: Change) -> None:
        """Log a change of the flag, whichever node made it."""
        facts = {"value": str(change.rollout), "before": str(change.before), "when": change.when}
        self._log.warning("flag changed", **facts, who=change.reason.who, why=change.reason.why)

    def guard_moved(self, kind: str, why: str, *, made: bool) -> None:
        """Log what the guard did with the flag, or only would have done."""
        self._log.warning("guard moved the flag" if made else "guard would move the flag", move=kind, why=why)

    def said(self, what: str, **facts: object) -> None:
        """Log what the process itself does: listening, draining, stopped."""
        self._log.info(what, **facts)


_DURATIONS = {
    each.name: each.name.removesuffix("_s") + "_ms"
    for each in dataclasses.fields(TurnReport)
    if each.name.endswith("_s")
}
_FACTS = [each.name for each in dataclasses.fields(TurnReport) if each.name not in _DURATIONS]


class SystemClock:
    """The time and the names of this machine."""

    def monotonic_s(self) -> float:
        """Return the monotonic clock."""
        return time.monotonic()

    def utc(self) -> str:
        """Return the wall clock; see `Clock.utc`."""
        return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def new_id(self) -> str:
        """Return a random name of 32 hexadecimal digits."""
        return uuid.uuid4().hex

    def jitter(self) -> float:
        """Return a random number in [0, 1)."""
        return random()  # noqa: S311  (spreads retries; guards nothing)
