"""What a relay and its rooms do when the store is slow, gone, or says that the turn is another node's."""

import asyncio
import copy
from operator import sub

import pytest
from fakes import HANG, Bench, FakeBackend, Pause, answer

from bridge.errors import BackendCut, StoreUnavailable
from bridge.events import Completed, Delta, Finished, Position, Started
from bridge.facts import Happening
from bridge.letters import Anew, Batch, Lost, Ordered, Said, StopWanted
from bridge.messages import MessageChunk, MessageEnd, MessageStart, NewMessage
from bridge.node import BEAT_S, ROUND_S, Node
from bridge.ports import Appended, Claim, Entered, Kept, Prompt, Taken
from bridge.stores.memory import MemoryInbox, MemoryJournal
from bridge.transcript import Transcript

SILENT_S = 20.0


def now():
    return asyncio.get_running_loop().time()


class ChosenJournal(MemoryJournal):
    """A journal that answers late, or otherwise, when a test says so."""

    def __init__(self, clock):
        super().__init__(clock, window_s=600.0)
        self.late = False
        self.held = []
        self.says = None
        self.down = self.forgets = False
        self.restored = []
        self.gives_away = False
        self.stops = []
        self.kept_numbers = []

    async def claim(self, claim):
        if self.down:
            raise StoreUnavailable("unable to claim; down")
        return await super().claim(claim)

    def append(self, turn_id, epoch, batch):
        self.kept_numbers.append(batch.number)
        if self.late:
            waiting = asyncio.get_running_loop().create_future()
            self.held.append((waiting, turn_id, epoch, batch))
            return waiting
        if self.says is not None:
            answered = asyncio.get_running_loop().create_future()
            answered.set_result(self.says)
            return answered
        return super().append(turn_id, epoch, batch)

    def come_back(self):
        self.late = False
        for waiting, turn_id, epoch, batch in self.held:
            waiting.set_result(super().append(turn_id, epoch, batch).result())

    async def read(self, turn_id):
        found = None if self.forgets else await super().read(turn_id)
        return copy.deepcopy(found)  # as from another process

    async def restore(self, taken, batch):  # noqa: ARG002
        self.restored.append(batch)
        return Kept.OK

    async def release(self, turn_id, epoch):  # noqa: ARG002
        return self.gives_away

    async def stop(self, turn_id):
        self.stops.append(turn_id)
        return True


class ChosenInbox(MemoryInbox):
    """An inbox into which a test puts letters."""

    def __init__(self):
        self.runs, self.ended = [], []
        self.entered = []
        self.left = []
        self.lives = True
        self.down = False
        self.beaten_at_s = []
        self.queue = asyncio.Queue()

    async def enter(self, room_id):
        if self.down:
            raise StoreUnavailable("unable to enter; down")
        self.entered.append(room_id)
        return Entered(self.runs, self.ended)

    async def leave(self, room_id):
        self.left.append(room_id)

    async def beat(self):
        self.beaten_at_s.append(now())
        return self.lives

    async def letters(self):
        while True:
            yield await self.queue.get()


class ObedientSockets:
    """Keeps what other nodes want, in order."""

    def __init__(self):
        self.obeyed = []

    def obey(self, sender, order):
        self.obeyed.append((sender, order))


def many(backend, *, lease_s=2.0, **limits):
    bench = Bench(backend, journal=ChosenJournal, inbox=ChosenInbox(), **limits)
    bench.sockets = ObedientSockets()
    bench.node = Node(
        journal=bench.journal,
        inbox=bench.inbox,
        relay=bench.relay,
        rooms=bench.rooms,
        sockets=bench.sockets,
        telemetry=bench.facts,
        clock=bench.clock,
        silent_s=SILENT_S,
        lease_s=lease_s,
    )
    return bench


IDS = ("r-9", "room", "m-9")
ASKED = NewMessage("r-9", "room", "u-9", "user", "hi", "now")
SAID = [MessageStart(*IDS), MessageChunk(*IDS, 1, "Hel"), MessageChunk(*IDS, 2, "lo")]
END = [MessageEnd(*IDS, "Hello", "stop"), NewMessage(*IDS, "assistant", "Hello", "now", {}, True)]


