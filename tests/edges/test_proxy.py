"""The bridge in the backend's place, flag off: what comes through it is what comes directly."""

import asyncio
import contextlib
import gzip

import pytest
from loopback import running

BODY = b'{"roomId": 1, "content": "hi"}'
ALWAYS = {b"date", b"server", b"connection", b"transfer-encoding"}


class RawBackend:
    """Keeps the bytes of each request and answers with bytes the test chose; no library touches either."""

    def __init__(self):
        self.heard = b""
        self.pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
        self.more = asyncio.Event()
        self.stay = False
        self.closed = asyncio.Event()
        self.came = asyncio.Event()

    async def serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heard = head + await _body(reader, head)
            self.came.set()
            for number, piece in enumerate(self.pieces):
                if number:
                    await self.more.wait()
                writer.write(piece)
                await writer.drain()
            if self.stay:
                await reader.read()
                self.closed.set()
        writer.close()


async def _body(reader, head):
    headers = _headers(head)
    if b"content-length" in headers:
        return await reader.readexactly(int(headers[b"content-length"]))
    if headers.get(b"transfer-encoding") == b"chunked":
        return await reader.readuntil(b"0\r\n\r\n")
    return b""


def _headers(head):
    lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}


@pytest.fixture
async def backend():
    backend = RawBackend()
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    backend.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield backend
    server.close()


@pytest.fixture
async def bridge(backend):
    async with running(backend, chat_streaming_enabled=False) as app:
        yield app


