"""A provider in front of a server on loopback that sends exactly what a test names, and counts its calls."""

import asyncio
import contextlib
import functools
import json
import logging
import socket
import ssl
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from backend_stub.errors import SettingError, StartError, StubError
from backend_stub.provider import Patience, Provider, ProviderError, select

KEY = "sk-Secret123"
PROMPT = "what is a wombat"
CUT, HANG = object(), object()
DONE = b"data: [DONE]\n\n"
one_context = functools.cache(ssl.create_default_context)


def chunk(content=None, finish_reason=None, **more):
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return frame({"object": "chat.completion.chunk", "choices": [choice]} | more)


def frame(value):
    return b"data: " + json.dumps(value).encode() + b"\n\n"


STOP = chunk(finish_reason="stop")
HELLO = (chunk(""), chunk("Hel"), chunk("lo 🙂"), STOP, DONE)
ERROR = frame({"error": {"message": f"{KEY} may not ask {PROMPT}", "type": "server_error"}})


@dataclass(frozen=True)
class Reply:
    """What one call gets; among ``pieces`` a number waits for seconds, a barrier for calls."""

    pieces: tuple = HELLO
    status: int = 200
    headers: dict = field(default_factory=dict)


class Server:
    """Gives one call after the other its reply, the last one again and again."""

    def __init__(self):
        self.calls = []
        self.replies = [Reply()]
        self.models = {}  # path: (status, body)
        self.open = 0

    async def chat(self, request):
        self.calls.append((request, await request.json()))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        response = web.StreamResponse(
            status=reply.status, headers={"content-type": "text/event-stream"} | reply.headers
        )
        await response.prepare(request)
        self.open += 1
        try:
            for piece in reply.pieces:
                await self.send(request, response, piece)
        finally:
            self.open -= 1
        return response

    async def send(self, request, response, piece):
        if piece is CUT:
            request.transport.abort()
        elif piece is HANG:
            await asyncio.Event().wait()
        elif isinstance(piece, asyncio.Barrier):
            await piece.wait()
        elif isinstance(piece, bytes):
            await response.write(piece)
        else:
            await asyncio.sleep(piece)

    async def model(self, request):
        self.calls.append((request, None))
        status, body = self.models.get(request.raw_path.removeprefix("/v1/"), (404, "none"))
        if body is HANG:
            await asyncio.Event().wait()
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers={"location": "/v1/elsewhere"})


@pytest.fixture(autouse=True)
def _authorities_are_read_once(monkeypatch):
    monkeypatch.setattr(ssl, "create_default_context", one_context)


@pytest.fixture
async def server():
    server = Server()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_get("/{path:.*}", server.model)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield server
    await runner.cleanup()


@pytest.fixture
def pauses():
    return []


@pytest.fixture
async def provider_at(pauses):
    """Makes providers whose pauses are kept and take no time; each is closed at the end."""

    async def pause(seconds):
        pauses.append(seconds)

    async with contextlib.AsyncExitStack() as stack:

        def make(url, *, key=KEY, model="m", pause=pause, chance=lambda: 0.0, **patience):
            provider = Provider(url, key, model, patience=Patience(**patience), pause=pause, chance=chance)
            stack.push_async_callback(provider.close)
            return provider

        yield make


@pytest.fixture
def make(provider_at, server):
    return lambda **given: provider_at(server.url, **given)


