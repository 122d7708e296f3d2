"""What the journal keeps of a message is the message, and JSON."""

import json

import pytest

from bridge import codec
from bridge.messages import MessageChunk, MessageStart

CHUNKS = [
    MessageChunk("r-1", "room", "m-1", 1, "Hello"),
    MessageChunk("r-1", 42, "m-1", 17, 'said "안녕"\n\u2028\ud800\0', from_seq=3),
    MessageChunk(-1, 2**62, "m-1", 2**31, ""),
]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_chunk_alone_is_kept_as_it_is_among_others(chunk):
    alone, among = codec.encode([chunk]), codec.encode([MessageStart("r-1", "room", "m-1"), chunk])
    assert json.loads(alone) == json.loads(among)[1:]
    assert codec.decode(alone) == [chunk]
    assert alone.isascii()


@pytest.mark.parametrize("text", ["", "[", "[] x", '[["nope"]]', '[["start", 1]]', "5", '{"a": 1}', b"\xff"])
def test_what_no_bridge_wrote_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  (json and unicode say it in their own words)
        codec.decode(text)
