"""One frame to many connections at once: on real sockets, under both event loops."""

import asyncio
import contextlib
import gc
import os
import socket
import ssl

import pytest
import uvloop

from bridge.sockets.burst import LAG_BYTES, burst_for
from bridge.sockets.line import Line

FRAME = b"a frame"
LARGE = b"x" * 64 * 1024


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    """Runs a test that takes `Ends`."""

    def run(test):
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(with_ends(test))

    return run


async def with_ends(test):
    async with asyncio.timeout(60):
        with contextlib.ExitStack() as opened:
            await test(Ends(opened))


class Ends:
    """Makes connections: a line of ours, and the socket at the other end."""

    def __init__(self, opened):
        self._opened = opened
        self.lines, self.others = [], []

    async def make(self, count=1):
        loop = asyncio.get_running_loop()
        for _ in range(count):
            ours, other = socket.socketpair()
            self._opened.callback(other.close)
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            self._opened.callback(transport.abort)
            self.lines.append(Line(transport))
            self.others.append(other)
        return self.lines[-1]

    def burst(self):
        """Return a burst of all lines there are."""
        burst = burst_for(type(self.lines[0].transport))()
        for line in self.lines:
            burst.add(line)
        return burst

    async def read(self, at, size):
        """Return the next ``size`` bytes that come at the other end."""
        other, found = self.others[at], b""
        other.setblocking(False)
        while len(found) < size:
            found += await asyncio.get_running_loop().sock_recv(other, size - len(found))
        return found


def fill(line):
    """Let the kernel hold all it takes for a connection; return how much that is."""
    size = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            size += os.write(line.transport.get_extra_info("socket").fileno(), b"." * 4096)
    return size


def test_all_are_written_the_frame_without_a_turn_of_the_event_loop(run):
    async def test(ends):
        await ends.make(3)
        assert not ends.burst().write(FRAME)
        assert [other.recv(100) for other in ends.others] == [FRAME] * 3

    run(test)


def test_what_is_written_behind_a_frame_and_before_it_stays_there(run):
    async def test(ends):
        await ends.make(2)
        burst = ends.burst()
        ends.lines[0].write(b"before;")
        burst.write(b"burst;")
        ends.lines[0].write(b"between;")
        burst.write(b"burst;")
        ends.lines[0].write(b"behind")
        assert await ends.read(0, 32) == b"before;burst;between;burst;behind"[:32]
        assert await ends.read(1, 12) == b"burst;burst;"

    run(test)


def test_what_a_socket_takes_a_part_of_arrives_whole_and_in_order(run):
    async def test(ends):
        await ends.make(3)
        burst, lagging = ends.burst(), []
        for number in range(9):
            lagging.append(list(burst.write(bytes([number]) * len(LARGE))))
            await ends.read(0, len(LARGE))
        sizes = [sum(at not in each for each in lagging) for at in range(3)]
        assert sizes[0] == 9
        assert 2 <= sizes[1] < 9
        for at in (1, 2):
            found = await ends.read(at, sizes[at] * len(LARGE))
            assert found == b"".join(bytes([number]) * len(LARGE) for number in range(sizes[at]))

    run(test)


def test_a_socket_that_takes_nothing_costs_the_others_nothing_and_gets_it_later(run):
    async def test(ends):
        full = await ends.make()
        await ends.make(2)
        burst = ends.burst()
        size = fill(full)
        assert not burst.write(FRAME)
        assert [other.recv(100) for other in ends.others[1:]] == [FRAME] * 2
        assert full.waiting_bytes() == len(FRAME)
        assert (await ends.read(0, size + len(FRAME)))[-len(FRAME) :] == FRAME

    run(test)


def test_a_socket_that_takes_nothing_is_never_waited_for_whatever_the_default_is(run):
    async def test(ends):
        full = await ends.make()
        fill(full)
        socket.setdefaulttimeout(5.0)
        try:
            burst = ends.burst()
        finally:
            socket.setdefaulttimeout(None)
        began_s = asyncio.get_running_loop().time()
        burst.write(FRAME)
        assert asyncio.get_running_loop().time() - began_s < 1

    run(test)


def test_who_lags_is_named_and_written_nothing(run):
    async def test(ends):
        await ends.make()
        lags = await ends.make()
        burst = ends.burst()
        fill(lags)
        lags.write(b"y" * LAG_BYTES)
        waiting = lags.waiting_bytes()
        assert list(burst.write(FRAME)) == [1]
        assert lags.waiting_bytes() == waiting
        assert await ends.read(0, len(FRAME)) == FRAME

    run(test)


def test_who_closes_is_never_written_to_by_its_socket(run):
    async def test(ends):
        await ends.make(3)
        burst = ends.burst()
        gone = ends.lines[1].transport
        fd = gone.get_extra_info("socket").fileno()
        gone.abort()
        burst.write(FRAME)
        await until_closed(fd)
        stranger, end = socket.socketpair()
        with stranger, end:
            if stranger.fileno() != fd:
                os.dup2(stranger.fileno(), fd)
            burst.write(FRAME)
            end.setblocking(False)
            with pytest.raises(BlockingIOError):
                end.recv(100)
            if stranger.fileno() != fd:
                os.close(fd)
        for at in (0, 2):
            assert await ends.read(at, 2 * len(FRAME)) == 2 * FRAME

    run(test)


def test_who_was_cut_off_by_the_other_end_costs_the_others_nothing(run):
    async def test(ends):
        await ends.make(3)
        burst = ends.burst()
        ends.others[1].close()
        for _ in range(3):
            burst.write(FRAME)
            await asyncio.sleep(0)
        for at in (0, 2):
            assert await ends.read(at, 3 * len(FRAME)) == 3 * FRAME

    run(test)


def test_who_closed_before_it_was_added_costs_the_others_nothing(run):
    async def test(ends):
        await ends.make(2)
        gone = ends.lines[0].transport
        fd = gone.get_extra_info("socket").fileno()
        gone.abort()
        await until_closed(fd)
        burst = ends.burst()
        burst.write(FRAME)
        assert await ends.read(1, len(FRAME)) == FRAME

    run(test)


def test_a_line_that_is_forgotten_closes_nothing(run):
    async def test(ends):
        await ends.make()
        burst = ends.burst()
        burst.write(FRAME)
        transport = ends.lines.pop().transport
        del burst
        gc.collect()
        assert fd_is_open(transport.get_extra_info("socket").fileno())
        transport.write(b"on")
        assert await ends.read(0, len(FRAME) + 2) == FRAME + b"on"

    run(test)


class Encrypting(asyncio.Transport):
    """A transport as TLS has it: its socket carries other bytes than it is given."""

    def __init__(self, ours):
        super().__init__({"socket": ours, "sslcontext": ssl.create_default_context()})
        self.written = []

    def is_closing(self):
        return False

    def get_write_buffer_size(self):
        return 0

    def write(self, data):
        self.written.append(data)


def test_nothing_is_written_past_what_encrypts_it():
    ours, other = socket.socketpair()
    with ours, other:
        line = Line(Encrypting(ours))
        burst = burst_for(Encrypting)()
        burst.add(line)
        assert not burst.write(FRAME)
        assert line.transport.written == [FRAME]
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(100)


async def until_closed(fd):
    async with asyncio.timeout(10):
        while fd_is_open(fd):
            await asyncio.sleep(0)  # a transport closes within some turns of its loop


def fd_is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
