import asyncio

import pytest
from stub_caller import Caller, until

from backend_stub.errors import HistoryError
from backend_stub.history import History
from backend_stub.model import Pace

LONG_S = 200.0
"""Longer than any machine stands still, and than a test takes."""


class SlowHistory(History):
    """Stores once it is let to, and can fail at it; tells what came."""

    def __init__(self, url):
        super().__init__(url)
        self.let = asyncio.Event()
        self.asked = []
        self.fails = False

    async def add(self, message):
        self.asked.append(message.role)
        if self.fails:
            raise HistoryError("unable to store a message; planted")
        await self.let.wait()
        await super().add(message)

    async def put(self, message):
        if self.fails:
            raise HistoryError("unable to store a message; planted")
        await self.let.wait()
        await super().put(message)


@pytest.fixture
def slow(settings):
    return SlowHistory(settings().database_url)


async def test_the_stream_never_waits_for_storing(start, session, slow):
    caller = Caller(session, await start(history=slow))
    assert (await caller.stream()).done
    assert (await caller.complete(requestId="r2"))[0] == 200
    again = await caller.stream()  # stored nowhere yet, so it is in memory still
    assert again.done
    assert caller.backend.tally.calls["r1"].answers == 1
    assert (await caller.room())["messages"] == []
    slow.let.set()
    stored = await caller.stored(4)
    assert again.text in {row["content"] for row in stored}


async def test_a_prompt_is_stored_before_its_answer(start, session, slow):
    caller = Caller(session, await start(history=slow))
    await caller.stream()
    await asyncio.sleep(0.01)
    assert slow.asked == ["user"]
    slow.let.set()
    assert [message["role"] for message in await caller.stored(2)] == ["user", "assistant"]


async def test_the_prompt_is_stored_after_the_start_and_long_before_the_end(start, session, slow):
    slow.let.set()
    caller = Caller(session, await start(history=slow, pace=Pace(5, 0, LONG_S)))
    async with caller.post() as response:
        await response.content.readuntil(b"\n\n")
        await until(lambda: slow.asked)
        assert slow.asked[0] == "user"
        assert (await caller.stored(1))[0]["content"] == "Hi"
        response.close()


async def test_the_prompt_of_a_stream_that_did_not_start_is_not_stored(start, session, slow):
    backend = await start(history=slow, fault="hang")
    async with Caller(session, backend).post() as response:
        await response.content.readuntil(b"\n\n")
        assert slow.asked == []


async def test_the_complete_call_stores_its_prompt_while_it_waits(start, session):
    caller = Caller(session, await start())
    call = asyncio.create_task(caller.complete(firstTokenSeconds=LONG_S))
    assert [message["role"] for message in await caller.stored(1)] == ["user"]
    call.cancel()
    await asyncio.wait({call})
    _, message = await caller.complete(roomId=43)
    assert (await caller.stored(2, "43"))[1] == message | {"status": "success"}


async def test_a_database_that_fails_stops_no_stream(start, session, slow, caplog):
    backend = await start(history=slow)
    slow.fails = True
    assert (await Caller(session, backend).stream()).done
    await until(lambda: backend.tally.store_failures == 2)
    assert "not stored" in caplog.text


async def test_repeated_post_gets_the_stored_answer(caller):
    first = await caller.stream()
    stored = await caller.stored(2)
    again = await caller.stream()
    _, complete = await caller.complete()
    assert again.raw == first.raw
    assert complete | {"status": "success"} == stored[1]
    assert caller.backend.tally.calls["r1"].posts == 3
    assert caller.backend.tally.calls["r1"].answers == 1
    assert len((await caller.room())["messages"]) == 2


async def test_repeated_posts_attach_to_the_running_answer(start, session):
    caller = Caller(session, await start(pace=Pace(12, 100, 0.05)))
    *streams, (_, complete) = await asyncio.gather(*(caller.stream() for _ in range(5)), caller.complete())
    assert {heard.raw for heard in streams} == {streams[0].raw}
    assert complete["content"] == streams[0].text
    assert caller.backend.tally.calls["r1"].answers == 1


async def test_the_same_request_id_in_another_room_is_another_request(caller):
    texts = {(await caller.stream(roomId=room)).text for room in (42, "42", 43)}
    assert len(texts) == 3


