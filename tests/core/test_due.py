"""Who is due when: a few people and seconds, against a list of all of them."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.due import STALE_LIMIT, Due

PEOPLE, TIMES_S = st.integers(0, 5), st.floats(0, 8)
STEPS = st.lists(st.tuples(st.sampled_from(["add", "remove", "take"]), PEOPLE, TIMES_S), max_size=60)


@given(STEPS)
def test_who_is_due_is_told_once_and_not_before_their_second(steps):
    due, expected = Due(), {}
    for what, who, at_s in steps:
        if what == "add" and who not in expected:
            due.add(who, at_s)
            expected[who] = at_s
        elif what == "remove" and who in expected:
            due.remove(who, expected.pop(who))
        elif what == "take":
            told = due.take(at_s)
            assert sorted(told) == sorted(who for who, when_s in expected.items() if -(-when_s // 1) <= at_s)
            expected = {who: when_s for who, when_s in expected.items() if who not in told}
        assert len(due) == len(expected)


def test_who_never_is_due_is_not_kept():
    due = Due()
    due.add("ann", None)
    due.remove("ann", None)
    assert due.take(1e300) == []
    assert not len(due)


def test_who_has_gone_before_leaves_nothing():
    due = Due()
    for _ in range(10):  # the same seconds again and again, as of one who comes and goes with one token
        for at_s in range(1000, 2000):
            due.add("ann", at_s)
            due.remove("ann", at_s)
    assert len(due._seconds) <= STALE_LIMIT + 1
    due.add("bob", 1500.5)
    assert due.take(1500.9) == []
    assert due.take(1501) == ["bob"]
