"""Who is let in, for how long, and how much they may ask; with fakes, and time that the test moves."""

import asyncio
from collections import Counter

import pytest
from fakes import HANG, Bench, FakeBackend

from bridge.admission import Admission, AdmissionLimits
from bridge.errors import RequestError
from bridge.identity import Identity, Removal
from bridge.members import KNOWN_LIMIT, Members


class MovedClock:
    def __init__(self):
        self.now_s = 1000.0

    def monotonic_s(self):
        return self.now_s


class Tokens:
    """Knows tokens like ``ann``, ``ann until 1010`` or ``ann made 1005``."""

    async def identify(self, token):
        if token is None:
            raise RequestError("unauthorized", "unable to let the device in; it brings no token")
        user, what, at_s = token.partition(" until " if " until " in token else " made ")
        when = {" until ": "expires_at_s", " made ": "issued_at_s"}.get(what)
        return Identity(user, **({when: float(at_s)} if when else {}))


class Lists:
    def __init__(self, lasts_s=10.0):
        self.lasts_s = lasts_s
        self.members = set()
        self.asked = []
        self.answers = True
        self.holds_up = None

    async def allows(self, identity, room_id):
        self.asked.append((identity.user, room_id))
        if self.holds_up is not None:
            answer, (asked, held) = (identity.user, room_id) in self.members, self.holds_up
            asked.set()
            await held.wait()
            return answer
        if not self.answers:
            raise RequestError("membership_unknown", "unable to act in the room; nobody says")
        return (identity.user, room_id) in self.members


class NoFaults:
    def __init__(self):
        self.refusals = Counter()

    def fault(self, error):
        raise error

    def refused(self, what, code):
        self.refusals[what, code] += 1


class Door:
    """One admission, and what it said to end."""

    def __init__(self, **limits):
        self.clock, self.lists, self.ended, self.facts = MovedClock(), Lists(), [], NoFaults()
        known = {
            "events_per_second": 10.0,
            "events_burst": 20,
            "connections_per_user": 3,
            "connections_per_address": 2,
            "rooms_per_device": 2,
            "removal_s": 60.0,
        }
        self.admission = Admission(
            authenticator=Tokens(),
            membership=self.lists,
            limits=AdmissionLimits(**{**known, **limits}),
            telemetry=self.facts,
            clock=self.clock,
            wall=self.clock.monotonic_s,
        )

    async def admit(self, token="ann"):
        return await self.admission.admit(token, lambda *what: self.ended.append(what))

    def remove(self, user, room_id):
        self.admission.remove(Removal(user, room_id, self.clock.now_s))


def refused(code):
    return pytest.raises(RequestError, check=lambda error: error.code == code)


async def test_events_are_limited_and_who_does_not_mind_is_sent_away():
    door = Door()
    admitted = await door.admit()
    for _ in range(20):
        admitted.take_event()
    for _ in range(50):
        with refused("rate_limited"):
            admitted.take_event()
    assert not door.ended
    with refused("rate_limited"):
        admitted.take_event()
    assert door.ended == [("rate_limited", None)]
    assert door.facts.refusals == {("access", "rate_limited"): 1}
    door.clock.now_s += 100
    with refused("rate_limited"):
        admitted.take_event()
    assert len(door.ended) == 1


async def test_who_waits_may_go_on():
    door = Door()
    admitted = await door.admit()
    for _ in range(20):
        admitted.take_event()
    with refused("rate_limited"):
        admitted.take_event()
    door.clock.now_s += 0.1
    admitted.take_event()


async def test_many_devices_of_a_user_may_ask_no_more_than_one():
    door = Door()
    first, second, other = [await door.admit(user) for user in ("ann", "ann", "bob")]
    for _ in range(10):
        first.take_event()
        second.take_event()
    with refused("rate_limited"):
        second.take_event()
    other.take_event()


async def test_connections_of_a_user_and_of_an_address_are_counted_and_given_back():
    door = Door()
    held = [await door.admit() for _ in range(3)]
    with refused("too_many_connections"):
        await door.admit()
    await door.admit("bob")
    held[0].close()
    held[0].close()
    await door.admit()
    with refused("too_many_connections"):
        await door.admit()

    for _ in range(2):
        door.admission.arrive("1.2.3.4")
    with refused("too_many_connections"):
        door.admission.arrive("1.2.3.4")
    door.admission.arrive("1.2.3.5")
    door.admission.depart("1.2.3.4")
    door.admission.arrive("1.2.3.4")