async def exchange(url, request):
    """Send bytes and return status line, headers and the bytes behind them, until the other side closes."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    return status, [line for line in lines if line.partition(b":")[0].lower() not in ALWAYS], body


def post(path=b"/chat/messages", body=BODY, more=b""):
    head = b"POST %s HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n"
    return head % (path, more, len(body)) + body


def get(path, more=b"", method=b"GET"):
    return b"%s %s HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n%s\r\n" % (method, path, more)


ANSWERS = {
    "plain": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "own reason": b"HTTP/1.1 409 Not Like That\r\nX-Odd-Case: a\r\nContent-Length: 3\r\n\r\nno!",
    "no reason": b"HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n",
    "no content type": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain",
    "two cookies": b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 0\r\n\r\n",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
    "nothing": b"HTTP/1.1 204 No Content\r\nETag: x\r\n\r\n",
    "unchanged": b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n',
    "compressed": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"
    % (len(gzip.compress(b"hello", mtime=0)), gzip.compress(b"hello", mtime=0)),
    "until close": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nto the end",
    "too many": b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nwait",
    "long header": b"HTTP/1.1 200 OK\r\nX-Long: %s\r\nContent-Length: 0\r\n\r\n" % (b"x" * 20_000),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_comes_back_byte_for_byte(backend, bridge, name):
    backend.pieces = [ANSWERS[name]]
    for request in (post(), get(b"/any/path")):
        direct = await exchange(backend.url, request)
        through = await exchange(bridge.address, request)
        assert through[:2] == direct[:2]
        assert _unchunked(through[2]) == direct[2]


def _unchunked(body):
    """Return what was sent in chunks where an answer without a length had to be."""
    if not body.endswith(b"\r\n0\r\n\r\n"):
        return body
    size, _, rest = body.partition(b"\r\n")
    return rest[: int(size, 16)]


async def test_nothing_is_added_to_an_answer_that_says_little(backend, bridge):
    backend.pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain"]
    host, _, port = bridge.address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(get(b"/x"))
    answer = await reader.read()
    writer.close()
    assert set(_headers(answer)) == {b"content-length", b"connection"}


async def test_a_head_request_keeps_the_length_of_what_it_did_not_get(backend, bridge):
    backend.pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"]
    _, headers, body = await exchange(bridge.address, get(b"/x", method=b"HEAD"))
    assert (headers, body) == ([b"Content-Length: 1234"], b"")


@pytest.mark.parametrize(
    "path", [b"/a%2Fb/%C3%A4?q=a+b&q=%20#", b"//double", b"/x/../y", b"/chat/rooms/1/messages"]
)
async def test_a_path_goes_on_as_it_was_written(backend, bridge, path):
    path = path.rstrip(b"#")
    await exchange(bridge.address, get(path))
    assert backend.heard.startswith(b"GET %s HTTP/1.1\r\n" % path)


async def test_a_request_goes_on_with_its_own_headers_and_without_those_of_the_connection(backend, bridge):
    more = (
        b"Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nAuthorization: Bearer t\r\n"
        b"Cookie: a=1; b=2\r\nX-Forwarded-For: 10.0.0.1\r\nX-Tenant: t\r\n"
    )
    await exchange(bridge.address, post(more=more))
    headers = _headers(backend.heard)
    assert backend.heard.endswith(BODY)
    assert not {b"x-hop", b"keep-alive", b"te", b"accept", b"user-agent", b"accept-encoding"} & set(headers)
    assert headers[b"authorization"] == b"Bearer t"
    assert headers[b"cookie"] == b"a=1; b=2"
    assert headers[b"x-tenant"] == b"t"
    assert headers[b"host"] == backend.url.removeprefix("http://").encode()
    assert headers[b"x-forwarded-for"] == b"10.0.0.1, 127.0.0.1"
    assert headers[b"x-forwarded-host"] == b"chat"
    assert headers[b"via"].startswith(b"1.1 bridge-")


async def test_a_compressed_body_is_passed_on_compressed(backend, bridge):
    body = gzip.compress(BODY)
    await exchange(bridge.address, post(body=body, more=b"Content-Encoding: gzip\r\n"))
    assert backend.heard.endswith(b"\r\n\r\n" + body)
    assert _headers(backend.heard)[b"content-encoding"] == b"gzip"


@pytest.mark.parametrize("path", [b"/upload", b"/chat/messages"])
async def test_a_large_body_is_passed_on_whole(backend, bridge, path):
    body = b"x" * 3_000_000
    await exchange(bridge.address, post(path, body))
    assert backend.heard.endswith(b"\r\n\r\n" + body)


async def test_an_answer_is_passed_on_piece_by_piece(backend, bridge):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    backend.pieces = [head + b"5\r\nfirst\r\n", b"6\r\nsecond\r\n0\r\n\r\n"]
    host, _, port = bridge.address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(get(b"/stream"))
    async with asyncio.timeout(60):
        await reader.readuntil(b"first")
        backend.more.set()
        await reader.readuntil(b"second")
    writer.close()


async def test_an_answer_that_was_cut_is_cut(backend, bridge):
    backend.pieces = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"]
    *_, body = await exchange(bridge.address, get(b"/stream"))
    assert b"first" in body
    assert not body.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("answered", [False, True])
async def test_a_caller_that_goes_away_ends_the_backends_call(backend, bridge, answered):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    backend.pieces, backend.stay = [head] if answered else [], True
    host, _, port = bridge.address.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(post())
    async with asyncio.timeout(60):
        await backend.came.wait()
        writer.close()
        await backend.closed.wait()


async def test_a_backend_that_is_not_there_is_a_bad_gateway(backend):
    backend.url = "http://127.0.0.1:9"
    async with running(backend, chat_streaming_enabled=False) as bridge:
        status, _, body = await exchange(bridge.address, post())
    assert status == b"HTTP/1.1 502 Bad Gateway"
    assert b'"code": "backend_unavailable"' in body


async def test_a_backend_that_says_nothing_is_a_timeout(backend):
    backend.pieces, backend.stay = [], True
    async with running(backend, chat_streaming_enabled=False, proxy_silence_s=0.2) as bridge:
        status, _, _ = await exchange(bridge.address, post())
    assert status == b"HTTP/1.1 504 Gateway Timeout"


async def test_a_websocket_is_not_proxied_and_another_upgrade_is_no_upgrade(backend, bridge):
    upgrade = b"GET /live HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n"
    host, _, port = bridge.address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(upgrade % b"websocket")
    assert (await reader.readline()).startswith(b"HTTP/1.1 501")
    writer.close()
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(upgrade % b"h2c")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert b"upgrade" not in _headers(backend.heard)
    writer.close()


async def test_a_whole_address_as_target_goes_to_the_backend_all_the_same(backend, bridge):
    await exchange(bridge.address, get(b"http://elsewhere/a%20b?c=%2F"))
    assert backend.heard.startswith(b"GET /a%20b?c=%2F HTTP/1.1\r\n")


@pytest.mark.parametrize("target", [b"*", b"/\xff\xfe", b"chat:80"])
async def test_a_target_that_is_no_path_goes_nowhere(backend, bridge, target):
    status, *_ = await exchange(bridge.address, get(target, method=b"OPTIONS"))
    assert status.split()[1] in (b"400", b"404")
    assert not backend.heard


async def test_a_bridge_that_is_its_own_backend_notices(unused_tcp_port):
    class Itself:
        url = f"http://127.0.0.1:{unused_tcp_port}"

    async with running(Itself, chat_streaming_enabled=False, port=unused_tcp_port) as bridge:
        status, _, body = await exchange(bridge.address, post())
    assert status.startswith(b"HTTP/1.1 508")
    assert b"BACKEND_URL leads back" in body


@pytest.mark.parametrize(
    "path", [b"/healthz", b"/admin/flag", b"/admin/other", b"/metrics", b"/socket.io/other"]
)
async def test_the_bridges_own_paths_are_never_proxied(backend, bridge, path):
    for method in (b"GET", b"DELETE"):
        await exchange(bridge.address, get(path, method=method))
    assert not backend.heard
