"""Who joins at the worst moment: while a turn moves between nodes, ends, or its room is being left."""

import asyncio

import pytest
from fakes import HANG, FakeBackend, FakeDevice, answer
from test_many_nodes import ASKED, END, IDS, LETTERS, SAID, heard, heard_by, letter, many, taken

from bridge.errors import StoreUnavailable
from bridge.events import Delta, Finished
from bridge.letters import Batch, Lost, Said
from bridge.messages import MessageEnd, MessageStart, NewMessage
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

    async def ends_meanwhile(room_id):
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

    async def slow(room_id):  # noqa: ARG001
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


async def test_what_the_user_said_is_heard_by_who_was_there_though_its_letter_was_lost():
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    await kept_elsewhere(bench, ASKED, *SAID)
    late = letter(3, SAID[1])
    await heard_by(bench, late)
    assert device.of(NewMessage) == [ASKED]
    assert device.text == {"m-9": "Hello"}


async def test_what_the_user_said_is_heard_by_who_waited_for_the_room_to_be_entered():
    bench = many(FakeBackend([HANG]))
    plain = bench.inbox.enter

    async def nobody_answers(room_id):
        raise StoreUnavailable(f"unable to enter {room_id}; down")

    bench.inbox.enter = nobody_answers
    device = await bench.device()
    await kept_elsewhere(bench, ASKED, *SAID, ended=True)
    bench.inbox.enter = plain
    bench.inbox.ended = ["t-9"]
    await bench.rooms.sweep()
    assert (device.of(NewMessage), device.end.content) == ([ASKED], "Hello")


async def test_who_joins_in_mid_turn_has_what_the_user_said_from_the_history():
    bench = many(FakeBackend([HANG]))
    bench.inbox.runs = [heard(ASKED, *SAID)]
    device = await bench.device()
    other = await bench.device()
    assert device.text == other.text == {"m-9": "Hello"}
    assert device.of(NewMessage) == other.of(NewMessage) == []


async def test_who_takes_a_turn_over_that_had_said_nothing_says_what_the_user_said():
    bench = many(FakeBackend([Delta("lo"), Finished()], idempotent=True))
    device = await bench.device()
    bench.relay.take_over(taken(heard()))
    await bench.idle()
    assert [(said.role, said.content) for said in device.of(NewMessage)] == [("user", "hi")]


async def test_who_takes_over_a_turn_that_had_begun_does_not_repeat_what_the_user_said():
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    bench.relay.take_over(taken(heard(ASKED, *SAID)))
    await bench.idle()
    assert device.of(NewMessage) == [ASKED]


async def test_a_turn_that_one_resumed_to_its_end_is_still_heard_by_the_others():
    bench = many(FakeBackend([HANG]))
    other = await bench.device()
    await kept_elsewhere(bench, ASKED, *SAID, ended=True)
    device = came_back(1, "Hel")
    await bench.rooms.join(device, "room", {"m-9": 1})
    said = [Said("t-9", "room", Batch(number, [each])) for number, each in enumerate((ASKED, *SAID), 1)]
    await heard_by(bench, *said, Said("t-9", "room", Batch(5, END, ended=True)))
    for each in (device, other):
        assert (each.text, each.end.content) == ({"m-9": "Hello"}, "Hello")


async def test_a_turn_that_one_resumed_to_its_end_is_told_to_the_others_when_the_room_is_entered_again():
    bench = many(FakeBackend([HANG]))
    other = await bench.device()
    await kept_elsewhere(bench, *SAID, ended=True)
    device = came_back(1, "Hel")
    await bench.rooms.join(device, "room", {"m-9": 1})
    bench.inbox.ended = ["t-9"]
    await heard_by(bench, Lost())
    for each in (device, other):
        assert (each.text, each.end.content) == ({"m-9": "Hello"}, "Hello")


async def test_who_joins_after_a_turn_is_not_told_it_though_its_room_is_entered_again():
    bench = many(FakeBackend([HANG]))
    await kept_elsewhere(bench, *SAID, ended=True)
    bench.inbox.ended = ["t-9"]
    device = await bench.device()
    await heard_by(bench, Lost())
    assert not device.heard


