"""What a room hears, as lines or live; nothing of it steers a terminal."""

import json

import pytest

from bridge.commands.scroll import GROWING, Scroll


def chunk(message_id, seq, delta, **more):
    return ("ai_message_chunk", {"messageId": message_id, "seq": seq, "delta": delta, **more})


def end(message_id, content, reason="stop"):
    return ("ai_message_end", {"messageId": message_id, "content": content, "finishReason": reason})


def said(content, role="user"):
    return ("new_message", {"messageId": f"m-{content}", "role": role, "content": content})


def scroll(*messages, **how):
    out = []
    scrolled = Scroll(out.append, **how)
    for name, data in messages:
        scrolled.hear(name, data)
    return out


def test_on_a_terminal_an_answer_grows_and_its_end_adds_only_what_is_missing():
    out = scroll(said("hi"), chunk("a", 1, "x"), chunk("a", 2, "y"), end("a", "xyz"), live=True)
    assert out == ["user: hi\n", "assistant: x", "y", "z\n"]


def test_a_chunk_that_was_heard_is_not_written_again_and_a_gap_is_mended_by_the_end():
    repeated = [chunk("a", 1, "x"), chunk("a", 1, "x"), chunk("a", 2, "xy", fromSeq=1), chunk("a", 2, "y")]
    assert "".join(scroll(*repeated, end("a", "xy"), live=True)) == "assistant: xy\n"
    assert "".join(scroll(chunk("a", 1, "x"), chunk("a", 3, "z"), end("a", "xyz"), live=True)) == (
        "assistant: xyz\n"
    )


def test_what_comes_meanwhile_waits_for_the_answer_in_front():
    out = scroll(
        chunk("a", 1, "a1"), chunk("b", 1, "b1"), said("and?"), chunk("c", 1, "c1"), end("c", "c1"),
        end("a", "a1"), chunk("b", 2, "b2"), end("b", "b1b2"), live=True,
    )  # fmt: skip
    assert "".join(out) == "assistant: a1\nuser: and?\nassistant: c1\nassistant: b1b2\n"


def test_a_text_that_the_backend_replaced_is_written_whole():
    out = "".join(scroll(chunk("a", 1, "wrong"), end("a", "right"), live=True))
    assert out == "assistant: wrong\n[the backend's text is] right\n"


def test_an_answer_that_nobody_knows_any_more_does_not_hold_up_the_others():
    out = scroll(chunk("a", 1, "x"), said("more"), ("lost", {"messageId": "a"}), live=True)
    assert "".join(out) == "assistant: x [lost]\nuser: more\n"


def test_elsewhere_each_message_is_one_line_once_it_is_complete():
    out = scroll(said("two\nlines"), chunk("a", 1, "x"), end("a", "x y", "interrupted"), live=False)
    assert out == ["user: two lines\n", "assistant: x y [interrupted]\n"]


def test_json_is_one_object_a_line_and_keeps_the_text():
    out = scroll(said("a\n\x1b[2Jb"), end("a", "x", "timeout"), live=False, as_json=True)
    first, second = (json.loads(line) for line in out)
    assert (first["role"], first["content"]) == ("user", "a\n\x1b[2Jb")
    assert (second["role"], second["finishReason"]) == ("assistant", "timeout")
    assert all(line.isascii() and line.count("\n") == 1 for line in out)


@pytest.mark.parametrize("live", [True, False])
def test_nothing_that_steers_a_terminal_gets_through(live):
    evil = "\x1b]0;title\x07\x9b31m\r\u202e\ud800"
    out = "".join(
        scroll(said(evil, role="us\x1ber"), chunk("a", 1, evil), end("a", evil + "z", "st\x1bop"), live=live)
    )
    assert not set(evil) - set("]0;title31m") & set(out)
    assert out.encode()


def test_of_too_many_that_grow_the_eldest_waits_for_its_end():
    many = [chunk(f"m{number}", 1, f"t{number}") for number in range(GROWING + 2)]
    out = scroll(*many, end("m1", "t1"), end("m0", "t0"), live=True)
    assert "".join(out).startswith("assistant: t0\nassistant: t1\nassistant: t")
