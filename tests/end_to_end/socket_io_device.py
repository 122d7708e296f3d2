"""The real socket.io-client 4 of npm as a test's device."""

import asyncio
import contextlib
import json
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent / "socket_io_client"


class NodeDevice:
    """A socket.io-client in a Node process of its own."""

    def __init__(self, process):
        self.process = process
        self.said = []

    async def until(self, seen):
        async with asyncio.timeout(60):
            while True:
                for line in self.said:
                    if seen(line):
                        return line
                self.said.append(json.loads(await self.process.stdout.readline()))

    async def call(self, emit, data):
        self.process.stdin.write(json.dumps({"emit": emit, "data": data}).encode() + b"\n")
        known = len([line for line in self.said if "ack" in line])
        async with asyncio.timeout(60):
            while len(acks := [line["ack"] for line in self.said if "ack" in line]) == known:
                self.said.append(json.loads(await self.process.stdout.readline()))
        return acks[-1]

    def of(self, name):
        return [line["data"] for line in self.said if line.get("event") == name]


@contextlib.asynccontextmanager
async def node_device(address, **options):
    process = await asyncio.create_subprocess_exec(
        shutil.which("node"),
        str(HERE / "device.js"),
        address,
        json.dumps({"reconnection": False, **options}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    device = NodeDevice(process)
    try:
        await device.until(lambda line: "connected" in line)
        yield device
    finally:
        process.stdin.write(b'{"close": true}\n')
        async with asyncio.timeout(60):
            await process.wait()
