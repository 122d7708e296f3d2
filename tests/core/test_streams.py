"""Bytes to events: the framing and the dialect together, at every cut."""

import httpx
import httpx_sse
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strict_sse import parse
from transcripts import FULL, MEANINGS, START, TEXT, delta, parts

from bridge.dialects.base import MALFORMED_IN_A_ROW, Frame
from bridge.dialects.ui_message import UiMessage
from bridge.errors import BackendCut, BackendMalformed
from bridge.events import Delta, Failed, Finished
from bridge.framing import Framing
from bridge.turn import Turn

TORTURE = {
    "bom": b"\xef\xbb\xbfdata: a\n\n",
    "only a bom": b"\xef\xbb\xbf",
    "line ends": b"data: a\r\rdata: b\r\n\r\ndata: c\n\n\r\n",
    "line ends inside a record": b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n",
    "comments": b": ping\n\ndata: a\n: ping\ndata: b\n\n: x\n\n",
    "phantoms after an id": b"id: 1\ndata: a\n\n\n\n: ping\n\nevent: x\n\ndata: b\n\n",
    "id alone": b"id: 7\n\ndata: a\n\nid\n\ndata: b\n\n",
    "id with nul": b"id: 1\ndata: a\n\nid: 2\x00\ndata: b\n\n",
    "id behind the data": b"data: a\nid: 3\n\ndata: b\n\n",
    "retry": b"retry: +5\ndata: a\n\nretry: 10\n\n",
    "many lines": b"data: a\ndata:\ndata:  b\n\n",
    "no space, two spaces": b"data:a\n\ndata:  b\n\n",
    "space before the colon": b"data : a\ndata: b\n\n",
    "unknown field": b"datax: a\nfoo\ndata: b\n\n",
    "empty data": b"data\n\ndata:\n\ndata: a\n\n",
    "other separators": "data: a\u2028b\u0085c\x0bd\x0ce\n\n".encode(),
    "bad utf-8": b"data: a\xff\xfeb\n\n",
    "unfinished": b"data: a\n\ndata: b\n",
}


def framed(*pieces):
    framing = Framing()
    return [frame for piece in pieces for frame in framing.feed(piece)]


def named(frames):
    return [(frame.event, frame.data, frame.id) for frame in frames]


def meant(stream):
    return [("" if event == "message" else event, data, last) for event, data, last in parse(stream)]


def with_data(records):
    return [record for record in records if record[1]]


@pytest.mark.parametrize("stream", TORTURE.values(), ids=TORTURE)
def test_frames_are_what_the_standard_says_at_every_cut(stream):
    assert with_data(named(framed(stream))) == meant(stream)
    assert framed(*(stream[n : n + 1] for n in range(len(stream)))) == framed(stream)
    for cut in range(len(stream)):
        assert framed(stream[:cut], stream[cut:]) == framed(stream)


@pytest.mark.parametrize(
    "name", ["many lines", "no space, two spaces", "line ends", "id with nul", "id behind the data"]
)
def test_where_httpx_sse_is_right_frames_are_what_it_says(name):
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    source = httpx_sse.EventSource(httpx.Response(200, headers=headers, content=TORTURE[name]))
    said = [(sse.event if sse.event != "message" else "", sse.data, sse.id) for sse in source.iter_sse()]
    assert with_data(named(framed(TORTURE[name]))) == with_data(said)


@given(
    st.lists(
        st.sampled_from([b"data", b"id", b"event", b":", b" ", b"\r", b"\n", b"a", b"\xef\xbb\xbf", b"\xc3"])
    )
)
def test_any_bytes_mean_what_the_standard_says(pieces):
    stream = b"".join(pieces)
    assert with_data(named(framed(*pieces))) == meant(stream)


@pytest.mark.parametrize(
    "again",
    [
        b"id: 1\nevent: e\ndata: a\n\n",
        b"event: e\ndata: a\nid: 1\n\n",
        b"id: 1\r\nevent: x\r\nevent:e\r\ndata:a\r\n\r\n",
    ],
    ids=["the same bytes", "another order", "other lines that say the same"],
)
def test_a_record_that_says_the_same_under_the_same_id_is_a_repeat(again):
    assert framed(b"id: 1\nevent: e\ndata: a\n\n", again, b"id: 2\ndata: b\n\n") == [
        Frame("a", "e", "1"),
        Frame("b", "", "2"),
    ]


def test_where_an_id_comes_with_another_record_ids_name_none():
    pieces = [b"id: 1\ndata: a\n\n", b"id: 1\ndata: b\n\n", b"id: 1\ndata: a\n\n"]
    assert [frame.data for frame in framed(*pieces)] == ["a", "b", "a"]