@pytest.mark.parametrize("come", [1, 3, 4], ids=["its start", "its text", "its end"])
async def test_who_repeats_a_send_is_told_once_what_comes_while_the_journal_is_asked(come):
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    await kept_elsewhere(bench, *SAID, ended=True)
    plain = bench.journal.read

    async def comes_meanwhile(turn_id):
        found = await plain(turn_id)
        await heard_by(bench, *LETTERS[:come])
        return found

    bench.journal.read = comes_meanwhile
    await bench.rooms.attach(device, "room", "t-9")
    await heard_by(bench, *LETTERS[come:])
    assert len(device.of(MessageStart)) == 1
    assert (device.text, device.end.content) == ({"m-9": "Hello"}, "Hello")


def meanwhile(bench, reads, happens):
    """Let ``happens`` follow the first of ``reads`` of the journal, before its answer is taken."""
    plain = getattr(bench.journal, reads)

    async def read(*asked, **named):
        found = await plain(*asked, **named)
        setattr(bench.journal, reads, plain)
        await happens()
        return found

    setattr(bench.journal, reads, read)


async def test_who_resumes_a_turn_that_ends_while_the_journal_is_read_hears_its_end():
    bench = many(FakeBackend([HANG]))
    watching, device = await bench.device(), came_back(2, "Hello")
    await kept_elsewhere(bench, *SAID)

    async def end():
        MemoryJournal.append(bench.journal, "t-9", 1, Batch(4, END, ended=True))
        await heard_by(bench, *LETTERS)

    meanwhile(bench, "read", end)
    await bench.rooms.join(device, "room", {"m-9": 2})
    assert watching.end.content == device.end.content == "Hello"


async def test_who_resumes_two_turns_hears_the_end_of_the_one_that_ends_while_the_other_is_read():
    bench = many(FakeBackend([HANG]))
    await bench.device()
    await kept_elsewhere(bench, *SAID, ended=True)
    await heard_by(bench, *LETTERS[:3])
    device = came_back(2, "Hello")
    meanwhile(bench, "find", lambda: heard_by(bench, LETTERS[3]))
    await bench.rooms.join(device, "room", {"m-9": 2, "m-0": 1})
    assert device.end.content == "Hello"


@pytest.mark.parametrize("ended", [False, True], ids=["runs", "has ended"])
async def test_who_comes_from_a_node_that_was_further_is_told_nothing_again(ended):
    bench = many(FakeBackend([HANG]))
    watching = await bench.device()
    await heard_by(bench, *LETTERS[:2])
    await kept_elsewhere(bench, *SAID, ended=ended)
    device = came_back(2, "Hello")
    await bench.rooms.join(device, "room", {"m-9": 2})
    await heard_by(bench, *LETTERS[2:])
    assert not bench.facts.faults  # each would be a repeat
    for each in (device, watching):
        assert (each.text, each.end.content) == ({"m-9": "Hello"}, "Hello")


@pytest.mark.parametrize("come", ["join", "resume", "attach"])
async def test_who_comes_back_to_what_ended_before_the_journal_had_it_hears_its_end(come):
    bench = many(FakeBackend(answer("Hel", "lo", every_s=1)))
    device = await bench.device()
    bench.journal.late = True
    await bench.send(device)
    await device.until(lambda d: d.of(MessageEnd))
    message_id, (turn_id,) = device.end.message_id, bench.journal._turns
    back = FakeDevice()
    if come == "attach":
        await bench.rooms.join(back, "room", {})
        await bench.rooms.attach(back, "room", turn_id)
    else:
        back.knows(message_id, 1, "Hel")
        await bench.rooms.join(back, "room", {message_id: 1} if come == "join" else {})
        if come == "resume":
            await bench.rooms.resume(back, "room", message_id, 1)
    assert (back.text, back.end) == ({message_id: "Hello"}, device.end)
    bench.journal.come_back()
    await bench.idle()
    bench.rooms.gone(device)
    bench.rooms.gone(back)
    await bench.rooms.sweep()
    assert not bench.rooms.named


async def test_while_a_turn_of_another_node_is_heard_no_room_is_still():
    bench = many(FakeBackend([]))
    await bench.device()
    assert bench.rooms.still
    await heard_by(bench, *LETTERS[:2])
    assert not bench.rooms.still
    await heard_by(bench, *LETTERS[2:])
    assert bench.rooms.still
