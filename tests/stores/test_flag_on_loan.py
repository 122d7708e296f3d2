"""The flag is lent to a measurement, and is what it was afterwards, unless somebody meant otherwise."""

import asyncio

import pytest

from bridge.changes import Edit, Reason
from bridge.commands.validation import loan
from bridge.commands.validation.loan import lent
from bridge.errors import StoreUnavailable
from bridge.rollout import default_rollout
from bridge.stores.memory import MemoryFlag


@pytest.fixture(autouse=True)
def obeyed_at_once(monkeypatch):
    monkeypatch.setattr(loan, "OBEYED_S", 0)


@pytest.fixture
def flag():
    return MemoryFlag(default_rollout(enabled=False), lambda: "now", lambda _: None)


async def value(flag):
    return (await flag.state()).rollout.value


async def test_it_is_set_and_put_back_with_the_reason(flag):
    await flag.change(Edit(25), Reason("ann", "pilot"))
    told = []
    async with lent(flag, "run 1", told.append) as borrowed:
        for wanted in ("off", "on"):
            await borrowed.set(wanted)
            assert await value(flag) == wanted
    assert await value(flag) == 25
    assert told == ["the flag is 25 % again"]
    last = (await flag.state()).history[0].reason
    assert (last.who, last.why) == ("validate", "run 1")


async def test_a_default_is_put_back_as_its_value(flag):
    async with lent(flag, "run 1", lambda _: None) as borrowed:
        await borrowed.set("on")
    assert await value(flag) == "off"


async def test_whoever_changed_it_meanwhile_had_a_reason(flag):
    await flag.change(Edit(25), Reason("ann", "pilot"))
    told = []
    async with lent(flag, "run 1", told.append) as borrowed:
        await borrowed.set("on")
        await flag.change(Edit("off"), Reason("guard", "errors"))
    assert await value(flag) == "off"
    assert told == ["the flag stays off: guard has set it meanwhile; it was 25 %"]


async def test_one_that_was_never_set_is_not_touched(flag):
    told = []
    async with lent(flag, "run 1", told.append):
        pass
    assert told == ["the flag was not touched"]
    assert not (await flag.state()).history


class SlowFlag:
    """Takes a change in, and answers only when it is let."""

    def __init__(self, flag):
        self.flag = flag
        self.asked, self.answer = asyncio.Event(), asyncio.Event()
        self.state = flag.state

    async def change(self, edit, reason):
        self.asked.set()
        await self.answer.wait()
        return await self.flag.change(edit, reason)


async def test_a_change_under_way_when_it_is_stopped_is_put_back_too(flag):
    slow = SlowFlag(flag)

    async def measure():
        async with lent(slow, "run 1", lambda _: None) as borrowed:
            await borrowed.set("on")

    measuring = asyncio.create_task(measure())
    await slow.asked.wait()
    measuring.cancel()
    await asyncio.sleep(0)
    slow.answer.set()
    await asyncio.gather(measuring, return_exceptions=True)
    assert measuring.cancelled()
    assert [change.rollout.value for change in (await flag.state()).history] == ["off", "on"]


class LostFlag:
    """Its bridge goes away after the first change."""

    def __init__(self, flag):
        self.state = flag.state
        self.change = flag.change

    def lose(self):
        async def gone():
            raise StoreUnavailable("unable to ask for the flag; gone")

        self.state = gone


async def test_when_it_cannot_be_put_back_that_is_said_loudly(flag):
    lost, told = LostFlag(flag), []

    async def measure():
        async with lent(lost, "run 1", told.append) as borrowed:
            await borrowed.set("on")
            lost.lose()

    with pytest.raises(StoreUnavailable):
        await measure()
    assert "WAS NOT PUT BACK, it was off" in told[0]