@pytest.fixture
def nowhere():
    """Gives the URL of a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


async def text_of(provider):
    return "".join([token async for token in provider.pieces(PROMPT)])


async def told(provider):
    """Return the tokens that came before the provider failed, and the failure."""
    tokens = []
    try:
        async for token in provider.pieces(PROMPT):
            tokens.append(token)  # noqa: PERF401 - they are wanted after the failure
    except ProviderError as failure:
        return tokens, str(failure)
    pytest.fail("the answer came to its end")


def is_connected(provider):
    return bool(provider._client._transport._pool.connections)


async def until(fact):
    async with asyncio.timeout(60):
        while not fact():
            await asyncio.sleep(0.005)


# which provider


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": " ", "OPENAI_MODEL": "", "PATH": "/bin"}])
def test_without_a_choice_the_model_is_the_built_in_one(environ):
    assert select(environ) is None


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"OPENAI_API_KEY": KEY}, "gpt-4o-mini at api.openai.com"),
        ({"OPENAI_API_KEY": f"{KEY}\n", "OPENAI_MODEL": "o9"}, "o9 at api.openai.com"),
        (
            {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://10.0.0.7:8000/v1/"},
            "gpt-4o-mini at 10.0.0.7:8000",
        ),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1", "OPENAI_MODEL": "q:1"}, "q:1 at 127.0.0.1:11434"),
        ({"OPENAI_BASE_URL": "http://localhost:11434/v1"}, "gpt-4o-mini at localhost:11434"),
        ({"OPENAI_BASE_URL": "http://a.localhost/v1"}, "gpt-4o-mini at a.localhost"),
        ({"OPENAI_BASE_URL": "http://[::1]:80/v1"}, "gpt-4o-mini at [::1]"),
    ],
)
async def test_a_key_or_a_server_on_this_computer_chooses_a_provider(environ, name):
    provider = select(environ)
    assert provider.name == name
    assert repr(provider) == f"<Provider {name}>"
    await provider.close()


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENAI_MODEL": "o9"},
        {"OPENAI_BASE_URL": "https://api.example.com/v1"},
        {"OPENAI_BASE_URL": "http://127.0.0.1.example.com/v1", "OPENAI_MODEL": "o9"},
        {"OPENAI_BASE_URL": "http://notlocalhost/v1"},
        {"OPENAI_BASE_URL": "http://10.0.0.7:8000/v1"},
    ],
)
def test_half_a_choice_is_refused(environ):
    with pytest.raises(SettingError, match="OPENAI_API_KEY is not set"):
        select(environ)


@pytest.mark.parametrize("key", [KEY, ""])
@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com/v1",
        "ftp://localhost/v1",
        "http://",
        "http:///v1",
        "http://user:s3cret@localhost/v1",
        "http://s3cret@localhost/v1",
        "http://localhost/v1?key=s3cret",
        "http://localhost/v1#s3cret",
        "http://localhost:s3cret",
        "http://localhost:0",
        "http://localhost:99999",
        "http://localhost:-1",
        "http://local\nhost",
        "http://[::1",
        "http://a..b/v1",
        "http://xn--/",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_not_shown(url, key):
    with pytest.raises(SettingError, match="unable to use OPENAI_BASE_URL") as refusal:
        select({"OPENAI_API_KEY": key, "OPENAI_BASE_URL": url})
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize("key", ["sk-Sec\nret", "sk Secret", "sk-Sécret", "sk-\x00Secret"])
def test_a_key_that_no_header_carries_is_refused_and_not_shown(key):
    with pytest.raises(SettingError, match="unable to use OPENAI_API_KEY") as refusal:
        select({"OPENAI_API_KEY": key})
    assert key not in str(refusal.value)


@pytest.mark.parametrize("model", ["a\nb", "a\ud83d", ""])
def test_a_model_without_a_printable_name_is_refused(model):
    with pytest.raises(SettingError, match="unable to use OPENAI_MODEL"):
        Provider("http://localhost", KEY, model)


@pytest.mark.parametrize(
    "figures",
    [
        {"check_s": 0},
        {"first_token_s": float("inf")},
        {"next_token_s": float("nan")},
        {"backoff_s": -1},
        {"retry_after_s": 3601},
        {"tries": 0},
    ],
)
def test_a_wait_without_an_end_is_refused(figures):
    with pytest.raises(ValueError, match="must be"):
        Patience(**figures)


# whether it is there


async def test_a_model_with_a_page_is_there(server, make):
    server.models["models/org%2Fm%3A1"] = 200, {"id": "org/m:1"}
    await make(model="org/m:1").check()
    assert [request.headers["authorization"] for request, _ in server.calls] == [f"Bearer {KEY}"]


@pytest.mark.parametrize("no_page", [404, 405])
@pytest.mark.parametrize("listed", [{"data": [{"id": "x"}, {}, 7, {"id": "m"}]}, [{"id": "m"}]])
async def test_a_model_in_the_list_is_there(server, make, no_page, listed):
    server.models = {"models/m": (no_page, ""), "models": (200, listed)}
    await make().check()
    assert len(server.calls) == 2


@pytest.mark.parametrize("no_list", [404, 405])
async def test_an_api_without_pages_and_list_is_taken_on_trust(server, make, no_list):
    server.models["models"] = no_list, ""
    await make().check()
    assert len(server.calls) == 2


async def test_a_model_that_is_not_listed_is_told_with_five_near_names(server, make):
    near = [f"gpt-4o-min{n}" for n in range(9)]
    server.models["models"] = 200, {"data": [{"id": name} for name in ("whisper", *near, "gpt-4o-mini\n")]}
    with pytest.raises(
        StartError, match=r"unable to use the model gpt-4o-mini at .*none of this name"
    ) as failure:
        await make(model="gpt-4o-mini").check()
    assert sum(name in str(failure.value) for name in near) == 5
    assert "whisper" not in str(failure.value)
    assert "\n" not in str(failure.value)


async def test_a_model_with_nothing_near_is_told_without_a_hint(server, make):
    server.models["models"] = 200, {"data": []}
    with pytest.raises(StartError, match=r"none of this name$"):
        await make().check()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("key", "reason"), [(KEY, "the key is refused"), ("", "the provider wants a key")])
@pytest.mark.parametrize("path", ["models/m", "models"])
async def test_a_refused_key_is_told(server, make, status, key, reason, path):
    server.models[path] = status, {"error": {"message": f"{KEY} is wrong"}}
    with pytest.raises(StartError, match=f"unable to use the model m at .*; {reason}$"):
        await make(key=key).check()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, "", "status 500"),
        (503, {}, "status 503"),
        (429, {}, "status 429"),
        (302, "", "status 302"),
        (200, "<html>", "not reply in JSON"),
        (200, "7", "not reply in JSON"),
        (200, "[" * 100_000, "not reply in JSON"),
    ],
)
@pytest.mark.parametrize("path", ["models/m", "models"])
async def test_a_check_without_a_clear_yes_fails(server, make, path, status, body, reason):
    server.models[path] = status, body
    with pytest.raises(StartError, match=reason):
        await make().check()
    assert len(server.calls) == (1 if path == "models/m" else 2)


@pytest.mark.parametrize("listed", [{"data": "m"}, {"models": []}, {"data": None}])
async def test_a_list_of_another_form_fails_the_check(server, make, listed):
    server.models["models"] = 200, listed
    with pytest.raises(StartError, match="list of models is not to be read"):
        await make().check()


async def test_a_check_has_a_deadline(server, make):
    server.models["models/m"] = 200, HANG
    with pytest.raises(StartError, match=r"no reply within 0\.05 s"):
        await make(check_s=0.05).check()


async def test_a_provider_that_is_not_to_be_reached_fails_the_check(provider_at, nowhere):
    with pytest.raises(StartError, match=r"not to be reached \(ConnectError\)"):
        await provider_at(nowhere).check()


# an answer


async def test_an_answer_comes_token_by_token(server, make):
    assert [token async for token in make(model="o9").pieces(PROMPT)] == ["Hel", "lo 🙂"]
    [(request, body)] = server.calls
    assert body == {"model": "o9", "stream": True, "messages": [{"role": "user", "content": PROMPT}]}
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["accept"] == "text/event-stream"
    assert request.headers["content-type"] == "application/json"


async def test_a_token_is_there_before_the_next_one_is_made(server, make):
    server.replies = [Reply((chunk("Hel"), HANG))]
    pieces = make().pieces(PROMPT)
    assert await anext(pieces) == "Hel"
    assert server.open == 1
    await pieces.aclose()


async def test_without_a_key_none_is_sent(server, make):
    assert await text_of(make(key="")) == "Hello 🙂"
    assert "authorization" not in server.calls[0][0].headers


async def test_a_prompt_that_is_no_unicode_is_still_sent(server, make):
    assert [token async for token in make().pieces("a\ud83d")] == ["Hel", "lo 🙂"]
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "noise",
    [
        frame({"choices": []}),
        frame({"choices": [], "usage": {"total_tokens": 7}}),
        frame({"choices": None}),
        frame({"choices": [None]}),
        frame({"choices": [{}]}),
        frame({"choices": [{"delta": None}]}),
        frame({"choices": [{"delta": {"content": None}}]}),
        frame({"choices": [{"delta": {"role": "assistant", "content": ""}}]}),
        frame({"choices": [{"delta": {"reasoning": "hm", "tool_calls": []}}]}),
        frame({"error": None, "choices": []}),
        b": ping\n\n",
        b"id: 7\n\n: ping\n\n\n\n",
        b"event: ping\n\n",
    ],
)
async def test_what_says_nothing_is_passed_over(server, make, noise):
    server.replies = [Reply((noise, chunk("Hel"), noise, chunk("lo"), noise, STOP, noise, DONE))]
    assert [token async for token in make().pieces(PROMPT)] == ["Hel", "lo"]
    assert len(server.calls) == 1


async def test_the_cuts_between_the_bytes_do_not_matter(server, make):
    raw = b"".join(HELLO).replace(b"\n", b"\r\n")
    server.replies = [Reply(tuple(part for byte in raw for part in (bytes([byte]), 0)))]
    assert [token async for token in make().pieces(PROMPT)] == ["Hel", "lo 🙂"]


async def test_an_answer_is_utf_8_whatever_its_type_says(server, make):
    content = 'data: {"choices": [{"delta": {"content": "é"}}]}\n\n'.encode()
    server.replies = [Reply((content, DONE), headers={"content-type": "text/event-stream; charset=latin-1"})]
    assert await text_of(make()) == "é"


async def test_half_a_sign_is_replaced_so_that_the_answer_can_be_stored(server, make):
    server.replies = [Reply((b'data: {"choices": [{"delta": {"content": "a\\ud83d"}}]}\n\n', DONE))]
    assert await text_of(make()) == "a\ufffd"


@pytest.mark.parametrize(
    "end",
    [
        (DONE,),
        (DONE, HANG),
        (STOP,),
        (STOP, CUT),
        (STOP, HANG),
        (chunk("", "length"),),
        (STOP, b"data: unfini"),
    ],
)
async def test_an_answer_ends_well_on_done_or_behind_a_finish_reason(server, make, end):
    server.replies = [Reply((chunk("Hel"), chunk("lo"), *end))]
    provider = make(next_token_s=1.0)
    assert await text_of(provider) == "Hello"
    assert len(server.calls) == 1
    await until(lambda: server.open == 0)


async def test_text_beside_a_finish_reason_counts(server, make):
    server.replies = [Reply((chunk("Hel"), chunk("lo", "stop")))]
    assert await text_of(make()) == "Hello"


@pytest.mark.parametrize("end", [(DONE,), (STOP, DONE), (STOP,)])
async def test_an_answer_may_be_empty(server, make, end):
    server.replies = [Reply(end)]
    assert await text_of(make()) == ""
    assert len(server.calls) == 1


async def test_more_than_a_hundred_answers_come_at_once(server, make):
    server.replies = [Reply((asyncio.Barrier(120), *HELLO))]
    provider = make()
    assert set(await asyncio.gather(*(text_of(provider) for _ in range(120)))) == {"Hello 🙂"}


async def test_the_proxies_of_the_environment_are_not_asked(make, server, monkeypatch, nowhere):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, nowhere)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert await text_of(make()) == "Hello 🙂"
    assert len(server.calls) == 1


# another try


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_a_status_that_may_pass_is_tried_again(server, make, status):
    server.replies = [Reply(status=status), Reply(status=status), Reply()]
    assert await text_of(make()) == "Hello 🙂"
    assert len(server.calls) == 3


@pytest.mark.parametrize(
    "pieces",
    [
        (ERROR, DONE),
        (chunk(""), ERROR),
        (),
        (chunk(""),),
        (chunk(""), CUT),
        (b"data: {",),
        (b": ping\n\n", CUT),
    ],
)
async def test_an_error_or_a_loss_before_the_first_token_is_tried_again(server, make, pieces):
    server.replies = [Reply(pieces), Reply()]
    assert await text_of(make()) == "Hello 🙂"
    assert len(server.calls) == 2


@pytest.mark.parametrize("reply", [Reply(status=503), Reply((ERROR,)), Reply((CUT,)), Reply(())])
async def test_three_tries_are_made_and_no_more(server, make, reply):
    server.replies = [reply]
    assert (await told(make()))[0] == []
    assert len(server.calls) == 3


async def test_a_lost_connection_is_tried_again(provider_at, nowhere, pauses):
    tokens, reason = await told(provider_at(nowhere))
    assert (tokens, reason) == ([], "unable to ask the provider; ConnectError")
    assert len(pauses) == 2


@pytest.mark.parametrize("status", [201, 204, 301, 307, 400, 401, 403, 404, 422])
async def test_a_status_that_stays_is_not_tried_again(server, make, status):
    server.replies = [Reply((), status, {"location": "/v1/chat/completions", "retry-after": "1"})]
    tokens, reason = await told(make())
    assert (tokens, reason) == ([], f"unable to answer; the provider replies with status {status}")
    assert len(server.calls) == 1


@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
async def test_another_content_type_is_told(server, make, content_type):
    server.replies = [Reply(headers={"content-type": content_type})]
    assert (await told(make()))[1] == "unable to answer; the provider does not reply with an event stream"
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ((ERROR, DONE), "reports an error"),
        ((STOP, ERROR), "reports an error"),
        ((frame({"object": "error", "message": PROMPT}), DONE), "reports an error"),
        ((frame({"error": "full"}),), "reports an error"),
        ((), "broke off"),
        ((CUT,), "unable to read the answer; RemoteProtocolError"),
        ((b"data: {\n\n", DONE), "no JSON object"),
        ((b"data: 7\n\n", DONE), "no JSON object"),
        ((b"data: " + b"[" * 100_000 + b"\n\n", DONE), "no JSON object"),
        ((HANG,), "no token came within"),
        ((b": ping\n\n", 0.05) * 20, "no token came within"),
        ((chunk(""), 0.05) * 20, "no token came within"),
    ],
)
async def test_nothing_is_tried_again_behind_the_first_token(server, make, pauses, end, reason):
    server.replies = [Reply((chunk("Hel"), *end)), Reply()]
    tokens, said = await told(make(next_token_s=0.8))
    assert tokens == ["Hel"]
    assert reason in said
    assert (len(server.calls), pauses) == (1, [])
    await until(lambda: server.open == 0)


async def test_the_pauses_double_and_chance_shortens_them(server, make, pauses):
    server.replies = [Reply(status=503)]
    await told(make(backoff_s=2.0))
    await told(make(backoff_s=2.0, chance=lambda: 1.0))
    assert pauses == [2.0, 4.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [("7", 7.0), ("10", 10.0), ("0", 0.5), ("1e1", 0.5), ("-7", 0.5), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.5)],
)
async def test_a_retry_after_in_seconds_is_honoured(server, make, pauses, retry_after, pause):
    server.replies = [Reply(status=429, headers={"retry-after": retry_after}), Reply()]
    assert await text_of(make()) == "Hello 🙂"
    assert pauses == [pause]


async def test_a_retry_after_beyond_the_bound_ends_the_tries(server, make, pauses):
    server.replies = [Reply(status=429, headers={"retry-after": "11"}), Reply()]
    assert (await told(make()))[1] == "unable to answer; the provider replies with status 429"
    assert (len(server.calls), pauses) == (1, [])


# deadlines


@pytest.mark.parametrize("pieces", [(HANG,), (b": ping\n\n", 0.02) * 100, (chunk(""), 0.02) * 100])
async def test_the_first_token_has_a_deadline(server, make, pieces):
    server.replies = [Reply(pieces)]
    provider = make(first_token_s=1.0)
    tokens, reason = await told(provider)
    assert not is_connected(provider)
    assert (tokens, reason) == ([], "unable to read the answer; no token came within 1 s")
    assert len(server.calls) == 1
    await until(lambda: server.open == 0)


async def test_the_first_deadline_covers_all_tries_and_their_pauses(server, make):
    server.replies = [Reply(status=503)]
    async with asyncio.timeout(60):
        _, reason = await told(make(first_token_s=1.0, backoff_s=60, pause=asyncio.sleep))
    assert "no token came within" in reason
    assert len(server.calls) == 1


async def test_the_time_of_whoever_reads_does_not_count(server, make):
    server.replies = [Reply((chunk("Hel"), 0.3, *HELLO[2:]))]
    tokens = []
    async for token in make(next_token_s=0.2).pieces(PROMPT):
        tokens.append(token)
        await asyncio.sleep(0.4)
    assert tokens == ["Hel", "lo 🙂"]


async def test_a_slow_answer_may_take_longer_than_one_deadline(server, make):
    server.replies = [Reply((chunk("a"), 0.5) * 8 + (STOP, DONE))]
    assert await text_of(make(first_token_s=3.0, next_token_s=3.0)) == "aaaaaaaa"


# the end of a connection


async def test_closing_the_iterator_closes_the_connection(server, make):
    server.replies = [Reply((chunk("Hel"), HANG))]
    provider = make()
    pieces = provider.pieces(PROMPT)
    await anext(pieces)
    assert is_connected(provider)
    await pieces.aclose()
    assert not is_connected(provider)
    await until(lambda: server.open == 0)


@pytest.mark.parametrize(
    "reply",
    [Reply((HANG,), 503), Reply((HANG,), 400), Reply((ERROR, HANG)), Reply((chunk("Hel"), ERROR, HANG))],
)
async def test_a_failure_closes_the_connection(server, make, reply):
    server.replies = [reply]
    provider = make()
    await told(provider)
    assert not is_connected(provider)
    await until(lambda: server.open == 0)


@pytest.mark.parametrize("pieces", [(HANG,), (chunk("Hel"), HANG)])
async def test_cancelling_a_reader_closes_the_connection(server, make, pieces):
    server.replies = [Reply(pieces)]
    provider = make()
    reader = asyncio.create_task(text_of(provider))
    await until(lambda: server.open == 1)
    await asyncio.sleep(0.05)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert not is_connected(provider)
    await until(lambda: server.open == 0)
    assert len(server.calls) == 1


async def test_the_deadline_of_whoever_reads_stays_theirs(server, make):
    server.replies = [Reply((HANG,))]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await text_of(make())
    await until(lambda: server.open == 0)


async def test_a_provider_may_be_closed_twice(make):
    provider = make()
    await provider.close()
    await provider.close()


# what must not be told


@pytest.mark.parametrize(
    "reply",
    [
        Reply(),
        Reply((f'{{"error": "{KEY} {PROMPT}"}}'.encode(),), 400),
        Reply((), 503, {"x-echo": "nothing"}),
        Reply((chunk("the wombat digs"), ERROR)),
        Reply((chunk("the wombat digs"), b"data: the wombat digs\n\n")),
        Reply((chunk("the wombat digs"), CUT)),
        Reply((chunk("the wombat digs"), HANG)),
        Reply(headers={"content-type": "application/json"}),
    ],
)
async def test_key_prompt_and_answer_are_in_no_error_and_no_log(server, make, caplog, reply):
    caplog.set_level(logging.DEBUG)
    server.replies = [reply]
    server.models["models/m"] = 401, {"error": {"message": f"{KEY} {PROMPT}"}}
    provider = make(next_token_s=0.1)
    said = [repr(provider), str(provider), provider.name]
    for work in (text_of(provider), provider.check()):
        try:
            await work
        except StubError as error:
            said += [str(error), repr(error), str(error.__cause__)]
    said += [record.getMessage() for record in caplog.records if record.name != "aiohttp.access"]
    assert "is refused" in "".join(said)
    assert not [word for word in (KEY, "wombat", "Hel") if word in "".join(said)]
