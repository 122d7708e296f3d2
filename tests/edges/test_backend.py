"""The HTTP backend against a server on loopback that sends exactly the bytes a test names."""

import asyncio
import base64
import contextlib
import dataclasses
import json
import resource

import pytest
from aiohttp import web

from bridge.backend import HttpBackend
from bridge.dialects import DIALECTS
from bridge.errors import BackendCut, BackendMalformed, BackendRefused, BackendUnreachable
from bridge.events import Completed, Delta, Failed, Finished, Position, Started
from bridge.limits import AGAIN_AFTER_S
from bridge.ports import Prompt
from bridge.profiles import Call, Preparation, Profile

PROMPT = Prompt("r-1", 42, "ours", "hällo", extra={"lang": "de", "content": "forged"})


def frames(*values):
    return b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)


HELLO = frames(
    {"type": "start", "messageId": "m-1"},
    {"type": "text-delta", "id": "t", "delta": "Hel"},
    {"type": "text-delta", "id": "t", "delta": "lo"},
    {"type": "finish", "finishReason": "stop"},
)
MEANS_HELLO = [Started("m-1"), Delta("Hel"), Delta("lo"), Finished("stop")]


class Server:
    """Answers with what the test set, and keeps the requests."""

    def __init__(self):
        self.requests = []
        self.transports = []
        self.status = 200
        self.headers = {"content-type": "text/event-stream"}
        self.pieces = [HELLO]
        self.later = []  # the pieces of the second request, of the third, ...
        self.closed = asyncio.Event()

    async def handle(self, request):
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.path_qs, request.headers, body))
        self.transports.append(request.transport)
        response = web.StreamResponse(status=self.status, headers=self.headers)
        if len(self.requests) > 1 and self.later:
            self.pieces = self.later.pop(0)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            await self.send(response, request)
        return response

    async def send(self, response, request):
        try:
            for piece in self.pieces:
                if piece is None:
                    request.transport.abort()
                elif callable(piece):
                    await piece()
                else:
                    await response.write(piece)
        finally:
            self.closed.set()


def backend_at(url, dialect="auto", profile=None, ended=lambda *_: None):
    return HttpBackend(
        url, profile or Profile(), DIALECTS[dialect], ended, connect_s=60.0, jitter=lambda: 0.0
    )


@pytest.fixture
async def server():
    server = Server()
    app = web.Application(handler_args={"handler_cancellation": True})
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=512)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def backend(server):
    backend = backend_at(server.url, "ui_message")
    yield backend
    await backend.close()


@pytest.fixture(params=["told as they come", "read in httpx' own way"], autouse=True)
def way_of_the_bytes(request, monkeypatch):
    if request.param != "told as they come":
        monkeypatch.setattr("bridge.body.misfit", lambda: request.param)


async def everything(backend, after=""):
    events = []
    await backend.stream(PROMPT, lambda some: events.extend(some) or True, after)
    return events


async def told(backend, after=""):
    return [event for event in await everything(backend, after) if not isinstance(event, Position)]


async def test_the_frames_of_a_stream_become_events(backend):
    assert await told(backend) == MEANS_HELLO


async def test_a_stream_means_the_same_however_its_bytes_are_cut(backend, server):
    server.pieces = [HELLO[n : n + 1] for n in range(len(HELLO))]
    assert await told(backend) == MEANS_HELLO


async def test_the_request_names_the_turn_and_passes_on_what_else_was_sent(backend, server):
    await told(backend)
    ((path, headers, body),) = server.requests
    assert path == "/chat/messages/stream"
    assert headers["Accept"] == "text/event-stream"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Idempotency-Key"] == "r-1"
    assert headers["User-Agent"].startswith("bridge/")
    assert body == {"requestId": "r-1", "roomId": 42, "messageId": "ours", "content": "hällo", "lang": "de"}


async def test_credentials_in_the_backends_address_go_along(server):
    backend = backend_at(server.url.replace("//", "//ann:secret@"), "ui_message")
    assert await told(backend) == MEANS_HELLO
    ((_, headers, _),) = server.requests
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"ann:secret").decode()
    await backend.close()


async def test_an_askers_own_authorization_goes_before_the_credentials_of_the_address(server):
    backend = backend_at(server.url.replace("//", "//ann:secret@"), "ui_message")
    asked = dataclasses.replace(PROMPT, headers={"authorization": "Bearer own"})
    await backend.stream(asked, lambda _: True)
    ((_, headers, _),) = server.requests
    assert headers["Authorization"] == "Bearer own"
    assert headers["Host"] == server.url.removeprefix("http://")
    await backend.close()


