"""The parts of a picture as SVG: the sheet, words, lines and the colours of all of them. No I/O."""

from collections.abc import Iterable
from html import escape

INK, PALE, RULE = "#1f2328", "#59636e", "#d1d9e0"
BLUE, GREY, RED = "#2563eb", "#8a8f98", "#cf222e"


def sheet(width: int, height: int, heading: str, title: str, parts: Iterable[str]) -> str:
    """Return the whole picture; ``title`` says in small what ``heading`` is of."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="system-ui, sans-serif" font-size="13" fill="{INK}" '
        f'role="img" aria-label="{escape(f"{heading}: {title}")}">'
    )
    ground = f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>'
    words = [text(24, 30, heading, size=17, weight=600), text(24, 50, title, fill=PALE, size=12)]
    return "\n".join([head, ground, *words, *parts, "</svg>\n"])


def line(x1: float, y1: float, x2: float, y2: float, colour: str, *, dash: bool = False) -> str:
    """Return a straight line."""
    dashed = ' stroke-dasharray="4 3"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}"{dashed}/>'


def text(
    x: float,
    y: float,
    words: str,
    *,
    fill: str = INK,
    anchor: str = "start",
    size: int = 13,
    weight: int = 400,
) -> str:
    """Return ``words``, which stay readable over lines."""
    style = f'fill="{fill}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
    halo = 'paint-order="stroke" stroke="#ffffff" stroke-width="4"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style} {halo}>{escape(words)}</text>'
