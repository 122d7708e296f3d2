"""The curves of `benchmarks.fanout` as one SVG: cost over devices in a room, latency over load. No I/O."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridge.commands.validation.drawing import BLUE, GREY, PALE, RED, RULE, line, sheet, text

WIDTH, HEIGHT = 880, 380
TOP, BOTTOM = 116, 318
LATE_MS = 100.0
NAME_HEIGHT = 16
INSET = 0.12
"""Room for the figure of the first point."""
_GRID_LINES = 5


@dataclass(frozen=True, slots=True)
class _Panel:
    """A part of the picture with scales of its own; ``x`` and ``y`` give 0 to 1."""

    left: float
    right: float
    x: Callable[[float], float]
    y: Callable[[float], float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.left + (self.right - self.left) * self.x(x), BOTTOM - (BOTTOM - TOP) * self.y(y)


def svg(cost: Sequence[tuple[int, float]], latency: Sequence[tuple[int, float, float]], title: str) -> str:
    """Draw (devices in a room, deliveries per CPU second) and (answers, p50 ms, p99 ms)."""
    known = [(devices, rate) for devices, rate in cost if math.isfinite(rate)]
    heard = [point for point in latency if all(map(math.isfinite, point))]
    parts = [*_cost(known), *_latency(heard)]
    return sheet(WIDTH, HEIGHT, "What a delivery costs, and how late it is", title, parts)


def _cost(points: Sequence[tuple[int, float]]) -> list[str]:
    parts = [text(24, 84, "deliveries per CPU second of the bridge", weight=600)]
    if not points:
        return [*parts, text(24, TOP + 20, "nothing was measured", fill=PALE)]
    step = _step(max(rate for _, rate in points))
    top, (first, last) = step * _GRID_LINES, (points[0][0], points[-1][0])
    across = _logarithmic(first, last)
    panel = _Panel(84, 420, lambda devices: INSET + (1 - INSET) * across(devices), lambda rate: rate / top)
    for number in range(_GRID_LINES + 1):
        parts += _rule(panel, panel.at(first, number * step)[1], f"{number * step:,.0f}")
    for devices, rate in points:
        x, y = panel.at(devices, rate)
        up = 8 if devices > first else -4  # the next point's is above the first
        parts.append(_below(x, f"{devices}"))
        parts.append(text(x - 6, y - up, f"{rate:,.0f}", fill=BLUE, anchor="end", size=11))
    parts.append(text(252, BOTTOM + 40, "devices in each room", fill=PALE, anchor="middle", size=12))
    return [*parts, *_curve([panel.at(*point) for point in points], BLUE)]


def _latency(points: Sequence[tuple[int, float, float]]) -> list[str]:
    parts = [text(476, 84, "added latency, ms", weight=600)]
    if not points:
        return [*parts, text(476, TOP + 20, "nothing was measured", fill=PALE)]
    lowest = 10.0 ** math.floor(math.log10(min(p50 for _, p50, _ in points)))
    highest = 10.0 ** math.ceil(math.log10(max(LATE_MS * 2, *(p99 for _, _, p99 in points))))
    last = points[-1][0]
    panel = _Panel(516, 830, lambda answers: answers / last, _logarithmic(lowest, highest))
    parts += _scales(panel, last, lowest, highest)
    words = "answers at once, of 50 tokens a second for 2 devices each"
    parts.append(text(673, BOTTOM + 40, words, fill=PALE, anchor="middle", size=12))
    middle = [panel.at(answers, p50) for answers, p50, _ in points]
    high = [panel.at(answers, p99) for answers, _, p99 in points]
    (x, p50_y), (_, p99_y) = middle[-1], high[-1]
    apart = max(p50_y, p99_y + NAME_HEIGHT)  # their names stand beside the ends
    names = [text(x + 8, p99_y + 4, "p99", fill=BLUE, weight=600)]
    names.append(text(x + 8, apart + 4, "p50", fill=GREY, weight=600))
    return [*parts, *_curve(middle, GREY), *_curve(high, BLUE), *names]


def _scales(panel: _Panel, last: int, lowest: float, highest: float) -> list[str]:
    """Draw the rules of the latencies, where they are too long, and the numbers of answers."""
    parts = []
    for power in range(round(math.log10(highest / lowest)) + 1):
        ms = lowest * 10.0**power
        parts += _rule(panel, panel.at(0, ms)[1], f"{ms:g}")
    late = panel.at(0, LATE_MS)[1]
    parts.append(line(panel.left, late, panel.right, late, RED, dash=True))
    for answers in range(0, last + 1, max(1, round(_step(last)))):
        parts.append(_below(panel.at(answers, lowest)[0], f"{answers}"))
    return parts


def _step(highest: float) -> float:
    """Return the round number that is reached by `_GRID_LINES` of it."""
    size = 10.0 ** math.floor(math.log10(highest / _GRID_LINES))
    return next(size * by for by in (1, 2, 2.5, 5, 10) if size * by * _GRID_LINES >= highest)


def _logarithmic(lowest: float, highest: float) -> Callable[[float], float]:
    span = math.log(highest / lowest) or 1.0
    return lambda value: math.log(value / lowest) / span


def _curve(points: Sequence[tuple[float, float]], colour: str) -> list[str]:
    through = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
    return [f'<polyline points="{through}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots]


def _rule(panel: _Panel, y: float, words: str) -> list[str]:
    label = text(panel.left - 8, y + 4, words, fill=PALE, anchor="end", size=11)
    return [line(panel.left, y, panel.right, y, RULE), label]


def _below(x: float, words: str) -> str:
    return text(x, BOTTOM + 18, words, fill=PALE, anchor="middle", size=11)
