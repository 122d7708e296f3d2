"""The distributions of `validate` as one SVG: how long people wait, with the flag off and on. No I/O."""

import math
from collections.abc import Sequence
from html import escape

from bridge.commands.validation.drawing import BLUE, GREY, INK, PALE, RED, RULE, line, sheet, text
from bridge.commands.validation.verdict import Figures, Limits, percentile

WIDTH, LEFT, RIGHT = 880, 110, 30
PANEL_TOP, PANEL_MARGIN, ROW_HEIGHT = 78, 60, 72
BINS = 96
_PLOT = WIDTH - LEFT - RIGHT
_COLOURS = {"off": GREY, "on": BLUE, "as is": BLUE}
_PANELS = (
    ("first text on the device", "ttft_ms", "ttft_p95_ms"),
    ("complete answer on the device", "completion_ms", "completion_p95_ms"),
)
_STEPS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
_TICKS = 10


def svg(sides: Sequence[Figures], limits: Limits, title: str) -> str:
    """Return the picture; times run from left to right on one scale for all."""
    span_ms = _span_ms(sides, limits)
    panels = [_panel(place, sides, limits, span_ms) for place in range(len(_PANELS))]
    height = PANEL_TOP + len(_PANELS) * _panel_height(sides) - 16
    return sheet(WIDTH, height, "How long people wait", title, panels)


def html(sides: Sequence[Figures], limits: Limits, title: str, lines: Sequence[str]) -> str:
    """Return the picture as a page of its own, with ``lines`` under it."""
    table = escape("\n".join(lines))
    page = '<!doctype html><html lang="en"><meta charset="utf-8"><title>bridge: validate</title>'
    return f"{page}<body>{svg(sides, limits, title)}<pre>{table}</pre></body></html>\n"


def _span_ms(sides: Sequence[Figures], limits: Limits) -> float:
    """Return what the scale has to hold: all times; a limit only where it is near."""
    longest = max((value for side in sides for value in (*side.ttft_ms, *side.completion_ms)), default=1.0)
    near = [ms for ms in (limits.ttft_p95_ms, limits.completion_p95_ms) if ms <= 2 * longest]
    return max([longest, *near]) * 1.04


def _panel_height(sides: Sequence[Figures]) -> int:
    return ROW_HEIGHT * len(sides) + PANEL_MARGIN


def _panel(place: int, sides: Sequence[Figures], limits: Limits, span_ms: float) -> str:
    words, name, limit = _PANELS[place]
    limit_ms: float = getattr(limits, limit)
    top = PANEL_TOP + place * _panel_height(sides)
    bottom = top + 18 + ROW_HEIGHT * len(sides)
    parts = [text(24, top + 8, words, weight=600)]
    for row, side in enumerate(sides):
        base = top + 18 + ROW_HEIGHT * (row + 1)
        parts += _row(base, side.flag, getattr(side, name), span_ms)
    parts += _axis(bottom, span_ms)
    if limit_ms <= span_ms:
        at = _at(limit_ms, span_ms)
        parts.append(line(at, top + 14, at, bottom, RED, dash=True))
        words = f"p95 limit {_spoken(limit_ms)}"
        parts.append(text(min(at + 40, WIDTH - RIGHT), top + 8, words, fill=RED, anchor="end"))
    else:
        words = f"p95 limit {_spoken(limit_ms)}, far to the right"
        parts.append(text(WIDTH - RIGHT, top + 8, words, fill=RED, anchor="end"))
    return "\n".join(parts)


def _row(base: float, flag: str, values: Sequence[float], span_ms: float) -> list[str]:
    """Draw the histogram of one side, and its median and 95th percentile."""
    colour = _COLOURS.get(flag, BLUE)
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int(value / span_ms * BINS))] += 1
    tallest, width = max(counts, default=0) or 1, _PLOT / BINS
    label = flag if flag == "as is" else f"flag {flag}"
    parts = [
        text(LEFT - 12, base - 8, label, anchor="end", fill=colour, weight=600),
        line(LEFT, base, WIDTH - RIGHT, base, RULE),
    ]
    for place, count in enumerate(counts):
        if count:
            tall = max(1.5, (ROW_HEIGHT - 26) * count / tallest)
            parts.append(
                f'<rect x="{LEFT + place * width:.1f}" y="{base - tall:.1f}" width="{width - 1:.1f}" '
                f'height="{tall:.1f}" fill="{colour}"/>'
            )
    return parts + _marks(base, values, span_ms, colour)


def _marks(base: float, values: Sequence[float], span_ms: float, colour: str) -> list[str]:
    """Draw where the median and the 95th percentile are; their words stand in one line above the bars."""
    if not values:
        return [text(LEFT + 8, base - 8, "nothing came", fill=PALE)]
    middle, high = percentile(values, 50), percentile(values, 95)
    top = base - ROW_HEIGHT + 24
    words = f"p50 {_spoken(middle)}, p95 {_spoken(high)}"
    at = _at(middle, span_ms)
    left = at < LEFT + _PLOT * 0.75
    parts = [line(_at(ms, span_ms), top, _at(ms, span_ms), base, INK) for ms in (middle, high)]
    where, anchor = (at, "start") if left else (_at(high, span_ms), "end")
    return [*parts, text(where, top - 4, words, fill=colour, anchor=anchor, size=12)]


def _axis(base: float, span_ms: float) -> list[str]:
    step_s = next((step for step in _STEPS_S if span_ms / 1000 / step <= _TICKS), _STEPS_S[-1])
    parts = []
    for number in range(math.floor(span_ms / 1000 / step_s) + 1):
        at = _at(number * step_s * 1000, span_ms)
        parts.append(line(at, base, at, base + 4, PALE))
        parts.append(text(at, base + 18, f"{number * step_s:g} s", fill=PALE, anchor="middle", size=11))
    return parts


def _at(ms: float, span_ms: float) -> float:
    return LEFT + _PLOT * ms / span_ms


def _spoken(ms: float) -> str:
    return f"{ms / 1000:.2f} s" if ms >= 1000 else f"{ms:.0f} ms"  # noqa: PLR2004  (a second)