async def test_a_visit_gives_everything_back():
    door = Door(connections_per_user=1, connections_per_address=1)
    for token in ("ann", "ann"):
        async with door.admission.visit("1.2.3.4", token, lambda *_: None) as admitted:
            assert admitted.identity.user == "ann"
            with refused("too_many_connections"):
                door.admission.check_address("1.2.3.4")
    with refused("unauthorized"):
        async with door.admission.visit("1.2.3.4", None, lambda *_: None):
            pass
    door.admission.check_address("1.2.3.4")


async def test_a_room_is_for_its_members_and_a_device_is_in_few():
    door = Door()
    admitted = await door.admit()
    with refused("not_a_member"):
        await admitted.enter(1)
    door.clock.now_s += 3
    door.lists.members = {("ann", 1), ("ann", 2), ("ann", 3)}
    await admitted.enter(1)
    await admitted.enter(1)
    await admitted.enter(2)
    with refused("too_many_rooms"):
        await admitted.enter(3)
    admitted.leave(1)
    await admitted.enter(3)


async def test_an_answer_is_asked_for_once_as_long_as_it_holds():
    door = Door()
    door.lists.members = {("ann", 1)}
    admitted = await door.admit()
    for _ in range(5):
        await admitted.check(1)
    assert len(door.lists.asked) == 1
    door.clock.now_s += 10
    await admitted.check(1)
    assert len(door.lists.asked) == 2


async def test_a_refusal_holds_only_for_a_moment():
    door = Door()
    admitted = await door.admit()
    for _ in range(5):
        with refused("not_a_member"):
            await admitted.check(1)
    assert len(door.lists.asked) == 1
    door.lists.members = {("ann", 1)}
    door.clock.now_s += 2
    await admitted.check(1)


async def test_who_is_removed_hears_the_room_no_longer_than_an_answer_holds():
    door = Door()
    door.lists.members = {("ann", 1), ("ann", 2), ("bob", 1)}
    ann, also_ann, bob = [await door.admit(user) for user in ("ann", "ann", "bob")]
    for each in (ann, also_ann, bob):
        await each.enter(1)
    await ann.enter(2)
    await door.admission.sweep()
    door.lists.members.remove(("ann", 1))
    door.clock.now_s += 5
    await door.admission.sweep()
    assert door.ended == [("not_a_member", 1)] * 2
    assert (ann.rooms, also_ann.rooms, bob.rooms) == ({2}, set(), {1})
    with refused("not_a_member"):
        ann.check_entered(1)


async def test_a_removal_that_is_told_ends_it_at_once_and_no_answer_of_before_counts():
    door = Door()
    door.lists.members = {("ann", 1), ("ann", 2), ("bob", 1)}
    ann, also_ann, bob = [await door.admit(user) for user in ("ann", "ann", "bob")]
    for each in (ann, also_ann, bob):
        await each.enter(1)
    await ann.enter(2)
    door.lists.members.remove(("ann", 1))
    door.remove("ann", 1)
    assert door.ended == [("not_a_member", 1)] * 2
    assert door.facts.refusals == {("access", "not_a_member"): 2}
    assert (ann.rooms, also_ann.rooms, bob.rooms) == ({2}, set(), {1})
    with refused("not_a_member"):
        await ann.check(1)
    door.lists.members.add(("ann", 1))
    door.clock.now_s += 2
    await ann.enter(1)  # the backend decides, and may have changed its mind


async def test_an_answer_that_was_asked_for_before_a_removal_is_asked_for_again():
    door = Door()
    door.lists.members = {("ann", 1)}
    admitted = await door.admit()
    door.lists.holds_up = asked, held = asyncio.Event(), asyncio.Event()
    entering = asyncio.create_task(admitted.enter(1))
    await asked.wait()
    door.lists.members.clear()
    door.remove("ann", 1)
    door.lists.holds_up = None
    held.set()
    with refused("not_a_member"):
        await entering
    assert not admitted.rooms


