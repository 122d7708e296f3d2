"""What the guard decides, as tables and properties: no store, no clock, no event loop."""

import math

import pytest
from guard_turns import changed, report, state_of
from hypothesis import given
from hypothesis import strategies as st

from bridge.changes import Edit, FlagState
from bridge.facts import Happening
from bridge.figures import (
    BOUNDS_S,
    COMPLETION,
    FAILED,
    FIRST_TEXT,
    NAMES,
    TURNS,
    Figures,
    Gathered,
    figures_of,
)
from bridge.guard import (
    ATTEMPTS,
    EVIDENCE,
    SOUND,
    Kind,
    Limits,
    Standing,
    breaches,
    era,
    judged,
    rested,
    sound,
    standing,
    trip,
)
from bridge.rollout import Rollout

LIMITS = Limits()
WATCHED = state_of("on")
seconds = st.floats(0.001, 119)


def window(turns=100, *, failed=0, differs=0, first_s=0.3, whole_s=2.0):
    """Return the figures of so many turns, the first of which fail or differ."""
    return sum(
        (
            figures_of(
                report(
                    finish_reason="error" if number < failed else "stop",
                    differs=number < differs,
                    first_chunk_s=first_s,
                    completion_s=whole_s,
                )
            )
            for number in range(turns)
        ),
        Figures(),
    )


def more(figures, **counts):
    return figures + Figures(counts)


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        (window(), None),
        (window(failed=EVIDENCE - 1), None),
        (window(failed=EVIDENCE), "failed turns: 3.0 % of 100, limit 1 %"),
        (window(1000, failed=10), None),
        (window(1000, failed=11), "failed turns: 1.1 %"),
        (window(differs=EVIDENCE), "text differs"),
        (window(first_s=1.5), None),
        (window(95) + window(5, first_s=1.6), None),
        (window(94) + window(6, first_s=1.6), "first text: p95"),
        (window(first_s=500), "first text: p95 inf"),
        (window(whole_s=8.0), None),
        (window(whole_s=8.1), "whole answers: p95"),
        (window(49, failed=49), None),
        (window(50, failed=50), "failed turns: 100.0 % of 50"),
        (more(window(), gaps=2), None),
        (more(window(), gaps=3), "gaps that devices report: 3.0 %"),
        (more(window(), unconfirmed=5, confirmed=95), None),
        (more(window(), unconfirmed=6, confirmed=94), "do not confirm: 6.0 % of 100"),
    ],
    ids=str,
)
def test_what_is_beyond_a_limit_trips_and_says_so(figures, says):
    move = judged(WATCHED, figures, LIMITS)
    assert (move is None) == (says is None)
    if move is not None and says is not None:
        assert move.kind is Kind.TRIP
        assert move.edit == Edit("off", at=WATCHED.version)
        assert says in move.why


@given(st.integers(0, LIMITS.sample - 1), st.integers(0, 49), seconds, seconds)
def test_nothing_trips_before_the_sample_is_full(turns, failed, first_s, whole_s):
    figures = window(turns, failed=failed, differs=failed, first_s=first_s, whole_s=whole_s)
    assert judged(WATCHED, figures, LIMITS) is None


@given(st.integers(50, 300), st.floats(0.001, 1.5), st.floats(0.001, 8), st.integers(0, EVIDENCE - 1))
def test_a_calm_window_never_trips_whatever_a_stray_turn_does(turns, first_s, whole_s, stray):
    figures = window(turns, failed=stray, differs=stray, first_s=first_s, whole_s=whole_s)
    assert judged(WATCHED, figures, LIMITS) is None


@given(st.lists(st.builds(report, completion_s=seconds, first_chunk_s=seconds), max_size=40), st.data())
def test_it_does_not_matter_which_node_ended_a_turn_or_when(reports, data):
    whole = sum(map(figures_of, reports), Figures())
    nodes = [Figures(), Figures(), Figures()]
    for each in data.draw(st.permutations(reports)):
        node = data.draw(st.integers(0, 2))
        nodes[node] = nodes[node] + figures_of(each)
    assert sum(nodes, Figures()) == whole
    assert set(whole.counts) <= NAMES


