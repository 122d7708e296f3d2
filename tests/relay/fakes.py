"""Faithful stand-ins for the ports: a backend that follows a script, devices that check the first law."""

import asyncio
import itertools
from collections import Counter

from bridge.events import Completed, Delta, Finished, Started
from bridge.messages import MessageChunk, MessageEnd, MessageStart, MessageStatus, NewMessage
from bridge.pump import Limits
from bridge.relay import Relay
from bridge.requests import Send
from bridge.rollout import default_rollout
from bridge.rooms import Rooms
from bridge.stores.memory import MemoryFlag, MemoryInbox, MemoryJournal


class Pause:
    """A step of a script: nothing for so many seconds."""

    def __init__(self, seconds):
        self.seconds = seconds


HANG = Pause(1e6)


def answer(*deltas, every_s=0.0, reason="stop"):
    script = [Started("m-1")]
    for delta in deltas:
        script += [Pause(every_s), Delta(delta)]
    return [*script, Finished(reason)]


class FakeBackend:
    """Each streaming call follows the next of ``scripts`` (the last one again and again)."""

    def __init__(self, *scripts, whole=None, idempotent=False):
        self.scripts = list(scripts)
        self.whole = whole if whole is not None else Completed("whole", "w-1")
        self.idempotent = idempotent
        self.resumes = False
        self.name = "backend"
        self.calls = []
        self.afters = []
        self.open = 0

    async def stream(self, prompt, take, after=""):
        self.afters.append(after)
        self.calls.append(("stream", prompt.request_id))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        self.open += 1
        try:
            await self._tell(script, take)
        finally:
            self.open -= 1

    async def _tell(self, script, take):
        for step, steps in itertools.groupby(
            script, lambda each: isinstance(each, (Pause, Exception)) and each
        ):
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Exception):
                raise step
            elif not take(list(steps)):
                return

    async def complete(self, prompt):
        self.calls.append(("complete", prompt.request_id))
        if isinstance(self.whole, Pause):
            await asyncio.sleep(self.whole.seconds)
        if isinstance(self.whole, Exception):
            raise self.whole
        return self.whole


class FakeDevice:
    """Hears, and refuses whatever the first law forbids."""

    def __init__(self, streaming=True, user=""):
        self.streaming = streaming
        self.user = user
        self.lagging = False
        self.way = None
        self.heard = []
        self.seq = {}
        self.text = {}
        self.ended = set()
        self.changed = asyncio.Event()

    def hear(self, message):
        self.heard.append(message)
        self.changed.set()
        match message:
            case MessageStart():
                assert message.message_id not in self.seq, "a second start"
                self.seq[message.message_id] = 0
                self.text[message.message_id] = ""
            case MessageChunk():
                self._chunk(message)
            case MessageEnd():
                assert message.message_id not in self.ended, "a second end"
                self.ended.add(message.message_id)

    def _chunk(self, chunk):
        assert chunk.message_id not in self.ended, "a chunk after the end"
        assert (chunk.from_seq or chunk.seq) == self.seq[chunk.message_id] + 1, "a gap or a repeat"
        self.seq[chunk.message_id] = chunk.seq
        self.text[chunk.message_id] += chunk.delta

    def knows(self, message_id, seq, text):
        self.seq[message_id], self.text[message_id] = seq, text

    def of(self, kind):
        return [message for message in self.heard if isinstance(message, kind)]

    @property
    def end(self):
        ends = self.of(MessageEnd)
        assert len(ends) == 1
        return ends[0]

    @property
    def answers(self):
        return [message for message in self.of(NewMessage) if message.role == "assistant"]

    @property
    def statuses(self):
        return [message.status for message in self.of(MessageStatus)]

    async def until(self, seen):
        while not seen(self):
            self.changed.clear()
            await self.changed.wait()


class FakeClock:
    def __init__(self):
        self.names = itertools.count(1)

    def monotonic_s(self):
        return asyncio.get_running_loop().time()

    def utc(self):
        return "2026-01-01T00:00:00.000Z"

    def new_id(self):
        return f"id-{next(self.names)}"

    def jitter(self):
        return 0.5


class Facts:
    def __init__(self):
        self.reports = []
        self.faults = []
        self.counted = Counter()
        self.refusals = Counter()
        self.late_s = []

    def turn_ended(self, report):
        self.reports.append(report)

    def fault(self, error):
        self.faults.append(error)

    def happened(self, what, times=1):
        self.counted[what] += times

    def refused(self, what, code):
        self.refusals[what, code] += 1

    def beaten(self, late_s):
        self.late_s.append(late_s)


class Bench:
    """A relay with everything around it faked but the rooms and the memory stores."""

    def __init__(self, backend, *, streaming=True, window_s=600.0, journal=None, inbox=None, **limits):
        self.backend = backend
        self.clock = FakeClock()
        now = self.clock.monotonic_s
        self.journal = journal(now) if journal else MemoryJournal(now, window_s=window_s)
        self.inbox = inbox or MemoryInbox()
        self.rooms = Rooms(self.journal, self.inbox)
        self.flag = MemoryFlag(default_rollout(enabled=streaming), self.clock.utc)
        self.facts = Facts()
        self.relay = Relay(
            backend=backend,
            journal=self.journal,
            rooms=self.rooms,
            flag=self.flag,
            telemetry=self.facts,
            clock=self.clock,
            limits=Limits(**limits),
        )

    async def device(self, room="room", streaming=True, resume=None):
        device = FakeDevice(streaming)
        await self.rooms.join(device, room, resume or {})
        return device

    async def send(self, device, request_id="r-1", content="hi", room="room"):
        return await self.relay.send(device, Send(room, content, request_id))

    async def idle(self):
        while self.relay.running:
            await asyncio.sleep(0.01)

    async def gives_up_where_telling_fails(self, device):
        """See a fault in ``device`` be said, once, and the turn that met it given up."""

        def broken(_):
            raise ArithmeticError

        device.hear = broken
        await self.idle()
        assert [type(fault) for fault in self.facts.faults] == [ArithmeticError]
        assert self.backend.open == 0
