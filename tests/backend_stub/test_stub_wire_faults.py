"""Every fault on every wire: what comes is broken as was asked, and in the words of that wire."""

import asyncio
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import aiohttp
import pytest
from stub_caller import Caller, until

from backend_stub.model import Pace

PROMPT = [{"role": "user", "content": "Hi"}]
PARTS = [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]
BEARER = {"Authorization": "Bearer any"}
KEY = {"x-api-key": "any", "anthropic-version": "1"}
NUMBER = re.compile(rb"^id: \d+\n", re.MULTILINE)


@dataclass
class Spoken:
    """One wire, as a test asks in it and knows its words."""

    path: str
    body: dict
    text: str
    """The field that holds the text of a delta."""
    ends: tuple
    """What marks the end."""
    headers: dict = field(default_factory=dict)
    ping: bytes = b": ping\n\n"
    tail: bytes = b"\n\n"
    over: bytes = b"[DONE]"
    """The mark behind which nothing belongs to the answer."""


WIRES = {
    "ui_message": Spoken(
        "/chat/messages/stream",
        {"roomId": 1, "content": "Hi"},
        "delta",
        (b'"type":"finish"', b"[DONE]"),
        over=b'"type":"finish"',
    ),
    "use_chat": Spoken(
        "/api/v1/chat",
        {"id": 1, "messages": PARTS},
        "delta",
        (b'"type":"finish"', b"[DONE]"),
        over=b'"type":"finish"',
    ),
    "role_delta": Spoken("/stream/", {"chat_id": 1, "content": "Hi"}, "delta", (b"[DONE]",)),
    "conversation": Spoken(
        "/api/chat/1", {"messages": PROMPT}, "content", (b'"complete"',), over=b'"complete"'
    ),
    "stream_event": Spoken(
        "/api/trpc/chat.streamResponse",
        {"projectId": 1, "message": "Hi"},
        "content",
        (b'"complete"', b'"finalized"', b"event: return"),
        ping=b"event: ping\ndata: \n\n\n",
        tail=b"\n\n\n",
        over=b'"finalized"',
    ),
    "chat_completions": Spoken(
        "/v1/chat/completions",
        {"model": "m", "messages": PROMPT, "stream": True},
        "content",
        (b'"finish_reason":"stop"', b"[DONE]"),
        BEARER,
    ),
    "responses": Spoken(
        "/v1/responses",
        {"model": "m", "input": "Hi", "stream": True},
        "delta",
        (b"response.completed",),
        BEARER,
        over=b"response.completed",
    ),
    "anthropic": Spoken(
        "/v1/messages",
        {"model": "m", "messages": PROMPT, "stream": True},
        "text",
        (b"message_delta", b"message_stop"),
        KEY,
        b'event: ping\ndata: {"type":"ping"}\n\n',
        over=b"message_stop",
    ),
}


@pytest.fixture
async def caller(start, session):
    return Caller(session, await start(pace=Pace(12, 0, 0)))


@pytest.fixture(params=WIRES)
def wire(request):
    return WIRES[request.param]


@asynccontextmanager
async def call(caller, wire, fault, request_id="r1"):
    headers = wire.headers | {"X-Stub-Fault": fault, "Idempotency-Key": request_id}
    url = caller.backend.base_url
    if wire.path.endswith("streamResponse"):
        begin = f"{url}/api/trpc/chat.initiateChat"
        async with caller.session.post(begin, json=wire.body, headers=headers) as response:
            message_id = (await response.json())["result"]["data"]["assistantMessageId"]
        said = {"input": json.dumps({"projectId": 1, "assistantMessageId": message_id})}
        asked = caller.session.get(url + wire.path, params=said, headers=headers, allow_redirects=False)
    else:
        asked = caller.session.post(url + wire.path, json=wire.body, headers=headers, allow_redirects=False)
    async with asked as response:
        yield response