def heard(*messages):
    transcript = Transcript("t-9", "r-9")
    for number, message in enumerate(messages, start=1):
        transcript.take(number, [message])
    return transcript


async def test_a_journal_that_does_not_answer_is_not_waited_for_and_gets_all_when_it_is_back():
    bench = many(FakeBackend(answer("Hel", "lo", every_s=1)))
    device = await bench.device()
    bench.journal.late = True
    await bench.send(device)
    await device.until(lambda d: d.of(MessageEnd))
    assert device.end.content == "Hello"
    assert now() < 2 + 5 * 0.25 + 0.1
    bench.journal.come_back()
    await bench.idle()
    assert bench.facts.reports[0].first_chunk_s == pytest.approx(1.25)
    assert bench.facts.reports[0].first_kept_s is None
    (turn_id,) = bench.journal._turns
    kept = await bench.journal.read(turn_id)
    assert (kept.ended, kept.text) == (True, "Hello")


@pytest.mark.parametrize("answered", [Kept.FENCED, Kept.CLOSED])
async def test_an_owner_that_was_fenced_says_nothing_more_and_closes_its_call(answered):
    bench = many(FakeBackend(answer("Hel", "lo", every_s=1)))
    device = await bench.device()
    await bench.send(device)
    await device.until(lambda d: d.of(MessageChunk))
    bench.journal.says = Appended(answered)
    await bench.idle()
    assert device.text == {"m-1": "Hel"}
    assert not device.of(MessageEnd)
    assert bench.backend.open == 0
    assert not bench.facts.reports
    assert bench.facts.counted == {Happening.FENCED: 1}


async def test_a_stop_that_another_node_asked_for_comes_back_with_the_next_batch():
    bench = many(FakeBackend(answer("Hel", "lo", every_s=1)))
    device = await bench.device()
    await bench.send(device)
    await asyncio.sleep(0.5)
    bench.journal.says = Appended(Kept.OK, stop=True)
    await bench.idle()
    assert device.end.finish_reason == "cancelled"


@pytest.mark.parametrize("answered", [Kept.GONE, Kept.GAP])
async def test_a_journal_that_lost_the_turn_gets_all_of_it_again(answered):
    bench = many(FakeBackend([Started("m-1"), Pause(1), Delta("Hel"), Pause(1), Delta("lo"), HANG]))
    device = await bench.device()
    await bench.send(device)
    await asyncio.sleep(1.5)
    bench.journal.says = Appended(answered)
    await asyncio.sleep(1)
    (batch,) = bench.journal.restored
    again = Transcript("t", "r-1")
    again.number = batch.number - 1
    again.take(batch.number, batch.messages)
    assert (again.text, again.seq) == ("Hello", 2)
    assert device.text == {"m-1": "Hello"}
    bench.journal.says = None
    await bench.relay.drain(0)


async def test_without_a_store_a_turn_runs_for_the_devices_of_its_node_and_is_still_one():
    bench = many(FakeBackend(answer("Hel", "lo", every_s=1)))
    device = await bench.device()
    bench.journal.down = True
    await bench.send(device)
    assert (await bench.send(device)).duplicate
    await bench.idle()
    assert device.end.content == "Hello"
    assert len(bench.backend.calls) == 1


async def test_what_cannot_be_finished_at_drain_is_handed_over_and_not_ended():
    bench = many(FakeBackend(answer("Hel", "lo", every_s=1)))
    bench.journal.gives_away = True
    device = await bench.device()
    await bench.send(device)
    await device.until(lambda d: d.of(MessageChunk))
    await bench.relay.drain(0)
    assert bench.relay.running == 0
    assert not device.of(MessageEnd)
    assert bench.backend.open == 0


def taken(transcript, *, streaming=True, position="", stop=False):
    claim = Claim("t-9", Prompt("r-9", "room", "t-9", "hi"), streaming, "digest", 4)
    return Taken(2, claim, transcript, position, stop)


