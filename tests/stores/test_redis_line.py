"""The line to Redis, against a server that answers as one may."""

import asyncio
import contextlib

import pytest
from redis.exceptions import ResponseError

from bridge.redis_client import RedisClient
from bridge.redis_line import RedisLine


@contextlib.asynccontextmanager
async def line_to(says):
    """Give a line to a server that answers the handshake, then what ``says`` writes."""

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                command = await _command(reader)
                if command[0] == b"HELLO":
                    writer.write(b"%1\r\n+proto\r\n:3\r\n")
                elif command[0] == b"ASK":
                    await says(command, writer)
                else:
                    writer.write(b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = RedisClient(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    line = await client.line()
    try:
        yield line
    finally:
        await line.close()
        await client.close()
        server.close()


async def _command(reader):
    parts = []
    for _ in range(int((await reader.readuntil(b"\r\n"))[1:])):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        parts.append((await reader.readexactly(size + 2))[:-2])
    return parts


async def answers(line, asked):
    """Return what an exchange ends with."""
    told = asyncio.get_running_loop().create_future()
    line.exchange([("ASK", number) for number in asked], told.set_result)
    async with asyncio.timeout(60):
        return await told


async def test_answers_come_in_the_order_of_the_calls_however_they_are_cut():
    async def says(command, writer):
        for byte in b"*2\r\n$2\r\nok\r\n:%b\r\n" % command[1]:
            writer.write(bytes([byte]))
            await writer.drain()

    async with line_to(says) as line:
        assert await answers(line, [1, 2, 3]) == [[b"ok", 1], [b"ok", 2], [b"ok", 3]]
        assert await answers(line, [4]) == [[b"ok", 4]]


async def test_exchanges_that_overlap_are_answered_each_with_its_own():
    async def says(command, writer):
        writer.write(b":%b\r\n" % command[1])

    async with line_to(says) as line:
        assert await asyncio.gather(
            answers(line, [1, 2]), answers(line, []), answers(line, [3]), line.call("ASK", 4)
        ) == [[1, 2], [], [3], 4]


class Wire:
    """The transport and the writer of a connection whose other end never says anything."""

    def __init__(self):
        self.transport = self
        self.writes = []

    @property
    def _writer(self):
        return self

    def set_protocol(self, protocol):
        """Take the line in place of the library's own."""

    def write(self, data):
        """Note what would be one system call, and one wake-up of the server."""
        self.writes.append(bytes(data))

    def abort(self):
        """Do nothing: nobody is there."""

    async def disconnect(self, *, nowait):
        """Be gone."""

    async def release(self, connection):
        """Take it back, as its pool."""


async def test_what_is_asked_in_one_turn_of_the_event_loop_leaves_in_one_write():
    wire = Wire()
    line = RedisLine(wire, wire, answer_s=60.0)
    asking = [asyncio.create_task(line.call("ASK", number)) for number in range(3)]
    await asyncio.sleep(0)
    assert wire.writes == []
    await asyncio.sleep(0)
    assert len(wire.writes) == 1
    assert wire.writes[0].count(b"ASK") == 3
    await line.close()
    with pytest.raises(ConnectionError):
        await asyncio.gather(*asking)


async def test_what_must_not_wait_takes_along_what_does_and_leaves_in_its_order():
    wire = Wire()
    line = RedisLine(wire, wire, answer_s=60.0)
    line.exchange([("FIRST",)], lambda _: None, gather=True)
    line.exchange([("SECOND",)], lambda _: None)
    assert len(wire.writes) == 1
    assert wire.writes[0].index(b"FIRST") < wire.writes[0].index(b"SECOND")
    line.exchange([("THIRD",)], lambda _: None, gather=True)
    await line.close()
    await asyncio.sleep(0)
    assert len(wire.writes) == 1  # a line that is closed says no more


async def test_what_cannot_be_sent_leaves_nothing_that_an_answer_would_be_taken_for():
    async def says(command, writer):
        writer.write(b":%b\r\n" % command[1])

    async with line_to(says) as line:
        with pytest.raises(TypeError):
            await line.calls(("ASK", 1), ("ASK", object()))
        assert await line.call("ASK", 2) == 2


async def test_who_waits_no_more_leaves_its_answer_to_nobody():
    async def says(command, writer):
        writer.write(b":%b\r\n" % command[1])

    async with line_to(says) as line:
        leaves = asyncio.create_task(line.call("ASK", 1))
        await asyncio.sleep(0)
        leaves.cancel()
        assert await line.call("ASK", 2) == 2


async def test_a_call_raises_what_the_server_says_and_that_nothing_came():
    async def says(command, writer):
        if command[1] == b"1":
            writer.write(b"-NOSCRIPT No matching script\r\n")
        else:
            writer.close()

    async with line_to(says) as line:
        with pytest.raises(ResponseError, match="NOSCRIPT"):
            await line.call("ASK", 1)
        lost = await asyncio.gather(line.call("ASK", 2), line.call("ASK", 3), return_exceptions=True)
        assert [type(each) for each in lost] == [ConnectionError, ConnectionError]


async def test_of_several_calls_each_has_its_answer_and_one_error_is_raised():
    async def says(command, writer):
        writer.write(b"-WRONGTYPE Operation\r\n" if command[1] == b"3" else b":%b\r\n" % command[1])

    async with line_to(says) as line:
        assert await line.calls(("ASK", 1), ("ASK", 2)) == [1, 2]
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await line.calls(("ASK", 1), ("ASK", 3))
        assert await line.call("ASK", 4) == 4


async def test_an_error_is_an_answer():
    async def says(_, writer):
        writer.write(b"-OOM command not allowed\r\n")

    async with line_to(says) as line:
        (answer,) = await answers(line, [1])
        assert isinstance(answer, ResponseError)
        assert "OOM" in str(answer)


async def test_what_the_server_pushes_is_no_answer():
    async def says(_, writer):
        writer.write(b">2\r\n+invalidate\r\n*0\r\n:7\r\n")

    async with line_to(says) as line:
        assert await answers(line, [1]) == [7]


async def test_a_late_answer_is_none_and_the_line_is_lost():
    async def says(command, writer):
        if command[1] == b"1":
            writer.write(b":1\r\n")

    async with line_to(says) as line:
        assert await answers(line, [1]) == [1]
        assert await answers(line, [2]) is None
        assert line.lost
        assert await answers(line, [1]) is None


@pytest.mark.parametrize("said", [b"", b"?nonsense\r\n"])
async def test_a_broken_connection_or_nonsense_is_no_answer(said):
    async def says(_, writer):
        writer.write(said)
        writer.close()

    async with line_to(says) as line:
        assert await answers(line, [1]) is None
        assert line.lost