async def test_a_restart_does_not_make_a_second_answer(start, session):
    first_backend = await start()
    first = await Caller(session, first_backend).stream()
    await first_backend.stop()
    second_backend = await start()
    again = await Caller(session, second_backend).stream()
    assert again.raw == first.raw
    assert second_backend.tally.calls["r1"].answers == 0


async def test_one_backend_can_be_started_again_at_its_address(caller, backend):
    first = await caller.stream()
    address = backend.base_url
    await backend.stop()
    assert await backend.start() == address
    assert (await caller.stream()).raw == first.raw


async def test_last_event_id_resumes_behind_that_frame(caller):
    first = await caller.stream()
    for seen in (1, 5, 17, 18):
        resumed = await caller.stream({"Last-Event-ID": str(seen)})
        assert resumed.ids == first.ids[seen:]
        assert resumed.done
    assert (await caller.stream({"Last-Event-ID": "nonsense"})).raw == first.raw


async def test_a_caller_that_resumes_says_that_it_has_the_start(start, session):
    caller = Caller(session, await start(pace=Pace(5, 0, 0.6)))
    async with caller.post(headers={"Last-Event-ID": "3"}) as response:
        await caller.rows(1, ("pending",))
        assert (await response.content.readuntil(b"\n")).startswith(b"id: 4")


async def test_a_caller_that_was_cut_resumes_the_running_answer(start, session):
    backend = await start(pace=Pace(20, 100, 0), grace_s=LONG_S)
    caller = Caller(session, backend)
    begun = await caller.leave(frames=6)
    await until(lambda: backend.tally.dropped_by_caller == 1)
    seen = len(begun.frames)
    resumed = await caller.stream({"Last-Event-ID": str(seen)})
    assert resumed.ids[0] == str(seen + 1)
    assert (await caller.stored(2))[1]["content"] == begun.text + resumed.text
    assert backend.tally.calls["r1"].answers == 1


async def test_an_answer_without_caller_is_cancelled_after_the_grace(start, session):
    backend = await start(pace=Pace(1000, 100, 0), grace_s=0.1)
    caller = Caller(session, backend)
    begun = await caller.leave(frames=6)
    answer = (await caller.stored(2))[1]
    assert answer["finishReason"] == "cancelled"
    assert answer["content"].startswith(begun.text)
    again = await caller.stream()
    assert again.kinds[-1] == "abort"
    assert again.text == answer["content"]
    assert again.done
    assert backend.tally.open_streams == 0


async def test_an_answer_goes_on_while_one_caller_stays(start, session):
    backend = await start(pace=Pace(20, 100, 0), grace_s=0.05)
    caller = Caller(session, backend)
    staying = asyncio.create_task(caller.stream())
    await until(lambda: backend.tally.open_streams == 1)
    await caller.leave(frames=4)
    assert (await staying).kinds[-1] == "finish"


async def test_stopping_stores_what_there_is(start, session):
    backend = await start(pace=Pace(1000, 5, 0))
    caller = Caller(session, backend)
    call = asyncio.create_task(caller.stream())
    await caller.stored(1)
    async with asyncio.timeout(60):  # its answer would take 200 s
        await backend.stop()
    heard = await call
    assert heard.kinds[-1] == "abort"
    await backend.start()
    assert (await caller.stored(2))[1]["content"] == heard.text


async def test_a_database_that_hangs_does_not_hold_the_end(start, session, slow):
    backend = await start(history=slow)
    await Caller(session, backend).stream()
    async with asyncio.timeout(60):
        await backend.stop()


async def every_row(caller):
    page = await caller.room(limit=50)
    rows = page["messages"]
    while page["next"]:
        page = await caller.room(limit=50, before=page["next"])
        rows = page["messages"] + rows
    return rows


async def test_many_answers_are_stored_once_each(caller):
    async def ask(number):
        return await caller.complete(requestId=f"r{number}")

    await asyncio.gather(*(ask(number) for number in range(60)), *(ask(number) for number in range(60)))
    async with asyncio.timeout(60):
        while len(rows := await every_row(caller)) < 120:
            await asyncio.sleep(0.05)
    assert len(rows) == 120
    assert len({(row["requestId"], row["role"]) for row in rows}) == 120