async def test_a_turn_that_is_taken_over_goes_on_where_the_backend_was():
    backend = FakeBackend([Delta("lo"), Position("3"), Finished()])
    backend.resumes = True
    bench = many(backend)
    device = await bench.device()
    bench.relay.take_over(taken(heard(*SAID[:2]), position="2"))
    await bench.idle()
    assert (device.text, device.end.finish_reason) == ({"m-9": "Hello"}, "stop")
    assert backend.afters == ["2"]
    assert bench.journal.kept_numbers[0] == 3
    assert bench.facts.reports[0].chunks == 2
    assert bench.facts.reports[0].taken_over
    assert bench.facts.counted == {Happening.TAKEN_OVER: 1}


@pytest.mark.parametrize(
    ("whole", "text", "content"),
    [("Hello", "Hello", "Hello"), ("Bye", "Hel", "Bye")],
    ids=["goes on", "differs"],
)
async def test_else_the_complete_call_supplies_the_rest(whole, text, content):
    bench = many(FakeBackend([HANG], whole=Completed(whole, "w"), idempotent=True))
    device = await bench.device()
    bench.relay.take_over(taken(heard(*SAID[:2])))
    await bench.idle()
    assert (device.text["m-9"], device.end.content, device.end.finish_reason) == (text, content, "stop")


async def test_else_it_ends_as_interrupted_with_what_was_heard():
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    bench.relay.take_over(taken(heard(*SAID[:2])))
    await bench.idle()
    assert (device.text["m-9"], device.end.content) == ("Hel", "Hel")
    assert device.end.finish_reason == "interrupted"
    assert not bench.backend.calls


async def test_a_turn_of_which_nothing_was_heard_is_asked_for_anew_where_the_backend_knows_repeats():
    bench = many(FakeBackend(answer("Hello"), idempotent=True))
    device = await bench.device()
    bench.relay.take_over(taken(heard()))
    await bench.idle()
    assert (device.end.content, device.end.finish_reason) == ("Hello", "stop")


async def test_a_turn_that_was_to_be_stopped_is():
    bench = many(FakeBackend([HANG], idempotent=True))
    device = await bench.device()
    bench.relay.take_over(taken(heard(*SAID[:2]), stop=True))
    await bench.idle()
    assert device.end.finish_reason == "cancelled"


async def heard_by(bench, *letters):
    node = asyncio.create_task(bench.node.run())
    for letter in letters:
        bench.inbox.queue.put_nowait(letter)
    while not bench.inbox.queue.empty():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    node.cancel()
    await asyncio.gather(node, return_exceptions=True)


def letter(number, *messages, ended=False):
    return Said("t-9", "room", Batch(number, messages, ended))


LETTERS = [letter(n, m) for n, m in enumerate(SAID, start=1)] + [letter(4, *END, ended=True)]


async def test_what_another_node_says_is_heard_once_and_in_order():
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    first = Said("t-9", "room", Batch(1, [ASKED, SAID[0]]))
    await heard_by(bench, first, LETTERS[1], LETTERS[1], *LETTERS[2:], LETTERS[3])
    assert (device.text, device.end.content) == ({"m-9": "Hello"}, "Hello")
    assert device.of(NewMessage) == [ASKED]


async def test_what_lacks_a_letter_is_mended_from_the_journal():
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    claim = taken(heard()).claim
    await bench.journal.claim(claim)
    for number, message in enumerate(SAID, start=1):
        MemoryJournal.append(bench.journal, "t-9", 1, Batch(number, [message]))
    await heard_by(bench, LETTERS[0], LETTERS[2], LETTERS[3])
    assert (device.text, device.end.content) == ({"m-9": "Hello"}, "Hello")
    assert bench.facts.counted[Happening.GAP_REPAIRED] == 1


async def test_a_turn_that_was_kept_anew_is_read_again():
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    await bench.journal.claim(taken(heard()).claim)
    for each in LETTERS:
        MemoryJournal.append(bench.journal, "t-9", 1, each.batch)
    await heard_by(bench, LETTERS[0], Anew("t-9", "room"), Anew("t-9", "nobody is here"))
    assert (device.text, device.end.content) == ({"m-9": "Hello"}, "Hello")
    assert repr(bench.rooms).startswith("<Rooms 1 rooms")


