"""The flag's decision and its wire: no store, no clock."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.changes import HISTORY_LENGTH, Change, Edit, FlagState, Reason, parse_edit, parse_state
from bridge.errors import FlagRefused
from bridge.rollout import LISTED_LIMIT, Listed, Rollout, percentile

rooms = st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(min_size=1, max_size=20))
names = st.frozensets(st.text("abc12", min_size=1, max_size=3), max_size=4)
listed = st.builds(Listed, names, names)
values = st.one_of(st.sampled_from(["on", "off"]), st.integers(0, 100))
rollouts = st.builds(Rollout, values, listed, listed)
versions = st.one_of(st.none(), st.just(""), st.just("1-0"))
edits = st.builds(Edit, st.one_of(st.none(), values), listed, listed, listed, versions)


def vip(room="vip", user="vip"):
    return Listed(frozenset({room}), frozenset({user}))


def test_a_room_has_its_place_for_ever():
    places = [percentile(room) for room in (1, 42, "42", "room", "Zimmer 7 ☂")]
    assert places == [13, 37, 57, 45, 31]


def test_a_percentage_is_that_of_the_rooms():
    for percent in (1, 25, 50, 99):
        streaming = sum(Rollout(percent).streams(room) for room in range(20_000))
        assert abs(streaming / 200 - percent) < 1


@given(rooms, st.integers(0, 100), st.integers(0, 100))
def test_raising_the_percentage_only_adds_rooms(room, one, other):
    low, high = sorted((one, other))
    assert Rollout(low).streams(room) <= Rollout(high).streams(room)
    assert Rollout(100).streams(room)
    assert not Rollout(0).streams(room)


@pytest.mark.parametrize(
    ("rollout", "streams"),
    [
        (Rollout("off", allow=vip()), False),
        (Rollout("on", deny=vip()), False),
        (Rollout("on"), True),
        (Rollout(0, allow=vip()), True),
        (Rollout(0, allow=vip(user="other")), True),
        (Rollout(0, allow=vip("other")), True),
        (Rollout(0, allow=vip("other", "other")), False),
        (Rollout(100, deny=vip("other")), False),
        (Rollout(100, allow=vip(), deny=vip("other")), False),
    ],
    ids=str,
)
def test_off_stands_before_deny_before_on_before_allow_before_the_percentage(rollout, streams):
    assert rollout.streams("vip", "vip") is streams


def test_nobody_is_no_user():
    assert not Rollout(0, allow=Listed(users=frozenset({"vip"}))).streams("room", "")


def test_a_listed_number_is_that_room_whatever_its_json_type():
    only = Rollout(0, allow=Listed(frozenset({"42"})))
    assert only.streams(42)
    assert only.streams("42")


@given(rollouts, edits)
def test_an_edit_changes_what_it_names_and_repeats_without_harm(rollout, edit):
    after = edit.applied(rollout)
    assert edit.applied(after) == after
    assert after.value == (rollout.value if edit.value is None else edit.value)
    kept = rollout.allow - edit.deny - edit.forget
    assert after.allow == kept | edit.allow
    assert after.deny == (rollout.deny - edit.allow - edit.forget) | edit.deny


def test_who_is_allowed_is_denied_no_more_and_the_other_way_round():
    denied = Edit(deny=vip()).applied(Rollout(0, allow=vip()))
    assert denied == Rollout(0, deny=vip())
    assert Edit(allow=vip()).applied(denied) == Rollout(0, allow=vip())
    assert Edit(forget=vip()).applied(denied) == Rollout(0)


def test_the_lists_have_a_bound():
    many = Listed(frozenset(str(number) for number in range(LISTED_LIMIT)))
    full = Edit(allow=many).applied(Rollout())
    with pytest.raises(FlagRefused, match="would be listed"):
        Edit(deny=vip()).applied(full)


@given(st.lists(rollouts, max_size=5), st.text("ab ☂", max_size=9))
def test_a_state_comes_back_from_its_wire(steps, why):
    state = FlagState(Rollout("on"))
    for number, rollout in enumerate(steps):
        change = Change(str(number), "2026-01-01T00:00:00Z", rollout, state.rollout, Reason("ops", why))
        state = state.changed(change)
    assert parse_state(state.wire()) == state
    assert state.source == ("run-time" if steps else "default")


@given(edits.filter(lambda edit: replace(edit, at=None) != Edit()))
def test_an_edit_comes_back_from_its_wire(edit):
    assert parse_edit({**edit.wire(), "who": "ops", "why": "x"}) == (edit, Reason("ops", "x"))


def test_the_history_has_a_bound_and_the_latest_is_first():
    state = FlagState(Rollout())
    for number in range(HISTORY_LENGTH + 5):
        state = state.changed(Change(str(number), "", Rollout(1), Rollout(), Reason()))
    assert len(state.history) == HISTORY_LENGTH
    assert state.history[0].version == str(HISTORY_LENGTH + 4)


@pytest.mark.parametrize("text", ["two\nlines", "x" * 501, "\ud800"], ids=["lines", "long", "surrogate"])
def test_a_reason_is_one_line(text):
    with pytest.raises(FlagRefused, match="one line"):
        parse_edit({"value": "on", "why": text})


@pytest.mark.parametrize(
    ("rollout", "shown"),
    [(Rollout("on"), "on"), (Rollout(25), "25 %"), (Rollout(0, vip(), vip()), "0 %, 2 allowed, 2 denied")],
)
def test_a_person_can_read_it(rollout, shown):
    assert str(rollout) == shown
