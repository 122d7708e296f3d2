import asyncio
import os
import signal
import sqlite3
import sys

import pytest
from stub_caller import Caller, until

from backend_stub.errors import HistoryError
from backend_stub.history import History
from backend_stub.model import Pace
from tests.held_model import HeldModel


class WatchedHistory(History):
    """Tells which statuses were stored, in order, once it is let to; can fail at one of them."""

    def __init__(self, url, fails=()):
        super().__init__(url)
        self.seen = []
        self.fails = fails
        self.let = asyncio.Event()
        self.let.set()

    async def add(self, message):
        await self._watched(super().add, message)

    async def put(self, message):
        await self._watched(super().put, message)

    async def _watched(self, store, message):
        await self.let.wait()
        said = (message.role, message.status)
        self.seen.append(said)
        if said in self.fails:
            raise HistoryError("unable to store a message; planted")
        await store(message)


async def status_of_the_answer(caller, status):
    rows = await caller.rows(1, (status,))
    return next(row for row in rows if row["role"] == "assistant")


async def test_an_answer_is_pending_then_streaming_then_a_success(start, session):
    caller, model = Caller(session, await start()), HeldModel()
    caller.backend._provider = model
    call = asyncio.create_task(caller.stream(messageId="m1"))
    prompt, pending = await caller.rows(2, ("success", "pending"))
    assert (prompt["role"], prompt["status"]) == ("user", "success")
    assert (pending["role"], pending["messageId"], pending["content"]) == ("assistant", "m1", "")
    model.begins.set()
    (streaming,) = await caller.rows(1, ("streaming",))
    assert "finishReason" not in streaming
    model.goes_on.set()
    heard = await call
    prompt, answer = await caller.stored(2)
    assert (answer["status"], answer["finishReason"]) == ("success", "stop")
    assert answer["content"] == heard.text
    assert answer["createdAt"] == pending["createdAt"]


async def test_statuses_are_stored_in_order_and_each_once(start, session, settings):
    history = WatchedHistory(settings().database_url)
    caller, model = Caller(session, await start(history=history)), HeldModel()
    caller.backend._provider = model
    call = asyncio.create_task(caller.stream())
    await caller.rows(1, ("pending",))
    model.begins.set()
    await caller.rows(1, ("streaming",))
    model.goes_on.set()
    await call
    await caller.stored(2)
    assert history.seen == [
        ("user", "success"),
        ("assistant", "pending"),
        ("assistant", "streaming"),
        ("assistant", "success"),
    ]


async def test_an_answer_that_is_faster_than_the_database_goes_to_its_end_at_once(start, session, settings):
    history = WatchedHistory(settings().database_url)
    caller = Caller(session, await start(history=history))
    history.let.clear()
    await caller.stream()
    history.let.set()
    await caller.stored(2)
    assert history.seen[0] == ("user", "success")
    assert history.seen[-1] == ("assistant", "success")
    assert ("assistant", "streaming") not in history.seen


@pytest.mark.parametrize("status", ["pending", "streaming"])
async def test_a_status_that_is_not_stored_costs_nothing_but_itself(start, session, settings, status):
    history = WatchedHistory(settings().database_url, fails=[("assistant", status)])
    backend = await start(history=history, pace=Pace(3, 50, 0.05))
    caller = Caller(session, backend)
    heard = await caller.stream()
    assert (await caller.stored(2))[1]["content"] == heard.text
    assert backend.tally.store_failures == 0


async def test_a_model_that_fails_makes_an_error(start, session):
    caller = Caller(session, await start(pace=Pace(9, 0, 0)))
    heard = await caller.stream({"X-Stub-Fault": "error;after=2"})
    answer = (await caller.stored(2))[1]
    assert (answer["status"], answer["finishReason"]) == ("error", "error")
    assert answer["content"] == heard.text
    assert len(heard.text) > 0


async def test_a_caller_that_does_not_come_back_makes_an_error(start, session):
    caller = Caller(session, await start(pace=Pace(1000, 50, 0), grace_s=0.05))
    await caller.leave(frames=5)
    answer = (await caller.stored(2))[1]
    assert (answer["status"], answer["finishReason"]) == ("error", "cancelled")


@pytest.mark.parametrize("name", ["cut", "stall", "duplicate", "no-end", "bad-utf8", "hostile", "surrogates"])
async def test_a_fault_of_the_delivery_does_not_change_the_row(start, session, name):
    caller = Caller(session, await start(pace=Pace(9, 200, 0), grace_s=5))
    limit_s = 0.3 if name == "stall" else 60
    try:
        async with asyncio.timeout(limit_s):
            await caller.stream({"X-Stub-Fault": f"{name};after=2"})
    except TimeoutError:
        assert name == "stall"
    answer = (await caller.stored(2))[1]
    assert (answer["status"], answer["finishReason"]) == ("success", "stop")