async def test_who_joins_is_told_what_runs_on_other_nodes():
    bench = many(FakeBackend([HANG]))
    bench.inbox.runs = [heard(*SAID[:2])]
    device = await bench.device()
    await heard_by(bench, LETTERS[1], *LETTERS[2:])
    assert (device.text, device.end.content) == ({"m-9": "Hello"}, "Hello")


async def test_what_comes_before_the_answer_to_the_entry_is_not_lost():
    bench = many(FakeBackend([HANG]))
    bench.inbox.runs = [heard(*SAID[:1])]
    asked, go = asyncio.Event(), asyncio.Event()
    plain = bench.inbox.enter

    async def slow(room_id):
        asked.set()
        await go.wait()
        return await plain(room_id)

    bench.inbox.enter = slow
    joining = asyncio.create_task(bench.device())
    await asked.wait()
    await heard_by(bench, *LETTERS[1:3])
    go.set()
    device = await joining
    assert device.text == {"m-9": "Hello"}


@pytest.mark.parametrize("how", ["lost letters", "taken for dead"])
async def test_a_node_that_may_have_missed_something_enters_its_rooms_again(how):
    bench = many(FakeBackend([HANG]))
    bench.inbox.runs = [heard(*SAID[:1])]
    device = await bench.device()
    bench.inbox.runs = [heard(*SAID)]
    bench.inbox.lives = how == "lost letters"
    await heard_by(bench, *([Lost()] if bench.inbox.lives else []))
    assert device.text == {"m-9": "Hello"}
    assert bench.inbox.entered[:2] == ["room", "room"]


async def test_a_room_that_could_not_be_entered_is_entered_with_the_next_beat():
    bench = many(FakeBackend([HANG]))
    living = asyncio.create_task(bench.node.run())
    await asyncio.sleep(3.1)
    bench.inbox.down = True
    device = await bench.device()
    bench.inbox.down, bench.inbox.runs = False, [heard(*SAID)]
    asked_at_s = now()
    await device.until(lambda d: d.of(MessageChunk))
    living.cancel()
    assert device.text == {"m-9": "Hello"}
    assert now() - asked_at_s <= 1.25 * BEAT_S


@pytest.mark.parametrize(("lease_s", "apart_s"), [(0.5, 0.125), (2.0, 0.5), (30.0, 0.5)])
async def test_a_lease_has_time_for_a_lost_beat_and_is_seen_half_a_second_after_it_expired(lease_s, apart_s):
    bench = many(FakeBackend([HANG]), lease_s=lease_s)
    living = asyncio.create_task(bench.node.run())
    await asyncio.sleep(10)
    living.cancel()
    at_s = bench.inbox.beaten_at_s
    assert 0.6 * apart_s - 0.01 <= min(map(sub, at_s[1:], at_s))
    assert max(map(sub, at_s[1:], at_s)) <= apart_s + 0.01


async def test_an_empty_room_is_left_within_a_look_round():
    bench = many(FakeBackend([HANG]))
    living = asyncio.create_task(bench.node.run())
    device = await bench.device()
    bench.rooms.gone(device)
    await asyncio.sleep(ROUND_S + 0.5)
    living.cancel()
    assert bench.inbox.left == ["room"]


async def test_rooms_are_looked_at_no_more_often_than_it_takes(monkeypatch):
    bench = many(FakeBackend([HANG]))
    await bench.device()
    sweep, sweeps = bench.rooms.sweep, []

    async def counted():
        sweeps.append(now())
        await sweep()

    monkeypatch.setattr(bench.rooms, "sweep", counted)
    living = asyncio.create_task(bench.node.run())
    await asyncio.sleep(10)
    living.cancel()
    assert 10 / (ROUND_S + 1.25 * BEAT_S) <= len(sweeps) <= 10 / ROUND_S + 1