@pytest.mark.parametrize(
    "noise",
    [b"\xef\xbb\xbf", b"id: 7\n\n: ping\n\n\n\n: ping\n\n", b"event: x\n\nretry: +5\n\n"],
    ids=["bom", "phantoms after an id", "records without data"],
)
async def test_what_httpx_sse_gets_wrong_is_repaired(backend, server, noise):
    server.pieces = [noise + HELLO]
    assert await told(backend) == MEANS_HELLO


async def test_the_text_is_utf_8_whatever_the_header_says(backend, server):
    server.headers = {"content-type": "Text/Event-Stream; charset=latin-1"}
    server.pieces = [HELLO.replace(b"Hel", "안녕".encode())]
    assert Delta("안녕") in await told(backend)


async def test_invalid_utf_8_is_replaced(backend, server):
    server.pieces = [HELLO.replace(b"Hel", b"H\xffl")]
    assert Delta("H\ufffdl") in await told(backend)


async def test_an_end_before_finish_is_a_cut(backend, server):
    server.pieces = [HELLO[: HELLO.index(b'data: {"type": "finish')]]
    last = (await told(backend))[-1]
    assert isinstance(last, Failed)
    assert isinstance(last.error, BackendCut)


async def test_a_lost_connection_is_a_cut(backend, server):
    server.pieces = [HELLO[:60], None]
    last = (await told(backend))[-1]
    assert isinstance(last, Failed)
    assert isinstance(last.error, BackendCut)
    assert last.error.arrived


async def test_a_lost_connection_before_the_answer_may_have_arrived():
    async def hang_up(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    listener = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    backend = backend_at(url, "auto")
    with pytest.raises(BackendCut) as cut:
        await told(backend)
    assert cut.value.arrived
    await backend.close()
    listener.close()
    await listener.wait_closed()


async def test_a_refused_connection_surely_did_not_arrive(unused_tcp_port):
    backend = backend_at(f"http://127.0.0.1:{unused_tcp_port}", "auto")
    for call in (told(backend), backend.complete(PROMPT)):
        with pytest.raises(BackendUnreachable) as refused:
            await call
        assert not refused.value.arrived
    await backend.close()


@pytest.mark.parametrize("status", [204, 302, 400, 404, 429, 500, 503])
async def test_the_status_is_looked_at_before_the_content_type(backend, server, status):
    server.status, server.headers = status, {"content-type": "application/json", "location": "/elsewhere"}
    server.pieces = []
    with pytest.raises(BackendRefused) as refused:
        await told(backend)
    assert refused.value.status == status
    assert len(server.requests) == 1


async def test_json_instead_of_a_stream_is_malformed(backend, server):
    server.headers, server.pieces = {"content-type": "application/json"}, [b"{}"]
    with pytest.raises(BackendMalformed):
        await told(backend)


async def test_a_huge_event_ends_the_stream_before_memory_does(backend, server):
    server.pieces = [b"data: ", *[b"x" * 65536] * 3200]
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BackendMalformed):
        await told(backend)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 8 * 1024


async def test_who_wants_no_more_of_a_stream_closes_the_connection(backend, server):
    server.pieces = [HELLO[:60], asyncio.Event().wait]
    heard = []
    await backend.stream(PROMPT, heard.extend)
    assert heard == MEANS_HELLO[: len(heard)] != []
    async with asyncio.timeout(60):
        await server.closed.wait()


async def test_who_is_cancelled_closes_the_connection(backend, server):
    server.pieces = [HELLO[:60], asyncio.Event().wait]
    heard = asyncio.Event()
    stream = asyncio.create_task(backend.stream(PROMPT, lambda _: heard.set() or True))
    async with asyncio.timeout(60):
        await heard.wait()
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream
    async with asyncio.timeout(60):
        await server.closed.wait()


async def test_a_backends_name_that_cannot_be_on_the_wire_is_not_taken(backend, server):
    server.pieces = [HELLO.replace(b"m-1", b"m 1 <script>")]
    assert (await told(backend))[0] == Started(None)


async def test_cookies_of_one_call_never_reach_the_next(server):
    named = server.url.replace("127.0.0.1", "localhost")  # cookies are not kept for bare addresses
    backend = backend_at(named, "auto")
    server.headers = {**server.headers, "set-cookie": "session=secret; Path=/"}
    await told(backend)
    await told(backend)
    assert "Cookie" not in server.requests[1][1]
    await backend.close()


