"""A connection handed from one process to another: what goes over, and what becomes of it when that fails."""

import asyncio
import contextlib
import socket
import struct

import aiohttp
import pytest
from aiohttp import web

from bridge.http_server import listen
from bridge.siblings import Siblings


@contextlib.asynccontextmanager
async def process(folder, number, faults, *, adopts=True):
    """Serve where a request says by its query whose it is; the answer says who gave it."""
    siblings = Siblings(folder / str(number), faults.append)

    async def answer(request):
        body = await request.read()
        owner = siblings.owner_of(request.query.get("sid", ""))
        if owner and await siblings.hand_over(request, body, owner):
            return web.Response()
        said = {"by": number, "body": len(body), "path": request.raw_path, "header": request.headers.get("X")}
        return web.json_response(said)

    app = web.Application(client_max_size=2**22)
    app.router.add_route("*", "/{path:.*}", answer)
    site = await listen(app, "127.0.0.1", 0, header_s=5)

    async def fail(connection, _):
        connection.close()
        raise LookupError

    running = asyncio.create_task(siblings.run(site.adopt if adopts else fail))
    async with asyncio.timeout(60):
        while not (folder / str(number)).exists():
            await asyncio.sleep(0.01)
    try:
        yield site
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await site.close()


async def asked(http, site, path, body=None):
    async with http.post(site.address + path, data=body, headers={"X": "y"}) as response:
        return await response.json()


@pytest.mark.parametrize("size_bytes", [0, 1, 100_000, 1_000_000])
async def test_a_request_is_answered_by_its_owner_as_it_came(tmp_path, size_bytes):
    async with process(tmp_path, 0, []) as here, process(tmp_path, 1, []), aiohttp.ClientSession() as http:
        said = await asked(http, here, "/a%20b?sid=1.x&c=%26", b"x" * size_bytes)
    assert said == {"by": 1, "body": size_bytes, "path": "/a%20b?sid=1.x&c=%26", "header": "y"}


async def test_a_body_without_a_length_goes_over_whole(tmp_path):
    async def pieces():
        for _ in range(3):
            yield b"x" * 1000

    async with process(tmp_path, 0, []) as here, process(tmp_path, 1, []), aiohttp.ClientSession() as http:
        assert (await asked(http, here, "/?sid=1.x", pieces()))["body"] == 3000


async def test_one_connection_goes_to_and_fro_as_its_requests_do(tmp_path):
    connector = aiohttp.TCPConnector(limit=1)
    async with (
        process(tmp_path, 0, []) as here,
        process(tmp_path, 1, []),
        aiohttp.ClientSession(connector=connector) as http,
    ):
        said = [await asked(http, here, f"/?sid={number}.x", b"b") for number in (1, 1, 0, 1, 0, 0)]
        assert [each["by"] for each in said] == [1, 1, 0, 1, 0, 0]
        assert len(here._runner.server.connections) == 1


async def test_what_nobody_else_can_have_is_answered_here(tmp_path):
    async with process(tmp_path, 0, []) as here, aiohttp.ClientSession() as http:
        for sid in ("0.x", "1.x", "77777777777777777777777777.x", "../0.x", "\u0661.x", "x", ""):
            assert (await asked(http, here, f"/?sid={sid}", b"body"))["by"] == 0
        assert (await asked(http, here, "/?sid=1.x", b"body"))["body"] == 4


async def test_a_sender_that_gives_up_leaves_nothing_behind(tmp_path):
    faults = []
    async with process(tmp_path, 1, faults) as there, aiohttp.ClientSession() as http:
        ours, theirs = socket.socketpair()
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(tmp_path / "1"))
            socket.send_fds(line, [struct.pack(">I", 100)], [theirs.fileno()])
            theirs.close()
            line.sendall(b"GET / HTTP/1.1\r\n")
        ours.settimeout(0.0)
        async with asyncio.timeout(60):
            assert await asyncio.get_running_loop().sock_recv(ours, 100) == b""
        ours.close()
        with socket.socket(socket.AF_UNIX) as line:  # nor one that hands over nothing
            line.connect(str(tmp_path / "1"))
        assert (await asked(http, there, "/?sid=1.x"))["by"] == 1
    assert faults == []


async def test_what_cannot_be_served_is_told_and_costs_the_others_nothing(tmp_path):
    faults = []
    async with (
        process(tmp_path, 0, []) as here,
        process(tmp_path, 1, faults, adopts=False),
        aiohttp.ClientSession() as http,
    ):
        for _ in range(3):
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await asked(http, here, "/?sid=1.x", b"b")
        assert (await asked(http, here, "/?sid=0.x"))["by"] == 0
    assert [type(each) for each in faults] == [LookupError] * len(faults)
    assert len(faults) >= 3