async def test_an_empty_room_is_left():
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    bench.rooms.gone(device)
    await bench.rooms.sweep()
    assert bench.inbox.left == ["room"]


async def test_a_stop_reaches_the_node_that_owns_the_turn():
    bench = many(FakeBackend(answer("Hel", "lo", every_s=1)))
    device = await bench.device()
    await bench.send(device)
    await device.until(lambda d: d.of(MessageChunk))
    (turn_id,) = bench.relay.owned
    await heard_by(bench, StopWanted(turn_id))
    await bench.idle()
    assert device.end.finish_reason == "cancelled"


async def test_a_stop_of_another_nodes_turn_is_left_with_the_store():
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    await bench.journal.claim(taken(heard()).claim)
    await bench.relay.stop(device, "room", request_id="r-9")
    assert bench.journal.stops == ["t-9"]


async def test_what_the_user_said_is_kept_before_anything_of_the_answer():
    bench = many(FakeBackend(answer("Hello")))
    device = await bench.device()
    await bench.send(device)
    await bench.idle()
    (turn_id,) = bench.journal._turns
    (asked,) = (await bench.journal.read(turn_id)).asked
    assert device.heard[0] == asked
    assert (asked.role, asked.content) == ("user", "hi")


async def test_a_cut_of_a_turn_that_was_taken_over_is_one():
    backend = FakeBackend([Delta("l"), BackendCut("cut")])
    backend.resumes = True
    bench = many(backend)
    device = await bench.device()
    bench.relay.take_over(taken(heard(*SAID[:2]), position="2"))
    await bench.idle()
    assert (device.end.finish_reason, device.end.content) == ("interrupted", "Hell")


async def test_what_another_nodes_server_wants_is_obeyed_in_order():
    bench = many(FakeBackend([HANG]))
    await heard_by(bench, *(Ordered("two", str(number)) for number in range(3)))
    assert bench.sockets.obeyed == [("two", "0"), ("two", "1"), ("two", "2")]


async def test_a_letter_of_a_turn_that_has_ended_here_is_not_heard_again():
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    await heard_by(bench, *LETTERS, LETTERS[0], LETTERS[3])
    assert len(device.of(MessageStart)) == len(device.of(MessageEnd)) == 1


async def test_an_entry_that_knows_less_than_the_node_changes_nothing():
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    await heard_by(bench, *LETTERS[:3])
    bench.inbox.runs = [heard(*SAID[:2])]
    await heard_by(bench, Lost(), LETTERS[3])
    assert (device.text, device.end.content) == ({"m-9": "Hello"}, "Hello")


async def test_an_ended_turn_is_ours_until_its_last_batch_was_kept():
    bench = many(FakeBackend(answer("Hello")))
    device = await bench.device()
    bench.journal.late = True
    await bench.send(device)
    await device.until(lambda d: d.of(MessageEnd))
    await asyncio.sleep(5)
    assert len(bench.relay.owned) == 1
    bench.journal.come_back()
    await bench.idle()


async def test_a_process_goes_down_in_time_though_the_store_is_gone():
    bench = many(FakeBackend(answer("Hel", "lo", every_s=1)))
    device = await bench.device()
    await bench.send(device)
    await device.until(lambda d: d.of(MessageChunk))
    bench.journal.late = True
    began_s = now()
    await bench.relay.drain(0)
    assert device.end.finish_reason == "interrupted"
    assert now() - began_s < 2
    assert bench.relay.running == 0


async def cut_off(bench, *more):
    """Let a turn say "Hel" into the journal and ``more`` to its devices only; return its id and device."""
    device = await bench.device()
    await bench.send(device)
    await device.until(lambda d: d.of(MessageChunk))
    bench.journal.late = True
    await device.until(lambda d: len(d.of(MessageChunk)) == 1 + len(more))
    (turn_id,) = bench.journal._turns
    bench.journal.late = False
    return turn_id, device


