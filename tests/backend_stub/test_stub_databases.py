"""The history in real databases: the same rows, whatever keeps them."""

import asyncio

import pytest
from postgres_server import postgres
from stub_caller import Caller

from backend_stub.model import Pace


@pytest.fixture(scope="module")
def postgres_url():
    with postgres() as url:
        yield url


POSTGRES = pytest.param("postgres", marks=pytest.mark.needs("postgres"))


@pytest.fixture(params=["file", "memory", POSTGRES])
def database_url(request, tmp_path):
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return (
        f"sqlite+aiosqlite:///{tmp_path / 'rows.sqlite3'}"
        if request.param == "file"
        else "sqlite+aiosqlite://"
    )


async def test_many_answers_at_once_are_stored_as_they_were_told(start, session, database_url):
    caller = Caller(session, await start(database_url=database_url, pace=Pace(12, 200, 0)))
    asked = [f"r{number}" for number in range(25)]
    heard = await asyncio.gather(*(caller.stream(roomId="many", requestId=name) for name in asked))
    rows = await caller.stored(50, "many")
    told = dict(zip(asked, (each.text for each in heard), strict=True))
    answers = {row["requestId"]: row for row in rows if row["role"] == "assistant"}
    assert {name: row["content"] for name, row in answers.items()} == told
    assert {row["status"] for row in rows} == {"success"}


async def test_every_ending_leaves_its_status_and_a_repeat_is_replayed(start, session, database_url):
    backend = await start(database_url=database_url, pace=Pace(12, 200, 0))
    caller = Caller(session, backend)
    room = "endings"
    first = await caller.stream(roomId=room, requestId="well 안녕 🌞")
    await caller.stream(roomId=room, requestId="failed", fault="error;after=3")
    await caller.stream(roomId=room, requestId="cut", fault="cut;after=3")
    rows = await caller.stored(6, room)
    statuses = {row["requestId"]: row["status"] for row in rows if row["role"] == "assistant"}
    assert statuses == {"well 안녕 🌞": "success", "failed": "error", "cut": statuses["cut"]}
    assert statuses["cut"] in ("success", "error")
    assert (await caller.stream(roomId=room, requestId="well 안녕 🌞")).text == first.text
    assert backend.tally.calls["well 안녕 🌞"].answers == 1


@pytest.mark.parametrize("database_url", ["file", POSTGRES], indirect=True)
async def test_what_a_killed_process_left_open_is_an_error_after_the_next_start(start, session, database_url):
    first = await start(database_url=database_url, pace=Pace(50, 10, 0))
    caller = Caller(session, first)
    running = asyncio.create_task(caller.stream(roomId="killed", requestId="r"))
    await caller.rows(1, ("streaming",), "killed")
    second = await start(database_url=database_url)
    (row,) = await Caller(session, second).rows(1, ("error",), "killed")
    assert row["finishReason"] == "interrupted"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
