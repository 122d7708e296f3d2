"""What devices tell of what they have: acks of a sample, and gaps that they report."""

import asyncio

from loopback import Client, running

from bridge.facts import Happening
from bridge.messages import MessageChunk, MessageEnd, MessageStart
from bridge.sockets.confirmations import TRIES, WAITING_LIMIT, Confirmations

END = MessageEnd("r", "room", "m", "text", "stop")
FIRST, SECOND = MessageChunk("r", "room", "m", 1, "a"), MessageChunk("r", "room", "m", 2, "b")
MERGED = MessageChunk("r", "room", "m", 7, "abc", 1)


class World:
    """A clock, the acks that clients owe, and what is counted."""

    def __init__(self, share=1.0, chance=0.5):
        self.now_s = 0.0
        self.owed = {}
        self.counted = []
        self.took = []
        self.asks = Confirmations(
            self.number,
            self,
            lambda event, after_s: self.took.append((event, after_s)),
            now=lambda: self.now_s,
            chance=lambda: chance,
            share=share,
            within_s=5.0,
        )

    def number(self, _, callback):
        self.owed[len(self.owed) + 1] = callback
        return len(self.owed)

    def happened(self, what, times=1):
        self.counted += [what] * times


def test_the_first_chunk_and_the_end_are_asked_for():
    world = World()
    assert world.asks.chosen("a")
    asked = [
        world.asks.number_for("a", each)
        for each in (MessageStart("r", "room", "m"), FIRST, SECOND, END, MERGED)
    ]
    assert asked == [None, 1, None, 2, 3]
    assert world.asks.number_for("b", END) is None
    world.now_s = 0.5
    for callback in list(world.owed.values()):
        callback("whatever", "it", "says")
        callback()
    assert world.took == [("first_chunk", 0.5), ("end", 0.5), ("first_chunk", 0.5)]
    assert world.counted == [Happening.CONFIRMED] * 3


def test_only_who_has_confirmed_can_fail_to_and_not_for_ever():
    world = World()
    world.asks.chosen("never")
    world.asks.chosen("once")
    world.asks.number_for("once", END)
    world.owed[1]()
    for _ in range(TRIES + 3):
        for sid in ("never", "once"):
            world.asks.number_for(sid, END)
    world.now_s = 4.9
    world.asks.sweep()
    assert Happening.UNCONFIRMED not in world.counted
    world.now_s = 5.1
    world.asks.sweep()
    assert world.counted.count(Happening.UNCONFIRMED) == TRIES
    world.owed[2]()  # too late
    assert len(world.took) == 1


def test_who_is_gone_lacks_nothing():
    world = World()
    world.asks.chosen("a")
    world.asks.number_for("a", END)
    world.owed[1]()
    world.asks.number_for("a", END)
    world.asks.gone("a")
    world.now_s = 10
    world.asks.sweep()
    world.owed[2]()
    assert world.counted == [Happening.CONFIRMED]


def test_a_share_of_the_devices_is_asked_and_so_many_at_once():
    assert not World(share=0.5, chance=0.5).asks.chosen("a")
    assert not World(share=0.0, chance=0.0).asks.chosen("a")
    world = World(share=0.6)
    for number in range(WAITING_LIMIT + 10):
        world.asks.chosen(str(number))
        world.asks.number_for(str(number), END)
    assert len(world.owed) == WAITING_LIMIT


def counts(bridge, *names):
    text = bridge.metrics.text().decode()
    return [float(text.partition(f"\n{name} ")[2].partition("\n")[0]) for name in names]


async def until(bridge, name, value):
    async with asyncio.timeout(60):
        while counts(bridge, name) != [value]:
            await asyncio.sleep(0.01)


async def turn(client, script, name):
    await client.call("send_message", {"roomId": 1, "content": "x", "requestId": name})
    script.say("a", "b")
    script.finish()
    ends = len(client.of("ai_message_end"))
    await client.until("ai_message_end", ends + 1)


async def test_a_real_client_confirms_and_hears_the_same(script):
    async with running(script, confirm_percent=100.0) as bridge, Client(bridge.address) as client:
        await client.call("join_room", {"roomId": 1})
        await turn(client, script, "r-1")
        await until(bridge, "bridge_confirmations_total", 2)
        assert [end["content"] for end in client.of("ai_message_end")] == ["ab"]
        assert "".join(chunk["delta"] for chunk in client.of("ai_message_chunk")) == "ab"
        assert counts(
            bridge,
            'bridge_device_confirm_seconds_count{event="first_chunk"}',
            'bridge_device_confirm_seconds_count{event="end"}',
            "bridge_confirmations_missing_total",
        ) == [1, 1, 0]


async def test_nobody_is_asked_by_default(script):
    async with running(script) as bridge, Client(bridge.address) as client:
        await client.call("join_room", {"roomId": 1})
        await turn(client, script, "r-1")
        await client.call("leave_room", {"roomId": 1})
        assert counts(bridge, "bridge_confirmations_total") == [0]


async def test_a_device_that_asks_for_what_it_was_told_reports_a_gap_once_a_turn(script):
    async with (
        running(script) as bridge,
        Client(bridge.address) as client,
        Client(bridge.address) as other,
        Client(bridge.address) as third,
    ):
        for each in (client, other, third):
            await each.call("join_room", {"roomId": 1})
        await turn(client, script, "r-1")
        whole = {"roomId": 1, "messageId": "m-r-1", "seq": client.of("ai_message_chunk")[-1]["seq"]}
        await client.call("resume", whole)
        assert counts(bridge, "bridge_gaps_reported_total") == [0], "it lacks nothing"
        for each in (other, third, other):
            await each.call("resume", {**whole, "seq": 0})
        assert counts(bridge, "bridge_gaps_reported_total", "bridge_resumes_total") == [1, 4]


async def test_who_comes_late_or_comes_back_reports_no_gap(script):
    async with running(script) as bridge, Client(bridge.address) as client:
        await client.call("join_room", {"roomId": 1})
        await client.call("send_message", {"roomId": 1, "content": "x", "requestId": "r-1"})
        script.say("a")
        await client.until("ai_message_chunk")
        async with Client(bridge.address) as back:
            await back.call("join_room", {"roomId": 1})
            await back.call("resume", {"roomId": 1, "messageId": "m-r-1", "seq": 0})
            script.finish()
            await back.until("ai_message_end")
            await back.call("resume", {"roomId": 1, "messageId": "m-r-1", "seq": 0})
        async with Client(bridge.address) as late:
            await late.call("join_room", {"roomId": 1, "resume": {"m-r-1": 0}})
            await late.call("resume", {"roomId": 1, "messageId": "m-r-1", "seq": 0})
        assert counts(bridge, "bridge_gaps_reported_total") == [0]
