"""What the users do: they ask, ask twice, stop, come late, and wait for answers."""

import asyncio
import contextlib
import itertools
import random

import aiohttp

from tests.cluster.devices import Device
from tests.cluster.judge import Asked

TAKEN_S, ENDED_S, QUIET_S = 25.0, 40.0, 20.0
"""How long a device asks again, how long it waits for an end, and how long all wait for the last ones."""


class Crowd:
    """``users`` devices in ``rooms`` rooms of ``world``; all chance comes from ``seed``."""

    def __init__(self, world, session, *, users, rooms, tokens, rate, rest_s, seed):
        self.world, self.asked, self.devices = world, {}, []
        self.gone, self.sends = [], {"tried": 0, "tried again": 0}
        self._session, self._seed = session, seed
        self._tokens, self._rate = tokens, rate
        self._chance = random.Random(f"{seed} crowd")
        self._rooms = [f"room-{number}" for number in range(rooms)]
        self._numbers = itertools.count(1)
        self._rest_s = rest_s
        self._members = {room: [] for room in self._rooms}
        self._visits = set()
        self._stopping = asyncio.Event()
        self._talks = []
        for number in range(users):
            self._enter(f"d{number}", self._rooms[number % rooms])

    def _enter(self, name, room):
        chance = random.Random(f"{self._seed} {name}")
        device = Device(name, room, self._session, self.world.pick, chance)
        self.devices.append(device)
        self._members[room].append(device)
        return device

    async def all_there(self, within_s):
        for device in self.devices:
            if not await device.until(lambda device=device: device.there, within_s):
                raise TimeoutError(f"{device.name} does not get into its room")

    def talk(self):
        """Begin to talk in every room."""
        self._stopping.clear()
        self._talks = [asyncio.create_task(self._talk(room)) for room in self._rooms]

    async def hush(self):
        """Begin nothing more; return when what was begun has ended, or is given up."""
        self._stopping.set()
        await asyncio.gather(*self._talks)
        while self._visits:
            await asyncio.gather(*self._visits, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                while any(device.running for device in self.devices):
                    await asyncio.sleep(0.1)

    async def leave(self):
        await asyncio.gather(*(device.leave() for device in self.devices))

    @property
    def stories(self):
        return [device.story for device in [*self.gone, *self.devices]]

    def running(self, node=None):
        """Return the requests under way, of all or as ``node`` took them."""
        return [
            each
            for each in self.asked.values()
            if each.taken and not self._over(each) and node in (None, each.owner)
        ]

    def _over(self, asked):
        return any(device.has_ended(asked.request) for device in self._members[asked.room])

    def visit(self, asked):
        """Let a late device into the room of a running turn; it goes some time after its end."""
        task = asyncio.create_task(self._visit(asked))
        self._visits.add(task)
        task.add_done_callback(self._visits.discard)
        return task

    async def _visit(self, asked):
        device = self._enter(f"late-{len(self.devices) + len(self.gone)}", asked.room)
        try:
            await device.until(lambda: device.has_ended(asked.request), ENDED_S)
            await asyncio.sleep(0.5)
        finally:
            await device.leave(early=True)
            self._members[asked.room].remove(device)
            self.devices.remove(device)
            self.gone.append(device)

    async def _talk(self, room):
        chance = random.Random(f"{self._seed} {room}")
        while not self._stopping.is_set():
            await asyncio.sleep(chance.uniform(*self._rest_s))
            await self._turn(room, self._new_request(room), chance)

    def _new_request(self, room):
        return f"{room}.{next(self._numbers)}"

    async def ask_twice(self, chance):
        """Send one short request from two devices of a room on two nodes at once; wait for its end."""
        room = chance.choice(self._rooms)
        by_node = {device.node: device for device in self._members[room] if device.there}
        if len(by_node) > 1:
            request = self._new_request(room)
            asked = self.asked[request] = Asked(request, room, asyncio.get_running_loop().time())
            said = {"content": f"Hello from {room}, {request}", "requestId": request, "tokens": 20}
            both = list(by_node.values())[:2]
            await asyncio.gather(*(self._send(device, asked, said) for device in both))
            await both[0].until(lambda: both[0].has_ended(request), ENDED_S)

    async def _turn(self, room, request, chance):
        asked = self.asked[request] = Asked(request, room, asyncio.get_running_loop().time())
        members = [device for device in self._members[room] if not device.name.startswith("late")]
        senders = chance.sample(members, min(len(members), 2 if chance.random() < 0.15 else 1))
        tokens = chance.randint(*self._tokens)
        also = chance.random()
        said = {"content": f"Hello from {room}, {request}", "requestId": request, "tokens": tokens}
        said["tokensPerSecond"] = self._rate
        await asyncio.gather(*(self._send(device, asked, said) for device in senders))
        if asked.taken and also < 0.12:
            await asyncio.sleep(chance.uniform(0.1, 1.5))
            await self._stop(chance.choice(members), asked)
        elif asked.taken and also < 0.3:
            await asyncio.sleep(chance.uniform(0.1, 1.5))
            self.visit(asked)
        await senders[0].until(lambda: senders[0].has_ended(request), ENDED_S if asked.taken else 0.0)

    async def _send(self, device, asked, said):
        async def once():
            self.sends["tried"] += 1
            return await device.ask("send_message", **said)

        node = device.node
        ack = await self._insist(device, once)
        if ack is not None:
            if not ack.get("duplicate"):
                asked.owner = asked.owner or device.node or node
                asked.claims += 1
            asked.taken = True

    async def _stop(self, device, asked):
        asked.stopped = True
        await self._insist(device, lambda: device.ask("stop_message", requestId=asked.request))

    async def _insist(self, device, once):
        """Ask again until there is a good ack; None when there was none in time, or never will be."""
        now = asyncio.get_running_loop().time
        give_up_s = now() + TAKEN_S
        while now() < give_up_s:
            if await device.until(lambda: device.there, give_up_s - now()):
                ack = await once()
                if ack is not None and ack["ok"]:
                    return ack
                if ack is not None and ack["error"]["code"] == "unknown_message":
                    return None
            self.sends["tried again"] += 1
            await asyncio.sleep(0.2)
        return None


def session():
    """Return what all devices connect with."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
