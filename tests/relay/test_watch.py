"""The guard of a node, over a flag and a tally in memory: what it does, once, and what it only says."""

import asyncio

import pytest
from fakes import Facts, FakeClock
from guard_turns import report

from bridge.changes import Edit, Reason
from bridge.errors import FlagRefused, StoreUnavailable
from bridge.facts import Happening
from bridge.figures import Gathered
from bridge.guard import Kind, Limits, Standing
from bridge.rollout import Rollout
from bridge.stores.memory import MemoryFlag, MemoryTally
from bridge.watch import Watch

ANN = Reason("ann", "by hand")
WINDOW_S = 60.0


class Cluster:
    """Nodes that share a flag and a tally; each may be cut off from the tally."""

    def __init__(self, value="on", *, pulls=True, nodes=2, **limits):
        self.clock, self.facts, self.told = FakeClock(), Facts(), []
        self.flag = MemoryFlag(Rollout(value), self.clock.utc)
        self.tally = MemoryTally(self.clock.monotonic_s, window_s=WINDOW_S)
        self.limits = Limits(**{"sample": 10, **limits})
        self.cut_off = False
        self.pulls = pulls
        self.gathered = [Gathered(self.clock.monotonic_s) for _ in range(nodes)]
        self.nodes = [self.node(number) for number in range(nodes)]
        self.numbers = 0

    def node(self, number):
        return Watch(
            flag=self.flag,
            tally=self,
            gathered=self.gathered[number],
            limits=self.limits,
            window_s=WINDOW_S,
            pulls=self.pulls,
            tell=self.told.append,
            telemetry=self.facts,
            clock=self.clock,
            name=f"node-{number}",
        )

    async def add(self, era, _, figures):
        """Stand in the tally's place: numbers of several nodes are told apart here."""
        if self.cut_off:
            raise StoreUnavailable("unable to ask")
        self.numbers += 1
        return await self.tally.add(era, self.numbers, figures)

    def turns(self, count, node=0, **facts):
        for _ in range(count):
            self.gathered[node].turn_ended(report(**{"completion_s": 0.0, **facts}))

    async def look(self):
        for node in self.nodes:
            await node.look()

    async def history(self):
        return [(c.rollout.value, c.reason.who) for c in (await self.flag.state()).history]


async def test_a_storm_on_all_nodes_trips_the_flag_once_with_the_reason():
    cluster = Cluster()
    cluster.turns(6, 0, finish_reason="error")
    cluster.turns(6, 1, finish_reason="error")
    await cluster.look()
    await cluster.look()
    (change,) = (await cluster.flag.state()).history
    assert (change.rollout.value, change.reason.who) == ("off", "guard")
    assert change.reason.why == "failed turns: 100.0 % of 12, limit 1 % (seen by node-1)"
    (told,) = cluster.told
    assert (told.move.kind, told.made) == (Kind.TRIP, True)
    assert cluster.facts.counted[Happening.GUARD_TRIPPED] == 1
    assert {node.standing for node in cluster.nodes} == {Standing.TRIPPED}


async def test_what_turned_it_off_does_not_turn_it_off_again():
    cluster = Cluster()
    cluster.turns(20, finish_reason="error")
    await cluster.look()
    await asyncio.sleep(1)
    await cluster.flag.change(Edit("on"), ANN)
    await cluster.look()
    await asyncio.sleep(1)
    cluster.turns(20, finish_reason="error", completion_s=5)  # they ran when it was armed again
    cluster.turns(20)
    await cluster.look()
    assert await cluster.history() == [("on", "ann"), ("off", "guard")]
    cluster.turns(20, finish_reason="error")
    await cluster.look()
    assert len(await cluster.history()) == 3


async def test_a_change_by_hand_in_between_stands():
    cluster = Cluster(25)

    class Late(MemoryFlag):
        """Ann is quicker."""

        async def change(self, edit, reason):
            await super().change(Edit(50), ANN)
            return await super().change(edit, reason)

    cluster.flag = Late(Rollout(25), cluster.clock.utc)
    cluster.nodes = [cluster.node(0)]
    cluster.turns(20, finish_reason="error")
    await cluster.look()
    assert await cluster.history() == [(50, "ann")]
    assert not cluster.told