async def test_proxy_variables_are_not_looked_at(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    backend = backend_at(server.url, "auto")
    assert await told(backend) == MEANS_HELLO
    await backend.close()


async def test_more_streams_than_a_client_library_allows_by_itself_run_side_by_side(backend, server):
    release = asyncio.Event()
    server.pieces = [HELLO[:60], release.wait, HELLO[60:]]
    streams = [asyncio.create_task(told(backend)) for _ in range(120)]
    while len(server.requests) < 120:
        await asyncio.sleep(0.01)
    release.set()
    assert all(events == MEANS_HELLO for events in await asyncio.gather(*streams))


async def test_the_complete_call_gives_the_content_and_what_else_came(backend, server):
    server.headers = {"content-type": "application/json; charset=utf-8"}
    stored = {"messageId": "m-1", "content": "hé", "role": "assistant", "createdAt": "then", "mood": "good"}
    server.pieces = [json.dumps(stored).encode()]
    assert await backend.complete(PROMPT) == Completed("hé", "m-1", {"createdAt": "then", "mood": "good"})
    assert server.requests[0][0] == "/chat/messages"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"content": 1}', b'{"content": "\\ud800"}', b"[" * 100_000],
    ids=["empty", "list", "no content", "number", "half a pair", "deep"],
)
async def test_a_complete_answer_that_is_none_is_malformed(backend, server, body):
    server.headers, server.pieces = {"content-type": "application/json"}, [body]
    with pytest.raises(BackendMalformed):
        await backend.complete(PROMPT)


RESUMING = Profile(resumes=True)


def numbered(first, *values):
    pieces = [b"id: %d\n" % (first + n) + frames(value) for n, value in enumerate(values)]
    return b"".join(pieces)


def text(delta):
    return {"type": "text-delta", "id": "t", "delta": delta}


FINISH = {"type": "finish", "finishReason": "stop"}
FIRST_HALF = numbered(1, {"type": "start", "messageId": "m-1"}, text("Hel"))


@pytest.mark.parametrize(
    "again", [numbered(3, text("lo"), FINISH), numbered(2, text("Hel"), text("lo"), FINISH)]
)
@pytest.mark.parametrize("cut", [[FIRST_HALF, b"id: 3\ndata: {", None], [FIRST_HALF]], ids=["lost", "ended"])
async def test_a_stream_that_was_cut_goes_on_behind_its_last_frame(server, cut, again):
    backend = backend_at(server.url, profile=RESUMING)
    server.pieces, server.later = cut, [[again]]
    assert await told(backend) == MEANS_HELLO
    assert [headers.get("Last-Event-ID") for _, headers, _ in server.requests] == [None, "2"]
    assert server.requests[0][2] == server.requests[1][2]
    assert server.requests[0][1]["Idempotency-Key"] == server.requests[1][1]["Idempotency-Key"]
    await backend.close()


async def test_a_backend_that_resumes_says_where_it_is_and_goes_on_from_there(server):
    backend = backend_at(server.url, profile=RESUMING)
    server.pieces = [FIRST_HALF, numbered(3, text("lo"), FINISH)]
    places = [event.frame_id for event in await everything(backend) if isinstance(event, Position)]
    assert places == ["1", "2", "3"]
    server.later = [[numbered(3, text("lo"), FINISH)]]
    assert await told(backend, after="2") == [Delta("lo"), Finished("stop")]
    assert server.requests[1][1]["Last-Event-ID"] == "2"
    await backend.close()


async def test_a_stream_is_resumed_once(server):
    backend = backend_at(server.url, profile=RESUMING)
    server.pieces, server.later = [FIRST_HALF, None], [[numbered(3, text("lo")), None], [HELLO]]
    events = await told(backend)
    assert [event.text for event in events if isinstance(event, Delta)] == ["Hel", "lo"]
    assert isinstance(events[-1].error, BackendCut)
    assert len(server.requests) == 2
    await backend.close()


async def test_nothing_is_resumed_where_the_profile_does_not_say_so(server):
    backend = backend_at(server.url)
    server.pieces = [FIRST_HALF, None]
    assert isinstance((await told(backend))[-1].error, BackendCut)
    assert len(server.requests) == 1
    await backend.close()


async def test_what_cuts_the_idle_connections_a_moment_after_the_stream_does_not_cut_what_goes_on(server):
    backend = backend_at(server.url, profile=RESUMING)
    first, cut = asyncio.Event(), asyncio.Event()
    server.pieces = [first.wait, HELLO]
    server.later = [[FIRST_HALF, cut.wait, None], [numbered(3, text("lo"), FINISH)]]
    async with asyncio.timeout(10), asyncio.TaskGroup() as streams:
        idle = streams.create_task(told(backend))
        while not server.transports:
            await asyncio.sleep(0.01)
        resumed = streams.create_task(told(backend))
        while len(server.transports) < 2:
            await asyncio.sleep(0.01)
        first.set()
        await idle  # its connection may be used again
        server.transports[0].pause_reading()  # what is asked over it arrives nowhere
        asyncio.get_running_loop().call_later(AGAIN_AFTER_S[0] / 2, server.transports[0].abort)
        cut.set()
    assert resumed.result() == MEANS_HELLO
    await backend.close()


