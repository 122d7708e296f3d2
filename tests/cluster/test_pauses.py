"""Which pause is whose: silences in the middle of turns, and the faults that explain them."""

import pytest

from tests.cluster.faults import Fault, Injected
from tests.cluster.judge import CHUNK, END, START, Asked, Heard, Story
from tests.cluster.pauses import pauses

FAULTS = {"kill": Fault(None, 1, None, None, lambda lease_s, _: lease_s + 0.5)}
ASKED = {"r": Asked("r", "room", 0.0, owner="n1", taken=True)}


def story(node, *times_s):
    events = [START, *[CHUNK] * (len(times_s) - 2), END]
    heard = [
        Heard(at_s, 1, node, event, "r", "m", "room") for at_s, event in zip(times_s, events, strict=True)
    ]
    return Story(node, "room", heard, [])


@pytest.mark.parametrize(("lasted_s", "late"), [(2.4, 0), (2.6, 1)])
def test_a_silence_is_the_last_faults_before_its_end_and_measured_against_its_bound(lasted_s, late):
    injected = [Injected("kill", 1.0, 2.0, node="n1")]
    stories = [story("n2", 0.5, 1.0, 1.0 + lasted_s, 4.0), story("n1", 0.5, 1.2, 4.0)]
    felt = pauses(stories, ASKED, injected, FAULTS, 2.0)
    assert felt["kill"].longest_s["other"] == [pytest.approx(lasted_s)]
    assert felt["kill"].longest_s["hit"] == [pytest.approx(2.8)]
    assert (felt["kill"].count, felt["kill"].late, felt["calm"].longest_s["own"]) == (1, late, [])


def test_a_silence_that_no_fault_explains_is_told_too():
    felt = pauses([story("n1", 0.0, 0.5, 0.55)], ASKED, [], FAULTS, 2.0)
    assert felt["calm"].longest_s == {"hit": [], "own": [0.5], "other": []}
