"""What `validate` says: the table, the progress bar and the picture."""

import xml.etree.ElementTree as ET

import pytest
from test_heard import GROWN, WHOLE, hear, turn

from bridge.commands.validation.picture import html, svg
from bridge.commands.validation.report import bar, table, verdict
from bridge.commands.validation.verdict import Limits, checks, figures

OFF = figures("off", [turn(hear(WHOLE, began_s=12.0))])
ON = figures("on", [turn(hear(*GROWN)), turn(hear(), refused="busy")], reconnects=3)


def said(sides, limits):
    found = [check for side in sides for check in checks(side, limits)]
    return table(sides, found, limits), verdict(found)


def parsed(drawn):
    return ET.fromstring(drawn)  # noqa: S314  (our own)


def test_the_table_has_both_sides_each_limit_and_how_it_was_kept():
    lines, last = said([OFF, ON], Limits())
    rows = {line[:24].strip(): line[24:].split() for line in lines}
    assert rows["first text     p95"] == ["2100", "ms", "200", "ms", "<=", "1500", "ms", "pass"]
    assert rows["complete       p50"] == ["2100", "ms", "400", "ms"]
    assert rows["errors"] == ["0.0", "%", "50.0", "%", "<=", "1", "%", "FAIL"]
    assert rows["no chunk before the end"] == ["-", "0", "0", "pass"]
    assert rows["connections mended"] == ["0", "3"]
    assert lines[-1] == "flag on ended: busy 1, stop 1"
    assert last == "FAIL  1 of 13 checks: errors_percent (flag on)"


def test_a_side_that_heard_nothing_has_dashes():
    lines, last = said([figures("as is", [turn(hear())])], Limits())
    assert "-" in lines[1].split()
    assert last.startswith("FAIL")


def test_a_progress_bar_is_one_line_over_the_last():
    assert bar(5, 10, "flag on") == f"\rflag on    [{'#' * 15}{'.' * 15}] 5/10 "


@pytest.mark.parametrize(
    "sides", [[OFF, ON], [ON], [figures("on", [])]], ids=["both", "one", "nothing heard"]
)
def test_the_picture_is_well_formed_and_names_what_it_shows(sides):
    drawn = svg(sides, Limits(), "20 rooms <&>")
    words = " ".join(text.text for text in parsed(drawn).iter("{http://www.w3.org/2000/svg}text"))
    assert "20 rooms <&>" in words
    assert "p95 limit 1.50 s" in words
    assert all(f"flag {side.flag}" in words for side in sides)


def test_everything_drawn_is_inside_the_picture():
    root = parsed(svg([OFF, ON], Limits(), "t"))
    width, height = float(root.get("width")), float(root.get("height"))
    for part in root:
        for name, most in (("x", width), ("x1", width), ("x2", width), ("y", height), ("y2", height)):
            assert 0 <= float(part.get(name, 0)) <= most


def test_a_page_holds_the_picture_and_the_table():
    page = html([OFF, ON], Limits(), "t", ["a < b"])
    assert "<svg" in page
    assert "a &lt; b" in page
    assert "http" not in page.replace('"http://www.w3.org/2000/svg"', "")
