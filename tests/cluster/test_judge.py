"""The judge is judged: stories told by hand, and what must be found in them."""

import pytest

from tests.cluster.judge import ANSWER, CHUNK, END, START, Asked, Heard, Story, judge

TEXT = "Hello dear world"


def start(at_s=0.0, connection=1):
    return Heard(at_s, connection, "n", START, "r", "m", "room")


def chunk(seq, text, *, since=0, at_s=0.1, connection=1):
    return Heard(at_s, connection, "n", CHUNK, "r", "m", "room", seq, since, text)


def end(text=TEXT, *, reason="stop", at_s=0.2, connection=1):
    return Heard(at_s, connection, "n", END, "r", "m", "room", text=text, reason=reason)


def answer(connection=1):
    return Heard(0.3, connection, "n", ANSWER, "r", "m", "room", text=TEXT)


WHOLE = [start(), chunk(1, "Hello"), chunk(2, " dear"), chunk(3, " world"), end(), answer()]


def found(*stories, presence=((-10.0, 100.0),), left_at_s=None, **given):
    asked = {"r": Asked("r", "room", -1.0, owner="n", taken=True, **given.pop("asked", {}))}
    told = [
        Story(f"d{number}", "room", heard, list(presence), left_at_s) for number, heard in enumerate(stories)
    ]
    return judge(told, asked, **given)


def kinds(verdict):
    return sorted(each.kind for each in verdict.violations)


def test_a_right_story_has_nothing_wrong():
    late = [start(), chunk(2, "Hello dear", since=1), chunk(3, " world"), end(), answer()]
    verdict = found(WHOLE, late, stored={"r": TEXT}, calls={"r": (1, 1)})
    assert (kinds(verdict), verdict.turns, verdict.hearings, verdict.chunks) == ([], 1, 2, 5)
    assert verdict.line.startswith("0 lost, 0 duplicated, 0 reordered, 0 unequal")


def test_who_resumes_goes_on_behind_its_last_seq():
    assert not kinds(found([*WHOLE[:2], chunk(3, " dear world", since=2, connection=2), end(connection=2)]))


@pytest.mark.parametrize(
    ("story", "kind"),
    [
        ([start(), chunk(1, "Hello"), chunk(3, " world"), end()], "lost"),
        ([start(), chunk(1, "Hello"), chunk(1, "Hello"), *WHOLE[2:]], "duplicated"),
        ([start(), chunk(2, "Hello dear", since=1), *WHOLE[2:]], "duplicated"),
        ([*WHOLE[:2], chunk(3, "Hello dear world", since=1, connection=2), end(connection=2)], "duplicated"),
        ([start(), start(), *WHOLE[1:]], "duplicated"),
        ([*WHOLE[:5], end()], "duplicated"),
        ([*WHOLE, chunk(4, "!")], "duplicated"),
        ([*WHOLE, answer()], "duplicated"),
        ([start(), chunk(1, "Hello"), chunk(3, " world"), chunk(2, " dear"), end()], "reordered"),
        ([*WHOLE[1:2], start(), *WHOLE[2:]], "reordered"),
        ([*WHOLE[:3], end()], "unequal"),
        (WHOLE[:4], "unended"),
        ([*WHOLE[:4], end(reason="interrupted")], "cut short"),
    ],
)
def test_a_breach_of_the_first_law_is_found(story, kind):
    assert kinds(found(story)) == [kind]


def test_an_ended_turn_that_is_told_again_to_who_came_back_is_counted_only():
    again = [start(connection=2), chunk(3, TEXT, since=1, connection=2), end(connection=2)]
    verdict = found([*WHOLE, *again])
    assert (kinds(verdict), verdict.retold) == ([], 3)


def test_two_owners_of_one_turn_are_found_though_each_device_is_right():
    other = [start(), chunk(1, "Hel"), chunk(2, "lo dear"), chunk(3, " world"), end(), answer()]
    assert kinds(found(WHOLE, other)) == ["unequal"]
    limit = found(WHOLE, other, asked={"cut_off": True})
    assert (kinds(limit), len(limit.allowed)) == ([], 1)


def test_a_gap_is_no_part_of_the_known_limit():
    torn = [start(), chunk(1, "Hello"), chunk(3, " world"), end()]
    assert kinds(found(WHOLE, torn, asked={"cut_off": True})) == ["lost"]


def test_two_ends_that_differ_are_found():
    assert kinds(found(WHOLE, [*WHOLE[:3], end("Hello dear", reason="cancelled")])) == ["cut short"]


def test_the_text_must_be_what_the_backend_has():
    assert kinds(found(WHOLE, stored={"r": TEXT + "!"})) == ["unequal"]
    part = [*WHOLE[:3], end("Hello dear", reason="cancelled")]
    assert not kinds(found(part, stored={"r": TEXT}, asked={"stopped": True}))
    assert kinds(found(part, stored={"r": "Bye"}, asked={"stopped": True})) == ["unequal"]


def test_one_request_is_one_answer_and_in_calm_one_call():
    assert kinds(found(WHOLE, calls={"r": (2, 2)})) == ["asked twice"]
    assert kinds(found(WHOLE, calls={"r": (2, 1)})) == ["asked twice"]
    assert not kinds(found(WHOLE, calls={"r": (2, 1)}, troubles=[(0.1, 0.2)]))


def test_a_message_of_another_room_is_a_leak():
    other = Heard(0.0, 1, "n", START, "q", "m", "elsewhere")
    assert kinds(found([*WHOLE, other])) == ["leaked"]


def test_who_was_there_all_the_time_and_heard_nothing_lost_it():
    assert kinds(found(WHOLE, [])) == ["lost"]
    assert not kinds(found(WHOLE, [], presence=[(-10.0, 0.15), (0.25, 100.0)]))


def test_who_leaves_need_not_hear_the_end():
    assert not kinds(found(WHOLE[:3], left_at_s=1.0))
    assert kinds(found(WHOLE[:3])) == ["unended"]


def test_an_end_that_comes_long_after_the_others_have_it_is_late():
    late = [*WHOLE[:4], end(at_s=8.0)]
    assert kinds(found(WHOLE, late)) == ["late"]
    assert not kinds(found(WHOLE, late, troubles=[(0.1, 6.0)]))
    assert not kinds(found(WHOLE, late, presence=[(-10.0, 0.15), (7.0, 100.0)]))


def test_a_request_that_nobody_took_is_refused():
    verdict = judge([], {"r": Asked("r", "room", 0.0)})
    assert kinds(verdict) == ["refused"]
