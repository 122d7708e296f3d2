import asyncio
import os
import signal

import pytest
from stub_caller import Caller, until

from backend_stub import __main__ as command
from backend_stub.app import ReferenceBackend
from backend_stub.errors import StartError, StubError
from backend_stub.model import Pace

TOKENS = ["Hel", "lo", ", wor", "ld!\n"]


class OtherModel:
    """Says the same tokens each time, fails or hangs behind them, and tells what became of it."""

    name = "gpt-4o-mini at https://api.example.com"

    def __init__(self, tokens=TOKENS, failure=None, *, hangs=False, refusal=None):
        self.tokens = tokens
        self.failure = failure
        self.hangs = hangs
        self.refusal = refusal
        self.asked = []
        self.left = 0
        self.closed = False

    async def check(self):
        if self.refusal is not None:
            raise StartError(self.refusal)

    async def pieces(self, content):
        self.asked.append(content)
        try:
            for token in self.tokens:
                await asyncio.sleep(0)
                yield token
            if self.hangs:
                await asyncio.Event().wait()
            if self.failure is not None:
                raise self.failure
        finally:
            self.left += 1

    async def close(self):
        self.closed = True


@pytest.fixture
async def begin(settings, session):
    backends = []

    async def make(model, **given):
        backend = ReferenceBackend(settings(**given), provider=model)
        await backend.start()
        backends.append(backend)
        return Caller(session, backend)

    yield make
    for backend in backends:
        await backend.stop()


async def test_tokens_come_from_the_model_as_it_makes_them(begin):
    model = OtherModel()
    caller = await begin(model, pace=Pace(500, 1, 60))
    heard = await caller.stream(content="Who?")
    assert [frame["delta"] for frame in heard.frames if frame["type"] == "text-delta"] == TOKENS
    assert model.asked == ["Who?"]
    assert (await caller.stored(2))[1]["content"] == "Hello, world!\n"
    assert caller.backend.tally.calls["r1"].answers == 1


async def test_a_stored_answer_is_replayed_token_by_token_as_it_first_came(begin):
    caller = await begin(OtherModel())
    first = await caller.stream()
    await caller.stored(2)
    await caller.backend.stop()
    await caller.backend.start()
    assert (await caller.stream()).raw == first.raw
    resumed = await caller.stream({"Last-Event-ID": first.ids[4]})
    assert resumed.text == ", world!\n"


async def test_a_model_that_fails_ends_the_answer_with_its_reason(begin):
    caller = await begin(OtherModel(failure=StubError("unable to go on; the provider is full")))
    heard = await caller.stream()
    assert heard.frames[-3] == {"type": "error", "errorText": "unable to go on; the provider is full"}
    answer = (await caller.stored(2))[1]
    assert (answer["status"], answer["finishReason"]) == ("error", "error")
    assert answer["content"] == "Hello, world!\n"


async def test_a_model_with_a_defect_ends_the_answer_all_the_same(begin, caplog):
    caller = await begin(OtherModel(failure=ZeroDivisionError("planted")))
    heard = await caller.stream()
    assert heard.frames[-1]["finishReason"] == "error"
    assert heard.done
    assert (await caller.stored(2))[1]["status"] == "error"
    assert "defect" in caplog.text


async def test_an_answer_that_nobody_waits_for_lets_go_of_its_model(begin):
    model = OtherModel(hangs=True)
    caller = await begin(model, grace_s=0.05)
    await caller.leave(frames=5)
    await until(lambda: model.left == 1)
    answer = (await caller.stored(2))[1]
    assert (answer["finishReason"], answer["content"]) == ("cancelled", "Hello, world!\n")


async def test_a_planted_error_lets_go_of_the_model_at_once(begin):
    model = OtherModel(hangs=True)
    caller = await begin(model)
    heard = await caller.stream({"X-Stub-Fault": "error;after=2"})
    assert (heard.text, heard.frames[-1]["finishReason"]) == ("Hello", "error")
    assert model.left == 1


async def test_the_tool_is_run_before_the_text_of_the_model(begin):
    caller = await begin(OtherModel())
    heard = await caller.stream(content="weather in Rome")
    assert heard.kinds.index("tool-output-available") < heard.kinds.index("text-delta")
    assert heard.text == "Hello, world!\n"


async def test_a_model_that_is_not_to_be_had_stops_the_start(settings):
    backend = ReferenceBackend(settings(), provider=OtherModel(refusal="unable to use the model; no key"))
    with pytest.raises(StartError, match="no key"):
        await backend.start()
    await backend.stop()


def run(monkeypatch, model, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "_model", lambda _: model)
    return command.main(["--port", "0"])


def test_the_command_says_why_it_does_not_start_and_lets_go_of_the_model(monkeypatch, capsys, tmp_path):
    model = OtherModel(refusal="unable to use the model; the key is refused")
    assert run(monkeypatch, model, tmp_path) == 1
    said = capsys.readouterr()
    assert said.err == "backend_stub: unable to use the model; the key is refused\n"
    assert said.out == ""
    assert model.closed


class BriefModel(OtherModel):
    """Tells the process to end as soon as it serves."""

    async def check(self):
        asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)


def test_the_command_says_which_model_it_has(monkeypatch, capsys, tmp_path):
    model = BriefModel()
    assert run(monkeypatch, model, tmp_path) == 0
    assert capsys.readouterr().out.endswith(" with gpt-4o-mini at https://api.example.com\n")
    assert model.closed