async def test_a_resume_that_is_refused_leaves_a_cut(server):
    backend = backend_at(server.url, profile=RESUMING)

    async def refuse_from_now_on():
        server.status = 204

    server.pieces = [FIRST_HALF, refuse_from_now_on, None]
    events = await told(backend)
    assert isinstance(events[-1].error, BackendCut)
    assert [headers.get("Last-Event-ID") for _, headers, _ in server.requests] == [None, "2"]
    await backend.close()


async def test_a_frame_that_comes_twice_with_its_id_counts_once(backend, server):
    server.pieces = [
        FIRST_HALF,
        numbered(2, text("Hel"), text("lo"), text("lo")),
        numbered(4, text("lo"), FINISH),
    ]
    deltas = [event.text for event in await told(backend) if isinstance(event, Delta)]
    assert deltas == ["Hel", "lo", "lo"]


async def test_frames_that_all_have_one_id_are_no_repeats(backend, server):
    said = [{"type": "start"}, text("ha"), text("ha"), text("ha"), FINISH]
    server.pieces = [b"id: answer-1\n" + frames(value) for value in said]
    deltas = [event.text for event in await told(backend) if isinstance(event, Delta)]
    assert deltas == ["ha", "ha", "ha"]


async def test_an_answer_that_is_whole_does_not_wait_for_the_connection_to_end(server):
    backend = backend_at(server.url, "chat_completions")
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}]}
    server.pieces = [frames(chunk), asyncio.Event().wait]
    async with asyncio.timeout(60):
        assert await told(backend) == [Started(None), Delta("Hello"), Finished("stop")]
    await backend.close()


async def test_it_is_told_which_dialect_a_stream_was_in_and_what_could_not_be_read(server):
    ended = []
    backend = backend_at(server.url, ended=lambda *facts: ended.append(facts))
    server.pieces = [frames({"type": "start"}), b"data: {oops\n\n", HELLO]
    await told(backend)
    assert ended == [("ui_message", 1)]
    await backend.close()


async def test_a_refusal_says_when_to_come_back_and_keeps_its_words_out_of_the_error(backend, server):
    server.status, server.headers = 429, {"content-type": "application/json", "retry-after": "2"}
    server.pieces = [b"secret"]
    with pytest.raises(BackendRefused) as refused:
        await told(backend)
    assert refused.value.retry_after_s == 2.0
    assert refused.value.said == "secret"
    assert "secret" not in str(refused.value)


async def test_a_backend_without_a_complete_call_is_gathered_from_its_stream(server):
    backend = backend_at(server.url, profile=Profile(complete=None))
    said = [{"type": "token", "content": "h\ud83d"}, {"type": "token", "content": "\ude00i"}]
    server.pieces = [
        frames(*said, {"type": "conversationCreated", "conversationId": "c-1"}, {"type": "complete"})
    ]
    assert await backend.complete(PROMPT) == Completed("h😀i", "ours", {"conversationId": "c-1"})
    server.pieces = [frames(*said)]
    with pytest.raises(BackendCut):
        await backend.complete(PROMPT)
    await backend.close()


PREPARED = Profile(
    extra_fields=False,
    preparation=Preparation(Call("/begin", body={"say": "{content}"}), {"answer": "/data/id"}, "/data/id"),
    stream=Call("/watch", method="GET", query={"input": {"id": "{answer}", "room": "{roomId}"}}),
)


async def test_a_call_may_come_first_and_name_the_answer(server):
    backend = backend_at(server.url, "stream_event", PREPARED)
    server.headers = {"content-type": "application/json"}

    async def stream_from_now_on():
        server.headers = {"content-type": "text/event-stream"}

    server.pieces = [b'{"data": {"id": "a-1"}}', stream_from_now_on]
    server.later = [[frames({"type": "delta", "content": "hi"}, {"type": "finalized", "status": "success"})]]
    assert await told(backend) == [Started("a-1"), Delta("hi"), Finished("stop")]
    first, second = server.requests
    assert (first[0], first[2]) == ("/begin", {"say": "hällo"})
    assert second[0] == "/watch?input=%7B%22id%22:%22a-1%22,%22room%22:42%7D"
    await backend.close()


async def test_a_first_call_that_gives_not_what_is_needed_is_malformed(server):
    backend = backend_at(server.url, "stream_event", PREPARED)
    server.headers, server.pieces = {"content-type": "application/json"}, [b'{"data": {}}']
    with pytest.raises(BackendMalformed):
        await told(backend)
    assert len(server.requests) == 1
    await backend.close()