async def test_a_dry_run_says_what_it_would_do_once_until_it_is_sound_again():
    cluster = Cluster(pulls=False, nodes=1)
    for _ in range(3):
        cluster.turns(20, finish_reason="error")
        await cluster.look()
    (told,) = cluster.told
    assert (told.made, told.move.kind) == (False, Kind.TRIP)
    assert cluster.facts.counted == {Happening.GUARD_REFRAINED: 1}
    assert await cluster.history() == []
    assert not await cluster.nodes[0].pull("an alert")
    await asyncio.sleep(2 * WINDOW_S)
    cluster.turns(20)
    await cluster.look()
    cluster.turns(20, finish_reason="error")
    await cluster.look()
    assert len(cluster.told) == 2


async def test_half_open_tries_a_few_rooms_and_gives_them_all_back():
    cluster = Cluster(50, half_open=5, rest_s=30)
    cluster.turns(20, finish_reason="error")
    await cluster.look()
    await asyncio.sleep(29)
    await cluster.look()
    assert await cluster.history() == [("off", "guard")]
    await asyncio.sleep(1)
    await cluster.look()
    assert (await cluster.history())[0] == (5, "guard")
    assert {node.standing for node in cluster.nodes} == {Standing.HALF_OPEN}
    cluster.turns(20)
    await cluster.look()
    await cluster.look()
    assert (await cluster.history())[0] == (50, "guard")
    assert [told.move.kind for told in cluster.told] == [Kind.TRIP, Kind.REOPEN, Kind.CLOSE]
    assert cluster.facts.counted[Happening.GUARD_REARMED] == 1


async def test_a_node_without_news_asks_nobody():
    cluster = Cluster()
    await cluster.look()
    cluster.turns(1)
    await cluster.look()
    assert cluster.numbers == 1


async def test_what_the_store_did_not_take_is_sent_again_and_forgotten_after_a_window():
    cluster = Cluster(nodes=1)
    cluster.cut_off = True
    cluster.turns(6, finish_reason="error")
    with pytest.raises(StoreUnavailable):
        await cluster.look()
    cluster.cut_off = False
    cluster.turns(6, finish_reason="error")
    await cluster.look()
    await cluster.look()
    assert len(await cluster.history()) == 1
    await cluster.flag.change(Edit("on"), ANN)
    await cluster.look()
    await asyncio.sleep(1)
    cluster.cut_off = True
    (node,) = cluster.nodes
    for _ in range(3):
        cluster.turns(20, finish_reason="error")
        with pytest.raises(StoreUnavailable):
            await node.look()
        await asyncio.sleep(WINDOW_S)
        node._wait_for_store()
    cluster.cut_off = False
    await cluster.look()
    assert len(await cluster.history()) == 2


async def test_somebody_else_pulls_it_once():
    cluster = Cluster()
    assert await cluster.nodes[0].pull("an alert")
    assert not await cluster.nodes[1].pull("an alert")
    (change,) = (await cluster.flag.state()).history
    assert change.reason.why == "an alert (seen by node-0)"
    await cluster.flag.change(Edit("on"), ANN)
    await cluster.flag.change(Edit("off"), ANN)
    assert not await cluster.nodes[1].pull("an alert"), "it is off"


async def test_a_flag_that_cannot_be_changed_is_told_and_watched_on():
    cluster = Cluster(nodes=1)

    class Refusing(MemoryFlag):
        async def change(self, *_):
            raise FlagRefused("unable to set the flag")

    cluster.flag = Refusing(Rollout("on"), cluster.clock.utc)
    node = cluster.node(0)
    cluster.turns(20, finish_reason="error")
    with pytest.raises(FlagRefused):
        await node.look()
    assert node.standing is Standing.WATCHING
