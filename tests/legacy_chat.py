"""The chat-server of today and its devices, each in a Node process of its own."""

import asyncio
import contextlib
import json
import os
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent / "legacy_chat_server"
START_S = ANSWER_S = 60.0


class NodeProcess:
    """A script of the chat-server's folder, or by its path, that speaks JSON lines; kept in ``said``."""

    def __init__(self, process):
        self.process = process
        self.said = []
        self._more = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, script, *arguments, **environ):
        process = await asyncio.create_subprocess_exec(
            shutil.which("node"),
            str(HERE / script),
            *arguments,
            env={**os.environ, **environ},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=8 * 1024 * 1024,
        )
        return cls(process)

    async def _read(self):
        while line := await self.process.stdout.readline():
            self.hear(json.loads(line))
            self._more.set()
        self._more.set()

    def hear(self, line):
        """Keep what it said."""
        self.said.append(line)

    def tell(self, **order):
        self.process.stdin.write(json.dumps(order).encode() + b"\n")

    async def until(self, seen):
        """Return the first line for which ``seen`` is true; raises where the process ends before."""
        async with asyncio.timeout(ANSWER_S):
            read = 0
            while True:
                for line in self.said[read:]:
                    if seen(line):
                        return line
                read = len(self.said)
                await self._news()

    async def until_so(self, is_so):
        """Wait until what was said makes it so."""
        async with asyncio.timeout(ANSWER_S):
            while not is_so():
                await self._news()

    async def _news(self):
        if self._reading.done():
            self._reading.result()
            raise EOFError(f"the Node process ended: {self.process.returncode}")
        self._more.clear()
        await self._more.wait()

    async def stop(self):
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.process.wait()
        await self._reading


class LegacyServer(NodeProcess):
    """A chat-server; ``address`` is where its devices connect."""

    address = ""


@contextlib.asynccontextmanager
async def legacy_server(redis_url, backend_url, *, port=0, **environ):
    """Give a running chat-server; ``environ`` as at the top of server.js."""
    given = {"REDIS_URL": redis_url, "BACKEND_URL": backend_url, "PORT": str(port), **environ}
    server = await LegacyServer.start("server.js", **given)
    try:
        port = (await server.until(lambda line: "listening" in line))["listening"]
        server.address = f"http://127.0.0.1:{port}"
        yield server
    finally:
        await server.stop()


class LegacyDevice(NodeProcess):
    """A socket.io-client that knows nothing of the bridge."""

    async def call(self, emit, data):
        known = len(self._acks)
        self.tell(emit=emit, data=data)
        await self.until_so(lambda: len(self._acks) > known)
        return self._acks[-1]

    @property
    def _acks(self):
        return [line["ack"] for line in self.said if "ack" in line]

    def of(self, name):
        return [line["data"] for line in self.said if line.get("event") == name]

    async def first(self, name, wanted=lambda _: True):
        """Return the first of an event for whose data ``wanted`` is true."""
        line = await self.until(lambda each: each.get("event") == name and wanted(each["data"]))
        return line["data"]


@contextlib.asynccontextmanager
async def legacy_device(address, room_id, *, version=4, **options):
    """Give a device of ``version`` 4, 3 or 2 of socket.io-client that is in the room."""
    chosen = json.dumps({"reconnection": False, **options})
    device = await LegacyDevice.start("device.js", str(version), address, chosen)
    try:
        await device.until(lambda line: "connected" in line)
        await device.call("join_room", {"roomId": room_id})
        yield device
    finally:
        await device.stop()
