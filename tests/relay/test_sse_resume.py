"""An EventSource that is cut anywhere, as often as chance will, and comes back to either of two nodes.

One of the nodes hears late. Whatever happens, each answer of which the device has the beginning comes to it
whole and once.
"""

import asyncio
import json

from door_laws import text_of
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_clock import VirtualClockLoop

from bridge.doors.sse import RoomEvents
from bridge.messages import MessageChunk, MessageEnd, MessageStart, MessageStatus, NewMessage
from bridge.ports import Batch, Claim, Entered, Prompt
from bridge.queued_device import QueuedDevice
from bridge.rooms import Rooms
from bridge.stores.memory import MemoryInbox, MemoryJournal
from bridge.transcript import Transcript

ROOM = "room"


def turn(number, sizes):
    """Return the batches of a turn whose chunks come ``sizes`` at a time."""
    ids = (f"r-{number}", ROOM, f"m-{number}")
    batches, seq = [[MessageStatus(ids[0], ROOM, None, "thinking")], [MessageStart(*ids)]], 0
    for size in sizes:
        batches.append(
            [MessageChunk(*ids, seq + each, f"{number}.{seq + each} ") for each in range(1, size + 1)]
        )
        seq += size
    content = "".join(f"{number}.{each} " for each in range(1, seq + 1))
    end = [MessageEnd(*ids, content, "stop")]
    batches.append([*end, NewMessage(*ids, "assistant", content, "now", {}, True)] if content else end)
    last = len(batches)
    return [(f"t-{number}", Batch(at, said, ended=at == last)) for at, said in enumerate(batches, 1)]


class SharedInbox(MemoryInbox):
    """Tells a node what runs when it enters a room."""

    def __init__(self, journal):
        self.journal = journal

    async def enter(self, room_id):
        turns = [await self.journal.read(turn_id) for turn_id in self.journal._rooms.get(room_id, ())]
        running = [copy(kept) for kept in turns if kept.number and not kept.ended]
        return Entered(running, [kept.turn_id for kept in turns if kept.number and kept.ended])


def copy(kept):
    made = Transcript(kept.turn_id, kept.request_id)
    for message in kept.messages():
        made.apply(message)
    made.number = kept.number
    return made


class World:
    def __init__(self, story, streaming, lag, backlog):
        self.backlog = backlog
        clock = FakeClock()
        self.journal = MemoryJournal(clock.monotonic_s, window_s=600.0)
        self.nodes = [Rooms(self.journal, SharedInbox(self.journal)) for _ in range(2)]
        self.story, self.streaming, self.lag = story, streaming, lag
        self.device = None
        self.received = []
        self.last_event_id = ""

    async def step(self, at):
        if at < len(self.story):
            turn_id, batch = self.story[at]
            self.journal.append(turn_id, 1, batch)
            self.nodes[0].hear_letter(turn_id, ROOM, batch)
        if 0 <= at - self.lag < len(self.story):
            turn_id, batch = self.story[at - self.lag]
            self.nodes[1].hear_letter(turn_id, ROOM, batch)

    async def connect(self, node):
        events = RoomEvents(self.last_event_id, streaming=self.streaming, new_message="new_message")

        def made(message):
            told = events.event(message)
            if events.gap:
                self.device.end()
            return told

        self.node = node
        self.device = QueuedDevice(
            made,
            user="",
            streaming=self.streaming,
            backlog=self.backlog,
            caught_up=self.nodes[node].caught_up,
            cut_off=lambda: None,
        )
        await self.nodes[node].join(self.device, ROOM, events.positions.resume)

    async def receive(self, lose):
        """Let the device have what waits for it, but for the last ``lose`` events."""
        waiting = await self.device.take(0.0)
        for event in waiting[: max(0, len(waiting) - lose)]:
            fields = dict(line.split(": ", 1) for line in event.decode().strip().split("\n"))
            self.last_event_id = fields.get("id", self.last_event_id)
            self.received.append((fields["event"], json.loads(fields["data"])))

    async def cut(self, node, lose):
        self.nodes[self.node].gone(self.device)
        await self.receive(lose)
        await self.connect(node)


async def live(turns, order, streaming, lag, backlog, cuts):
    story, left = [], [turn(number, sizes) for number, sizes in enumerate(turns)]
    for choice in order:
        running = [batches for batches in left if batches]
        if running:
            story.append(running[choice % len(running)].pop(0))
    story += [batch for batches in left for batch in batches]
    world = World(story, streaming, lag, backlog)
    for number in range(len(turns)):
        prompt = Prompt(f"r-{number}", ROOM, f"m-{number}", "hi")
        await world.journal.claim(Claim(f"t-{number}", prompt, True, "", 9))
    await world.connect(0)
    for at in range(len(story) + lag):
        await world.step(at)
        for node, lose in cuts.get(at, ()):
            await world.cut(node, lose)
        if world.device.ended:
            await world.cut(world.node, 0)
    await world.cut(0, 0)
    await world.receive(0)
    return world.received


@settings(max_examples=300)
@given(
    turns=st.lists(st.lists(st.integers(1, 3), max_size=5), min_size=1, max_size=3),
    order=st.lists(st.integers(0, 5), max_size=20),
    streaming=st.sampled_from([None, True]),
    lag=st.integers(0, 6),
    backlog=st.sampled_from([3, 1000]),
    cuts=st.dictionaries(
        st.integers(0, 30), st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), max_size=3), max_size=8
    ),
)
def test_a_device_resumes_at_any_id_without_a_gap_or_a_repeat(turns, order, streaming, lag, backlog, cuts):
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        received = runner.run(live(turns, order, streaming, lag, backlog, cuts))
    texts = text_of(received)
    ended = {data["messageId"] for event, data in received if event == "ai_message_end"}
    for number, sizes in enumerate(turns):
        name = f"m-{number}"
        if name in texts:
            assert texts[name] == "".join(f"{number}.{each} " for each in range(1, sum(sizes) + 1))
            assert name in ended
    answers = [data["messageId"] for event, data in received if event == "new_message"]
    assert len(answers) == len(set(answers))
    if streaming is None:
        assert {name for name in texts if texts[name]} <= set(answers)
    if not cuts:
        assert len(texts) == len(turns)