async def read(caller, wire, fault, request_id="r1"):
    """Return the bytes of a whole stream, and whether it was cut."""
    raw = b""
    async with call(caller, wire, fault, request_id) as response:
        assert response.status == 200, await response.text()
        try:
            async for piece in response.content.iter_any():
                raw += piece
        except (aiohttp.ClientPayloadError, OSError):
            return raw, True
    return raw, False


def deltas(wire, raw):
    """Return the texts of a stream, in order."""
    mark = f'"{wire.text}":"'.encode()
    texts = [record.split(mark, 1)[1] for record in raw.split(b"\n\n") if is_delta(wire, record)]
    return [json.loads(b'"' + text.split(b'"', 1)[0] + b'"') for text in texts]


def is_delta(wire, record):
    if b'"role":"user"' in record or b'"content":""' in record or b"content_block_start" in record:
        return False
    return re.search(f'"{wire.text}":"[^"]'.encode(), record) is not None


async def test_a_healthy_stream_ends_with_its_end(caller, wire):
    raw, cut = await read(caller, wire, "none")
    assert not cut
    assert len(deltas(wire, raw)) == 12
    assert all(end in raw for end in wire.ends)


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_status_comes_with_an_error(caller, wire, status):
    async with call(caller, wire, f"status-{status}") as response:
        assert response.status == status
        assert (await response.json())["error"]["message"]
        assert response.headers.get("Retry-After") == ("1" if status == 429 else None)


async def test_json_error_is_an_error_and_no_stream(caller, wire):
    async with call(caller, wire, "json-error") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        assert (await response.json())["error"]["message"]


async def test_refuse_silent_and_redirect(caller, wire):
    with pytest.raises(aiohttp.ClientConnectionError):
        await read(caller, wire, "refuse")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await read(caller, wire, "silent")
    async with call(caller, wire, "redirect") as response:
        assert response.status == 302
    await until(lambda: caller.backend.tally.open_streams == 0)
    assert caller.backend.tally.calls["r1"].answers == 0


async def test_hang_says_only_that_it_lives(caller, wire):
    async with call(caller, wire, "hang") as response:
        assert response.content_type == "text/event-stream"
        assert await response.content.readexactly(2 * len(wire.ping)) == 2 * wire.ping


async def test_stall_goes_on_saying_that_it_lives(caller, wire):
    raw = b""
    async with call(caller, wire, "stall;after=2") as response:
        while not raw.endswith(2 * wire.ping):
            raw += await response.content.readany()
    assert len(deltas(wire, raw)) == 2


async def test_error_ends_the_text_and_is_stored(caller, wire):
    raw, cut = await read(caller, wire, "error;after=4")
    assert not cut
    assert len(deltas(wire, raw)) >= 4
    assert b"the model failed in the middle of its answer" in raw
    rows = await caller.stored(2, "v1" if wire.path.startswith("/v1") else "1")
    assert (rows[1]["status"], rows[1]["finishReason"]) == ("error", "error")
    assert rows[1]["content"] == "".join(deltas(wire, raw)[:4])
    again, _ = await read(caller, wire, "none")
    assert again == raw


async def test_cut_breaks_inside_a_frame(caller, wire):
    raw, cut = await read(caller, wire, "cut;after=3")
    assert cut
    assert not raw.endswith(b"\n\n")
    assert len(deltas(wire, raw[: raw.rindex(b"\n\n")])) == 3


@pytest.mark.parametrize(("name", "count"), [("malformed", 1), ("malformed-many", 5)])
async def test_malformed_frames_break_off_before_their_text(caller, wire, name, count):
    raw, _ = await read(caller, wire, f"{name};after=2")
    broken = [record for record in raw.split(wire.tail) if record.endswith(f'"{wire.text}":'.encode())]
    assert len(broken) == count
    for record in broken:
        with pytest.raises(ValueError, match="Expecting value"):
            json.loads(record.rsplit(b"data:", 1)[1])
    assert len(deltas(wire, raw)) == 12


