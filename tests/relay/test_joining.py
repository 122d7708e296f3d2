"""Who joins at the worst moment: while a turn moves between nodes, ends, or its room is being left."""

import asyncio

from fakes import HANG, FakeBackend, FakeDevice
from test_many_nodes import END, IDS, LETTERS, SAID, heard, heard_by, letter, many, taken

from bridge.letters import Batch, Lost
from bridge.messages import MessageEnd
from bridge.stores.memory import MemoryJournal


async def kept_elsewhere(bench, *messages, ended=False):
    """Have the turn of another node kept as far as ``messages``."""
    await bench.journal.claim(taken(heard()).claim)
    for number, message in enumerate(messages, start=1):
        MemoryJournal.append(bench.journal, "t-9", 1, Batch(number, [message]))
    if ended:
        MemoryJournal.append(bench.journal, "t-9", 1, Batch(len(messages) + 1, END, ended=True))


def came_back(seq, text):
    device = FakeDevice()
    device.knows("m-9", seq, text)
    return device


async def test_who_resumes_a_turn_that_runs_elsewhere_is_told_the_rest_once():
    bench = many(FakeBackend([HANG]))
    await kept_elsewhere(bench, *SAID)
    bench.inbox.runs = [heard(*SAID)]
    device = came_back(1, "Hel")
    await bench.rooms.join(device, "room", {"m-9": 1})
    assert device.text == {"m-9": "Hello"}
    await heard_by(bench, LETTERS[3])
    assert device.end.content == "Hello"


async def test_who_resumes_a_turn_that_ends_while_the_node_enters_the_room_hears_its_end():
    bench = many(FakeBackend([HANG]))
    await kept_elsewhere(bench, *SAID)
    plain = bench.inbox.enter

    async def ends_meanwhile(room_id, **_given):
        MemoryJournal.append(bench.journal, "t-9", 1, Batch(4, END, ended=True))
        return await plain(room_id)

    bench.inbox.enter = ends_meanwhile
    device = came_back(2, "Hello")
    await bench.rooms.join(device, "room", {"m-9": 2})
    assert device.end.content == "Hello"


async def test_a_turn_whose_first_letters_are_on_their_way_is_told_from_the_journal_first():
    bench = many(FakeBackend([HANG]))
    watching = await bench.device()
    await kept_elsewhere(bench, *SAID)
    device = came_back(1, "Hel")
    await bench.rooms.join(device, "room", {"m-9": 1})
    await heard_by(bench, *LETTERS)
    assert device.text == watching.text == {"m-9": "Hello"}
    assert device.end == watching.end


async def test_a_turn_that_ended_while_the_node_did_not_hear_is_ended_once_it_does():
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    await heard_by(bench, *LETTERS[:2])
    await kept_elsewhere(bench, *SAID, ended=True)
    await heard_by(bench, Lost())
    assert (device.text, device.end.content) == ({"m-9": "Hello"}, "Hello")
    assert not bench.rooms.all_running()


async def test_who_joins_a_room_that_is_being_left_waits_and_enters_it():
    bench = many(FakeBackend([HANG]))
    bench.rooms.gone(await bench.device())
    leaving, go = asyncio.Event(), asyncio.Event()

    async def slow(room_id, **_given):  # noqa: ARG001
        leaving.set()
        await go.wait()

    bench.inbox.leave = slow
    sweeping = asyncio.create_task(bench.rooms.sweep())
    await leaving.wait()
    joining = asyncio.create_task(bench.device())
    await asyncio.sleep(0.01)
    assert not joining.done()
    go.set()
    await sweeping
    device = await joining
    assert bench.inbox.entered == ["room", "room"]
    await heard_by(bench, *LETTERS[:3], letter(4, MessageEnd(*IDS, "Hello", "stop"), ended=True))
    assert device.end.content == "Hello"