def owner_says(bench, turn_id, *deltas, end=None):
    """Have another node own the turn, and say ``deltas`` behind what was kept; return its letters."""
    kept, letters = bench.journal._turns[turn_id], []
    number, seq = kept.transcript.number, kept.transcript.seq
    ids = ("r-1", "room", "m-1")
    messages = [MessageChunk(*ids, seq + n, delta) for n, delta in enumerate(deltas, start=1)]
    if end is not None:
        messages.append(MessageEnd(*ids, end, "stop"))
    for more, message in enumerate(messages, start=1):
        batch = Batch(number + more, [message], ended=isinstance(message, MessageEnd))
        MemoryJournal.append(bench.journal, turn_id, 2, batch)
        letters.append(Said(turn_id, "room", batch))
    return letters


@pytest.mark.parametrize(
    ("deltas", "text", "seqs"),
    [
        (("lo", " wor", "ld"), "Hello world", [(None, 1), (None, 2), (None, 3), (None, 4)]),
        (("l", "o", " ", "wo", "rld"), "Hello world", [(None, 1), (None, 2), (None, 3), (4, 6)]),
        (("lo world",), "Hello world", [(None, 1), (None, 2), (None, 3), (None, 4)]),
        (("p", "!"), "Hello ", [(None, 1), (None, 2), (None, 3)]),
    ],
    ids=["same borders", "finer", "coarser", "another text"],
)
async def test_devices_of_an_owner_that_was_cut_off_go_on_with_the_new_one(deltas, text, seqs):
    bench = many(FakeBackend(answer("Hel", "lo", " ", "x", "y", every_s=1)))
    turn_id, device = await cut_off(bench, "lo", " ")
    letters = owner_says(bench, turn_id, *deltas, end="Hel" + "".join(deltas))
    await heard_by(bench, *letters)
    assert bench.backend.open == 0
    assert device.end.content == "Hel" + "".join(deltas)
    assert device.text == {"m-1": text}
    assert [(chunk.from_seq, chunk.seq) for chunk in device.of(MessageChunk)] == seqs


async def test_who_joins_meanwhile_hears_what_the_others_there_heard():
    bench = many(FakeBackend(answer("Hel", "lo", " ", "x", "y", every_s=1)))
    turn_id, device = await cut_off(bench, "lo", " ")
    await heard_by(bench, *owner_says(bench, turn_id, "l"))
    late = await bench.device()
    assert late.text == {"m-1": "Hello "}
    await heard_by(bench, *owner_says(bench, turn_id, "o", " ", "world", end="Hello world"))
    assert late.text == device.text == {"m-1": "Hello world"}


async def test_letters_of_the_owner_before_fence_nobody():
    bench = many(FakeBackend([Delta("lo"), Pause(1), Finished()]))
    bench.backend.resumes = True
    device = await bench.device()
    bench.relay.take_over(taken(heard(*SAID[:2]), position="2"))
    await heard_by(bench, *LETTERS[:2])
    await bench.idle()
    assert (device.text, device.end.finish_reason) == ({"m-9": "Hello"}, "stop")


async def test_a_turn_whose_owner_and_journal_are_gone_is_ended_by_every_node_that_heard_it():
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    node = asyncio.create_task(bench.node.run())
    for each in LETTERS[:2]:
        bench.inbox.queue.put_nowait(each)
    await device.until(lambda d: d.of(MessageEnd))
    assert (device.end.content, device.end.finish_reason) == ("Hel", "interrupted")
    assert SILENT_S < now() < SILENT_S + 10
    node.cancel()
    await asyncio.gather(node, return_exceptions=True)


async def test_a_silent_turn_that_the_journal_knows_is_mended_and_goes_on():
    bench = many(FakeBackend([HANG]))
    device = await bench.device()
    await bench.journal.claim(taken(heard()).claim)
    for each in LETTERS[:3]:
        MemoryJournal.append(bench.journal, "t-9", 1, each.batch)
    node = asyncio.create_task(bench.node.run())
    for each in LETTERS[:2]:
        bench.inbox.queue.put_nowait(each)
    await asyncio.sleep(3 * SILENT_S)
    assert (device.text, device.of(MessageEnd)) == ({"m-9": "Hello"}, [])
    node.cancel()
    await asyncio.gather(node, return_exceptions=True)