async def test_stopping_makes_an_error_with_the_text_so_far(start, session):
    backend = await start(pace=Pace(1000, 100, 0))
    caller = Caller(session, backend)
    call = asyncio.create_task(caller.stream())
    await status_of_the_answer(caller, "streaming")
    await backend.stop()
    heard = await call
    await backend.start()
    answer = (await caller.stored(2))[1]
    assert (answer["status"], answer["finishReason"]) == ("error", "cancelled")
    assert answer["content"] == heard.text


async def test_stopping_before_the_first_token_makes_an_error(start, session):
    backend = await start(pace=Pace(5, 0, 30))
    caller = Caller(session, backend)
    call = asyncio.create_task(caller.stream(content="weather in Rome"))
    await status_of_the_answer(caller, "pending")
    await backend.stop()
    assert (await call).kinds[-1] == "abort"
    await backend.start()
    answer = (await caller.stored(2))[1]
    assert (answer["status"], answer["finishReason"], answer["content"]) == ("error", "cancelled", "")


def backend_process(folder):
    command = [sys.executable, "-m", "backend_stub", "--port", "0"]
    pipe = asyncio.subprocess.PIPE
    path = os.pathsep.join(sys.path)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "BACKEND_STUB_FIRST_TOKEN_S": "30"}
    return asyncio.create_subprocess_exec(*command, cwd=folder, env=environment, stdout=pipe)


async def test_what_a_killed_process_left_is_interrupted_at_the_next_start(start, session, tmp_path):
    process = await backend_process(tmp_path)
    url = (await process.stdout.readline()).decode().split()[5]
    body = {"roomId": 42, "requestId": "r1", "content": "Hi"}
    async with session.post(f"{url}/chat/messages/stream", json=body) as response:
        await response.content.readuntil(b"\n\n")
        file = tmp_path / "backend_stub.sqlite3"
        await until(lambda: statuses(file) == ["success", "pending"])
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert statuses(file) == ["success", "pending"]
    caller = Caller(session, await start(database_url=f"sqlite+aiosqlite:///{file}"))
    prompt, answer = (await caller.room())["messages"]
    assert prompt["status"] == "success"
    assert (answer["status"], answer["finishReason"]) == ("error", "interrupted")
    heard = await caller.stream()
    assert heard.kinds[-3:] == ["error", "finish-step", "finish"]
    assert heard.frames[-1]["finishReason"] == "error"
    assert caller.backend.tally.calls["r1"].answers == 0


def statuses(file):
    connection = sqlite3.connect(file)
    try:
        return [row[0] for row in connection.execute("SELECT status FROM messages ORDER BY place")]
    finally:
        connection.close()


async def test_a_row_that_another_run_streams_is_replayed_as_an_interrupted_one(start, session, tmp_path):
    caller = Caller(session, await start())
    await caller.stream()
    await caller.stored(2)
    connection = sqlite3.connect(tmp_path / "rooms.sqlite3")
    connection.execute(
        "UPDATE messages SET status = 'streaming', finish_reason = NULL WHERE role = 'assistant'"
    )
    connection.commit()
    connection.close()
    assert (await caller.stream()).frames[-1] == {"type": "finish", "finishReason": "error"}
    assert caller.backend.tally.calls["r1"].answers == 1


async def test_a_table_of_before_there_were_statuses_gets_them(start, session, tmp_path):
    connection = sqlite3.connect(tmp_path / "rooms.sqlite3")
    connection.execute(
        "CREATE TABLE messages (place INTEGER PRIMARY KEY AUTOINCREMENT, room_id VARCHAR(255), "
        "room_path VARCHAR(255), request_id VARCHAR(255), message_id VARCHAR(255), role VARCHAR(16), "
        "content TEXT, created_at VARCHAR(32), finish_reason VARCHAR(16), "
        "UNIQUE (room_id, request_id, role))"
    )
    rows = [("r1", "user", None), ("r1", "assistant", "stop"), ("r2", "assistant", "cancelled")]
    connection.executemany(
        "INSERT INTO messages (room_id, room_path, request_id, message_id, role, content, created_at, "
        "finish_reason) VALUES ('42', '42', ?, '\"m\"', ?, 'Hi', '2026-01-01T00:00:00.000Z', ?)",
        [(f'"{request_id}"', role, reason) for request_id, role, reason in rows],
    )
    connection.commit()
    connection.close()
    caller = Caller(session, await start())
    assert [row["status"] for row in (await caller.room())["messages"]] == ["success", "success", "error"]
    await caller.stream(requestId="r3")
    assert (await caller.stored(5))[4]["status"] == "success"