@given(st.lists(seconds, min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_of_the_sum_is_that_of_the_turns_but_for_a_slot(times, quantile):
    figures = sum((figures_of(report(first_chunk_s=each)) for each in times), Figures())
    exact = sorted(times)[math.ceil(quantile * len(times) - 1e-9) - 1]
    near = figures.quantile_s(FIRST_TEXT, quantile)
    step = 2**0.25 * 1.0001
    assert exact / step <= near <= exact * step or max(exact, near) <= BOUNDS_S[0]


def test_only_turns_that_stream_count_and_only_what_they_show():
    assert not figures_of(report(streaming=False, finish_reason="error"))
    taken = figures_of(report(taken_over=True))
    assert (taken[TURNS], taken.quantile_s(FIRST_TEXT, 1)) == (1, 0)
    cancelled = figures_of(report(finish_reason="cancelled"))
    assert (cancelled[FAILED], cancelled.quantile_s(COMPLETION, 1)) == (0, 0)
    assert cancelled.quantile_s(FIRST_TEXT, 1) > 0
    for reason in ("error", "timeout", "interrupted"):
        assert figures_of(report(finish_reason=reason))[FAILED] == 1
    own = report(finish_reason="error", error_code="bad_field")
    assert figures_of(own)[FAILED] == 0, "a device could turn streaming off for all others"


BEFORE = changed(FlagState(Rollout("on")), 25, who="ann")
TRIPPED = changed(BEFORE, "off")
HALF_OPEN = changed(TRIPPED, 5)
CLOSED = changed(HALF_OPEN, 25)


@pytest.mark.parametrize(
    ("state", "place"),
    [
        (FlagState(Rollout("off")), Standing.IDLE),
        (FlagState(Rollout("on")), Standing.WATCHING),
        (FlagState(Rollout("off"), provider="Flagd"), Standing.WATCHING),
        (BEFORE, Standing.WATCHING),
        (changed(BEFORE, "off", who="ann"), Standing.IDLE),
        (TRIPPED, Standing.TRIPPED),
        (changed(TRIPPED, "on", who="ann"), Standing.WATCHING),
        (changed(TRIPPED, "off", who="ann"), Standing.IDLE),
        (HALF_OPEN, Standing.HALF_OPEN),
        (changed(HALF_OPEN, "off"), Standing.TRIPPED),
        (changed(HALF_OPEN, "on", who="ann"), Standing.WATCHING),
        (CLOSED, Standing.WATCHING),
    ],
    ids=str,
)
def test_where_the_guard_is_stands_in_the_flag(state, place):
    assert standing(state) is place
    assert (trip(state, "why") is None) == (place in (Standing.IDLE, Standing.TRIPPED))


def test_half_open_waits_for_its_rest_and_gives_back_what_a_person_had_set():
    limits = Limits(half_open=5, rest_s=60)
    assert rested(TRIPPED, 59, limits) is None
    assert rested(TRIPPED, 60, Limits(half_open=0, rest_s=60)) is None
    again = rested(TRIPPED, 60, limits)
    assert (again.kind, again.edit) == (Kind.REOPEN, Edit(5, at=TRIPPED.version))
    assert rested(TRIPPED, 60, Limits(half_open=50, rest_s=60)).edit.value == 25, "never more than there was"
    for other in (BEFORE, HALF_OPEN, CLOSED, changed(BEFORE, "off", who="ann")):
        assert rested(other, 1e9, limits) is None
    closed = judged(HALF_OPEN, window(), limits)
    assert (closed.kind, closed.edit) == (Kind.CLOSE, Edit(25, at=HALF_OPEN.version))
    assert judged(HALF_OPEN, window(49), limits) is None
    assert judged(HALF_OPEN, window(failed=50), limits).kind is Kind.TRIP


def test_between_its_limit_and_what_is_sound_nothing_moves():
    nearly = window(400, failed=4)
    assert not breaches(nearly, LIMITS)
    assert not sound(nearly, LIMITS)
    assert judged(HALF_OPEN, nearly, LIMITS) is None
    assert sound(window(400, failed=2), LIMITS)
    assert SOUND < 1


def test_after_some_attempts_it_waits_for_a_person():
    limits, state = Limits(half_open=5, rest_s=1), TRIPPED
    for attempt in range(ATTEMPTS):
        move = rested(state, 2, limits)
        assert f"attempt {attempt + 1} of" in move.why
        state = changed(changed(state, move.edit.value), "off")
    assert rested(state, 1e9, limits) is None
    armed = changed(changed(state, "on", who="ann"), "off")
    assert rested(armed, 2, limits) is not None


def test_an_era_begins_when_the_flag_is_armed():
    assert era(FlagState(Rollout("on"))) == era(BEFORE) == era(TRIPPED) == ""
    assert era(HALF_OPEN) == era(CLOSED) == era(changed(HALF_OPEN, "off")) == HALF_OPEN.version
    by_hand = changed(TRIPPED, "on", who="ann")
    assert era(by_hand) == by_hand.version


@given(st.lists(st.sampled_from(["bad", "good", "rest", "on", "off", "25"]), max_size=30))
def test_of_two_nodes_that_decide_the_same_one_makes_the_move(steps):
    limits, state = Limits(half_open=5, rest_s=1), FlagState(Rollout("on"))
    for step in steps:
        before = state
        match step:
            case "bad" | "good":
                move = judged(state, window(failed=100 * (step == "bad")), limits)
            case "rest":
                move = rested(state, 2, limits)
            case _:
                state = changed(state, int(step) if step == "25" else step, who="ann")
                continue
        if move is None:
            continue
        assert not before.settled(move.edit), "a move always changes something"
        state = changed(before, move.edit.value)
        assert state.settled(move.edit), "the second node's move comes too late"
        assert (
            standing(state)
            is {
                Kind.TRIP: Standing.TRIPPED,
                Kind.REOPEN: Standing.HALF_OPEN,
                Kind.CLOSE: Standing.WATCHING,
            }[move.kind]
        )


def test_what_is_gathered_is_given_once_and_what_began_before_an_era_never():
    now_s = 100.0
    gathered = Gathered(lambda: now_s)
    gathered.turn_ended(report(completion_s=2))
    gathered.happened(Happening.GAP_REPORTED, 2)
    gathered.happened(Happening.GAP_REPORTED, 0)
    gathered.happened(Happening.RESUMED, 5)
    taken = gathered.take()
    assert (taken[TURNS], taken["gaps"]) == (1, 2)
    assert not gathered.take()
    gathered.turn_ended(report())
    gathered.start_anew()
    assert not gathered.take()
    now_s = 101.0
    gathered.turn_ended(report(completion_s=2, finish_reason="error"))
    assert not gathered.take(), "it began before"
    gathered.turn_ended(report(completion_s=0.5))
    assert gathered.take()[TURNS] == 1
