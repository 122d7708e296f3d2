"""The picture of the benchmark of fan-out, by figures made up."""

import xml.etree.ElementTree as ET

import pytest

from benchmarks.fanout_picture import svg

COST = [(1, 7_200.0), (2, 13_100.0), (10, 41_000.0), (100, 88_000.0), (1000, 121_000.0)]
LATENCY = [(10, 0.6, 3.1), (50, 0.7, 4.2), (100, 2.0, 15.0), (200, 40.0, 140.0)]
SVG = "{http://www.w3.org/2000/svg}"
NAN = float("nan")


def parsed(drawn):
    return ET.fromstring(drawn)  # noqa: S314  (our own)


def words(root):
    return [text.text for text in root.iter(f"{SVG}text")]


def curves(root):
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        for line in root.iter(f"{SVG}polyline")
    ]


def test_it_has_a_point_for_each_figure_and_names_what_it_shows():
    root = parsed(svg(COST, LATENCY, "2 cores <&>"))
    assert "2 cores <&>" in words(root)
    assert {"1000", "121,000", "p50", "p99"} <= set(words(root))
    assert [len(curve) for curve in curves(root)] == [len(COST), len(LATENCY), len(LATENCY)]


def test_more_deliveries_and_later_ones_stand_higher_and_devices_are_logarithmic():
    cost, p50, p99 = curves(parsed(svg(COST, LATENCY, "t")))
    assert [y for _, y in cost] == sorted((y for _, y in cost), reverse=True)
    assert all(high < middle for (_, middle), (_, high) in zip(p50, p99, strict=True))
    assert cost[3][0] - cost[2][0] == pytest.approx(cost[4][0] - cost[3][0], abs=0.2)


@pytest.mark.parametrize(
    ("cost", "latency"),
    [
        (COST, LATENCY),
        (COST[:1], LATENCY[:1]),
        ([], []),
        ([(1, NAN)], [(10, NAN, NAN)]),
        (COST, [(9, 5.0, 5.0)]),
    ],
    ids=["full", "one each", "nothing", "untold", "names that meet"],
)
def test_everything_drawn_is_inside_it(cost, latency):
    root = parsed(svg(cost, latency, "t"))
    width, height = float(root.get("width")), float(root.get("height"))
    for part in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(part.get(name, 0)) <= width
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(part.get(name, 0)) <= height


def test_the_names_of_curves_that_end_together_stand_apart():
    root = parsed(svg(COST, [(9, 5.0, 5.0)], "t"))
    at = {text.text: float(text.get("y")) for text in root.iter(f"{SVG}text")}
    assert at["p50"] - at["p99"] >= 12