async def test_a_token_that_names_a_room_from_before_a_removal_opens_it_no_more():
    door = Door()
    door.lists.members, door.lists.lasts_s = {("ann", 1), ("ann", 2), ("bob", 1)}, 0.0
    ann = await door.admit("ann made 1000")
    await ann.enter(1)
    door.remove("ann", 1)
    assert door.ended == [("not_a_member", 1)]
    for token in ("ann made 1000", "ann", "ann made 1004"):  # their clocks need not be ours
        again = await door.admit(token)
        with refused("not_a_member"):
            await again.check(1)
        await again.check(2)
        again.close()
    await (await door.admit("bob")).enter(1)
    await (await door.admit("ann made 1006")).enter(1)
    door.clock.now_s += 61
    await ann.enter(1)


async def test_removals_that_are_remembered_are_not_many():
    clock = MovedClock()
    members = Members(Lists(0.0), clock.monotonic_s, removal_s=60.0)
    for number in range(KNOWN_LIMIT + 10):
        members.remove(Removal("ann", number, 0.0))
    assert len(members._removed) == KNOWN_LIMIT
    clock.now_s += 61
    for number in range(10):
        members.remove(Removal("bob", number, 0.0))
    assert len(members._removed) == KNOWN_LIMIT


async def test_who_is_in_stays_while_nobody_can_say_but_may_do_nothing_new():
    door = Door()
    door.lists.members = {("ann", 1)}
    admitted = await door.admit()
    await admitted.enter(1)
    door.lists.answers = False
    door.clock.now_s += 20
    await door.admission.sweep()
    assert not door.ended
    with refused("membership_unknown"):
        await admitted.check(1)


async def test_a_token_ends_and_takes_its_device_along():
    door = Door()
    admitted = await door.admit("ann until 1010")
    admitted.take_event()
    door.clock.now_s = 1010
    with refused("token_expired"):
        admitted.take_event()
    assert door.ended == [("token_expired", None)]
    silent = await door.admit("bob until 1020")
    door.clock.now_s = 1020
    await door.admission.sweep()
    assert len(door.ended) == 2
    with refused("token_expired"):
        silent.check_entered(1)


async def test_a_newer_token_of_the_same_user_goes_on():
    door = Door()
    door.lists.members = {("ann", 1), ("ann", 2)}
    door.lists.lasts_s = 0.0
    admitted = await door.admit("ann until 1010")
    await admitted.enter(1)
    await admitted.enter(2)
    with refused("unauthorized"):
        await admitted.renew("bob")
    door.lists.members.remove(("ann", 2))
    await admitted.renew("ann until 1030")
    assert door.ended == [("not_a_member", 2)]
    door.clock.now_s = 1020
    admitted.take_event()
    assert await door.admission.is_of(admitted, "ann")
    assert not await door.admission.is_of(admitted, "bob")
    assert not await door.admission.is_of(admitted, None)


async def test_a_newer_token_counts_from_then_on_and_who_is_gone_is_not_told():
    door = Door()
    longer, shorter, gone = [await door.admit(f"{user} until 1010") for user in ("ann", "bob", "eve")]
    await longer.renew("ann until 1030")
    await shorter.renew("bob until 1005")
    gone.close()
    for now_s, ended in ((1004, 0), (1005, 1), (1029, 1), (1030, 2)):
        door.clock.now_s = now_s
        await door.admission.sweep()
        assert len(door.ended) == ended
    assert not len(door.admission._rules.expiries)


async def test_it_sweeps_until_it_is_cancelled():
    door = Door()
    await door.admit("ann until 1010")
    door.clock.now_s = 1020
    running = asyncio.create_task(door.admission.run())
    async with asyncio.timeout(5):
        while not door.ended:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait({running})


async def test_answers_under_way_are_limited_per_user_and_per_node():
    bench = Bench(FakeBackend([HANG]), turns_per_room=99, turns_per_user=2, turns_per_node=3)
    devices = [await bench.device() for _ in range(3)]
    for device, user in zip(devices, ("ann", "bob", ""), strict=True):
        device.user = user
    ann, bob, nobody = devices
    sent = await asyncio.gather(*(bench.send(ann, f"r-{n}") for n in range(9)), return_exceptions=True)
    assert [each.code for each in sent if isinstance(each, RequestError)] == ["busy"] * 7
    await bench.send(bob, "b-1")
    for device in (bob, nobody):
        with refused("busy"):
            await bench.send(device, "b-2")
    await bench.relay.stop(ann, "room", request_id="r-0")
    await bench.send(nobody, "n-1")
    await bench.relay.drain(0.1)
