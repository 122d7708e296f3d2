"""What a device heard of one answer, judged by the contract; and the figures of many."""

import math

import pytest

from bridge.commands.validation.heard import Heard, Turn
from bridge.commands.validation.verdict import Limits, checks, figures, percentile


def chunk(seq, delta, **more):
    return ("ai_message_chunk", {"seq": seq, "delta": delta, **more})


def end(content, reason="stop"):
    return ("ai_message_end", {"content": content, "finishReason": reason})


START = ("ai_message_start", {})
WHOLE = ("new_message", {"role": "assistant", "content": "ab"})
GROWN = [START, chunk(1, "a"), chunk(2, "b"), end("ab")]


def hear(*messages, began_s=10.0):
    heard = Heard()
    for number, (name, data) in enumerate(messages, 1):
        heard.hear(name, data, began_s + number / 10)
    return heard


def turn(*devices, refused=""):
    return Turn(10.0, devices, refused)


def test_an_answer_that_grew_is_whole_and_was_early():
    heard = hear(*GROWN)
    assert (heard.whole, heard.early, heard.repeats, heard.content) == (True, True, 0, "ab")
    assert turn(heard).ttft_ms == pytest.approx([200])
    assert turn(heard).completion_ms == pytest.approx([400])


def test_an_answer_in_one_piece_has_its_first_text_with_its_end():
    heard = hear(WHOLE)
    assert (heard.whole, heard.streamed, heard.early) == (True, False, False)
    assert turn(heard).ttft_ms == turn(heard).completion_ms == pytest.approx([100])


@pytest.mark.parametrize(
    "messages",
    [
        [START, chunk(1, "a"), chunk(1, "a"), chunk(2, "b"), end("ab")],
        [START, START, chunk(2, "ab", fromSeq=1), end("ab")],
        [*GROWN, end("ab")],
        [*GROWN, chunk(3, "c")],
        [*GROWN, WHOLE],
        [WHOLE, WHOLE],
    ],
    ids=["chunk", "start", "end", "after the end", "whole beside grown", "whole"],
)
def test_what_comes_once_too_often_is_a_repeat_and_no_loss(messages):
    heard = hear(*messages)
    assert (heard.repeats, heard.whole) == (1, True)


@pytest.mark.parametrize(
    "messages",
    [
        [START, chunk(2, "b"), end("ab")],
        [START, chunk(1, "a"), end("ab")],
        [START, chunk(1, "a"), chunk(2, "x"), end("ab")],
        [START, chunk(1, "a"), end("", "interrupted")],
        [START, chunk(2, "b"), end("", "error")],
        [START, chunk(1, "a")],
        [START],
    ],
    ids=["gap", "tail missing", "other text", "text withdrawn", "gap in an error", "no end", "only a start"],
)
def test_what_is_missing_is_lost(messages):
    assert not hear(*messages).whole
    assert turn(hear(*messages), hear(*GROWN)).lost == 1


def test_a_merged_chunk_covers_its_seqs():
    assert hear(START, chunk(1, "a"), chunk(3, "bc", fromSeq=2), end("abc")).whole


def test_an_answer_that_failed_keeps_its_text_and_is_an_error_and_no_loss():
    for reason, content in (("interrupted", "a"), ("error", ""), ("timeout", "")):
        ended = hear(START, chunk(1, "a"), end(content, reason))
        failed = turn(ended, ended)
        assert (failed.failed, failed.lost, failed.outcome) == (True, 0, reason)


def test_nobody_hears_of_an_error_with_the_flag_off():
    silent = turn(hear(), hear())
    assert (silent.failed, silent.lost, silent.outcome) == (True, 0, "unanswered")


def test_who_alone_hears_nothing_has_lost_the_answer():
    assert turn(hear(WHOLE), hear()).lost == 1


def test_devices_with_different_texts_are_unequal():
    other = ("new_message", {"content": "xy"})
    assert turn(hear(WHOLE), hear(other)).unequal
    assert not turn(hear(WHOLE), hear(WHOLE)).unequal


@pytest.mark.parametrize(
    ("percent", "wanted"), [(50, 5), (90, 9), (95, 10), (99, 10), (100, 10), (0, 1)], ids=str
)
def test_a_percentile_is_one_of_the_values(percent, wanted):
    assert percentile(range(1, 11), percent) == wanted
    assert math.isnan(percentile([], percent))


def judged(side, limits=Limits()):  # noqa: B008  (frozen)
    return {check.name: check.passed for check in checks(side, limits)}


def test_a_calm_side_passes_all_checks():
    calm = judged(figures("on", [turn(hear(*GROWN), hear(*GROWN))]))
    assert all(calm.values())
    assert set(calm) >= {"ttft_p95_ms", "completion_p95_ms", "late", "errors_percent", "lost", "duplicated"}


def test_how_soon_text_comes_is_not_judged_with_the_flag_off():
    slow = judged(figures("off", [turn(hear(WHOLE, began_s=30.0))]))
    assert all(slow.values())
    assert "ttft_p95_ms" not in slow
    assert not judged(figures("as is", [turn(hear(WHOLE, began_s=30.0))]))["ttft_p95_ms"]


@pytest.mark.parametrize(
    ("flag", "turns", "failed"),
    [
        ("on", [turn(hear(*GROWN, began_s=11.6))], {"ttft_p95_ms"}),
        ("on", [turn(hear(*GROWN), hear(START, end("ab")))], {"late"}),
        ("on", [turn(hear(WHOLE))], {"strayed"}),
        ("off", [turn(hear(*GROWN))], {"strayed"}),
        ("off", [turn(hear(), refused="busy")], {"errors_percent"}),
        ("off", [turn(hear(WHOLE, WHOLE))], {"duplicated"}),
        ("off", [turn(hear(WHOLE), hear())], {"lost"}),
    ],
    ids=["late text", "not early", "not streamed", "streamed", "refused", "twice", "lost"],
)
def test_each_fault_fails_its_check(flag, turns, failed):
    assert {name for name, passed in judged(figures(flag, turns)).items() if not passed} == failed


def test_where_nothing_was_measured_nothing_passes():
    assert not judged(figures("on", []))["ttft_p95_ms"]
    assert not judged(figures("on", []))["errors_percent"]


def test_limits_are_the_operators():
    side = figures("off", [turn(hear(WHOLE, WHOLE), hear()), turn(hear(WHOLE)), turn(hear(), refused="busy")])
    assert all(judged(side, Limits(errors_percent=34, lost=1, duplicated=1)).values())