@pytest.mark.parametrize(
    "endless", [b"data: " + b"x" * 70_000, b"data: xxxxxxx\n" * 6000], ids=["line", "event"]
)
def test_what_never_ends_is_refused_before_memory_is(endless):
    framing = Framing(line_limit_bytes=65_536, event_limit_bytes=131_072)
    framing.feed(b"data: a\n\n")
    with pytest.raises(BackendMalformed):
        framing.feed(endless * 3)


def events(*pieces):
    dialect = UiMessage()
    found = [event for frame in framed(*pieces) for event in dialect.decode(frame)]
    return found + dialect.eof()


def means(found, wanted, ending):
    *body, last = found
    assert body == wanted
    match last:
        case Finished(reason):
            assert reason == ending
        case Failed(error):
            assert type(error) is ending
        case _:
            pytest.fail(f"no ending: {last}")


@pytest.mark.parametrize("name", MEANINGS)
def test_a_stream_means_the_same_whole_and_byte_by_byte(name):
    stream, wanted, ending = MEANINGS[name]
    means(events(stream), wanted, ending)
    means(events(*(stream[n : n + 1] for n in range(len(stream)))), wanted, ending)


@pytest.mark.parametrize("name", MEANINGS)
def test_a_stream_means_the_same_in_two_pieces_cut_anywhere(name):
    stream, wanted, ending = MEANINGS[name]
    for cut in range(len(stream)):
        means(events(stream[:cut], stream[cut:]), wanted, ending)


@pytest.mark.parametrize("stream", [TEXT, FULL], ids=["text", "full"])
def test_an_end_before_the_finish_frame_is_whole_is_never_stop(stream):
    finished_at = stream.index(b'data: {"type": "finish", "finishReason"')
    finished_at = stream.index(b"\n\n", finished_at) + 2
    for cut in range(finished_at):
        last = events(stream[:cut])[-1]
        assert isinstance(last, Failed), cut
        assert type(last.error) is BackendCut


def test_chunk_bounds_of_the_network_never_change_the_text():
    for cut in range(len(TEXT)):
        turn = Turn(
            request_id=1,
            room_id=1,
            message_id="m",
            streaming=True,
            created_at=str,
            content_limit_bytes=999,
        )
        for event in events(TEXT[:cut], TEXT[cut:]):
            turn.apply(event)
        assert turn.content == "Hello 🌞"


SAME = ("length", "content-filter", "tool-calls", "interrupted")
REASONS = {**{reason: reason for reason in SAME}, **dict.fromkeys(("unknown", "other", 7), "other")}


@pytest.mark.parametrize(("said", "meant"), REASONS.items())
def test_finish_reasons_are_mapped(said, meant):
    assert events(parts(START, {"type": "finish", "finishReason": said}))[-1] == Finished(meant)


def test_a_finish_without_a_reason_is_a_stop():
    assert events(parts(START, {"type": "finish"}))[-1] == Finished("stop")


UNREADABLE = ["{", "[1]", "1", '{"type": NaN}', "[" * 100_000, "9" * 10_000, "nonsense"]


@pytest.mark.parametrize("data", UNREADABLE, ids=lambda data: data[:9])
def test_frames_that_cannot_be_read_are_skipped_and_counted_and_three_in_a_row_end_the_turn(data):
    dialect = UiMessage()
    for _ in range(MALFORMED_IN_A_ROW - 1):
        assert dialect.decode(Frame(data)) == []
    assert dialect.decode(Frame('{"type": "text-delta", "delta": "a"}')) == [Delta("a")]
    for _ in range(MALFORMED_IN_A_ROW - 1):
        dialect.decode(Frame(data))
    (failed,) = dialect.decode(Frame(data))
    assert isinstance(failed.error, BackendMalformed)
    assert dialect.malformed == 2 * MALFORMED_IN_A_ROW - 1
    assert dialect.eof() == dialect.decode(Frame('{"type": "finish"}')) == []


def test_a_last_frame_that_cannot_be_read_is_malformed_not_a_cut():
    last = events(parts(START, delta("a"), done=False) + b"data: {oops\n\n")[-1]
    assert type(last.error) is BackendMalformed


@pytest.mark.parametrize(
    "odd", [{"type": []}, {"type": "text-delta", "delta": 7}, {"type": "tool-input-start"}, {}], ids=str
)
def test_parts_of_the_wrong_shape_say_nothing(odd):
    assert events(parts(START, odd, {"type": "finish"}))[1:] == [Finished("stop")]