async def test_no_end_has_none_of_the_end_marks(caller, wire):
    raw, cut = await read(caller, wire, "no-end")
    assert not cut
    assert len(deltas(wire, raw)) >= 12
    assert not any(end in raw for end in wire.ends)


async def test_after_end_goes_on_behind_the_last_end_mark(caller, wire):
    raw, _ = await read(caller, wire, "after-end")
    assert all(raw.rindex(end) < raw.rindex(b" too late") for end in wire.ends)
    assert raw.index(wire.over) < raw.index(b" too late")
    assert is_delta(wire, raw[:-2].rsplit(b"\n\n", 1)[1])


async def test_duplicate_sends_each_delta_twice(caller, wire):
    raw, _ = await read(caller, wire, "duplicate")
    texts = deltas(wire, raw)
    assert len(texts) == 24
    assert texts[::2] == texts[1::2]


async def test_huge_sends_one_frame_of_that_size(caller, wire):
    raw, _ = await read(caller, wire, "huge;bytes=300000")
    sizes = [len(record + wire.tail) for record in raw.split(wire.tail)]
    assert max(sizes) == 300_000
    assert len(deltas(wire, raw)) == 12


async def test_bad_utf8_is_inside_one_delta(caller, wire):
    raw, _ = await read(caller, wire, "bad-utf8;after=1")
    assert raw.count(f'"{wire.text}":"'.encode() + b"\xff\xc3(") == 1


async def test_bom_comes_first(caller, wire):
    raw, _ = await read(caller, wire, "bom")
    assert raw.startswith(b"\xef\xbb\xbf")
    assert raw.count(b"\xef\xbb\xbf") == 1


async def test_surrogates_come_in_halves_that_make_the_text(caller, wire):
    whole, _ = await read(caller, wire, "none")
    raw, _ = await read(caller, wire, "surrogates")
    assert b"\\ud83d" in raw
    texts = deltas(wire, raw)
    assert texts != deltas(wire, whole)
    joined = "".join(texts).encode("utf-16", "surrogatepass").decode("utf-16")
    assert joined == "".join(deltas(wire, whole))
    halves = [text for text in texts if text.startswith("\udc4b")]
    assert halves
    assert "👋".encode() not in b"".join(record for record in raw.split(b"\n\n") if is_delta(wire, record))


def hostile_records(wire, raw):
    records = [record for record in raw.split(wire.tail) if b"data-h" in record]
    return [record.rsplit(b"data:", 1)[1].decode() for record in records]


async def test_hostile_frames_come_one_by_one_between_good_ones(caller, wire):
    raw, _ = await read(caller, wire, "hostile;after=3")
    before = raw[: raw.index(b"data-hostile")]
    assert len(deltas(wire, before)) == 3
    records = hostile_records(wire, raw)
    kinds = ["data-hostile" in record for record in records]
    assert kinds == [True, False] * 4
    nan, digits, nested, half = records[::2]
    assert "NaN" in nan
    assert "9" * 10_000 in digits
    assert "[" * 100_000 in nested
    assert "\\ud83d" in half
    for harmless in records[1::2]:
        assert json.loads(harmless)["data"] == 0
    assert deltas(wire, raw) == deltas(wire, (await read(caller, wire, "none"))[0])


async def test_only_numbered_frames_are_resumed(caller, wire):
    whole, _ = await read(caller, wire, "none")
    numbered = len(NUMBER.findall(whole))
    resumed = replace(wire, headers=wire.headers | {"Last-Event-ID": "5"})
    again, _ = await read(caller, resumed, "none")
    assert numbered in (0, 18)
    assert len(deltas(wire, again)) == (10 if numbered else 12)
    assert (numbered == 18) is ("/chat/messages" in wire.path or "/api/v1/chat" in wire.path)


async def test_halves_of_a_token_have_no_number_so_that_numbers_keep_their_meaning(caller):
    whole = await caller.stream()
    halved = await caller.stream({"X-Stub-Fault": "surrogates"})
    assert [number for number in halved.ids if number is not None] == whole.ids
    assert len(halved.ids) > len(whole.ids)
