"""What `validate` has to say, as lines for people. No I/O, no clock."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridge.commands.validation.verdict import JUDGED_PERCENT, PERCENTS, Check, Figures, Limits, percentile

_WIDTH = 10
_COUNTED = {
    "lost": "lost",
    "duplicated": "duplicated",
    "unequal": "texts that differ",
    "strayed": "by the other path",
}


def table(sides: Sequence[Figures], checks: Sequence[Check], limits: Limits) -> list[str]:
    """Return the figures of ``sides`` beside each other, each row with its limit and how it was kept."""
    rows = _Rows(sides, checks)
    heads = "".join(f"{_side(side.flag):>{_WIDTH}}" for side in sides)
    return [
        f"{'':24}{heads}   limit",
        *_times(rows, "first text", "ttft", limits.ttft_p95_ms),
        *_times(rows, "complete", "completion", limits.completion_p95_ms),
        rows.row("errors", _errors, "errors_percent", f"<= {limits.errors_percent:g} %"),
        *(rows.row(words, _counted(name), name, _limit(name, limits)) for name, words in _COUNTED.items()),
        rows.row("no chunk before the end", _late, "late", "0"),
        rows.row("connections mended", _counted("reconnects")),
        *_reasons(sides),
    ]


def verdict(checks: Sequence[Check]) -> str:
    """Return the last line: whether all of it held."""
    failed = [check for check in checks if not check.passed]
    if not failed:
        return f"PASS  {len(checks)} of {len(checks)} checks"
    names = ", ".join(f"{check.name} ({_side(check.flag)})" for check in failed)
    return f"FAIL  {len(failed)} of {len(checks)} checks: {names}"


def bar(done: int, of: int, words: str) -> str:
    """Return a progress bar of one line, to be printed over the last."""
    filled = 30 * done // max(1, of)
    return f"\r{words:<10} [{'#' * filled}{'.' * (30 - filled)}] {done}/{of} "


@dataclass(frozen=True, slots=True)
class _Rows:
    sides: Sequence[Figures]
    checks: Sequence[Check]

    def row(self, words: str, shown: Callable[[Figures], str], name: str = "", limit: str = "") -> str:
        """Return one row, judged by the checks of this ``name``."""
        cells = "".join(f"{shown(side):>{_WIDTH}}" for side in self.sides)
        judged = [check for check in self.checks if check.name == name]
        held = ("pass" if all(check.passed for check in judged) else "FAIL") if judged else ""
        return f"{words:24}{cells}   {limit:<12}{held}".rstrip()


def _times(rows: _Rows, words: str, name: str, limit_ms: float) -> list[str]:
    lines = []
    for percent in PERCENTS:
        judged = f"{name}_p{percent}_ms"
        limit = f"<= {limit_ms:g} ms" if percent == JUDGED_PERCENT else ""
        lines.append(rows.row(f"{words:<15}p{percent}", _time(f"{name}_ms", percent), judged, limit))
    return lines


def _side(flag: str) -> str:
    return flag if flag == "as is" else f"flag {flag}"


def _time(name: str, percent: int) -> Callable[[Figures], str]:
    def shown(side: Figures) -> str:
        value = percentile(getattr(side, name), percent)
        return f"{value:.0f} ms" if math.isfinite(value) else "-"

    return shown


def _counted(name: str) -> Callable[[Figures], str]:
    return lambda side: str(getattr(side, name))


def _errors(side: Figures) -> str:
    return f"{side.errors_percent:.1f} %"


def _late(side: Figures) -> str:
    return str(side.late) if side.streamed else "-"


def _limit(name: str, limits: Limits) -> str:
    limit: int = getattr(limits, name, 0)
    return f"<= {limit}" if limit else "0"


def _reasons(sides: Sequence[Figures]) -> list[str]:
    """Return how the answers ended, where not all of them did so by themselves."""
    lines = []
    for side in sides:
        if set(side.outcomes) - {"stop"}:
            counts = ", ".join(f"{name} {count}" for name, count in sorted(side.outcomes.items()))
            lines.append(f"{_side(side.flag)} ended: {counts}")
    return lines
