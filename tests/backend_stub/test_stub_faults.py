import asyncio
import contextlib

import aiohttp
import pytest
from stub_caller import Caller, hear, until

from backend_stub import faults
from backend_stub.errors import SettingError
from backend_stub.model import Pace


def fault(name):
    return {"X-Stub-Fault": name}


async def assert_the_answer_is_whole(caller):
    """The fault concerned one caller only: the answer went on and is stored."""
    answer = (await caller.stored(2))[1]
    assert answer["finishReason"] == "stop"
    assert (await caller.stream()).text == answer["content"]
    assert caller.backend.tally.calls["r1"].answers == 1


async def test_refuse_closes_without_an_answer(caller):
    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.stream(fault("refuse"))
    assert caller.backend.tally.calls["r1"].answers == 0
    assert caller.backend.tally.dropped_by_caller == 0


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_status_is_told_as_json(caller, status):
    async with caller.post(headers=fault(f"status-{status}")) as response:
        assert response.status == status
        assert (await response.json())["error"]["code"] == "fault"
        assert response.headers.get("Retry-After") == ("1" if status == 429 else None)
    assert caller.backend.tally.calls["r1"].answers == 0


async def test_hang_sends_headers_and_comments_only(caller):
    async with caller.post(headers=fault("hang")) as response:
        assert response.status == 200
        for _ in range(2):
            assert await response.content.readuntil(b"\n\n") == b": ping\n\n"
        assert caller.backend.tally.open_streams == 1
        response.close()
    await until(lambda: caller.backend.tally.dropped_by_caller == 1)
    assert caller.backend.tally.open_streams == 0


async def test_silent_sends_nothing(caller):
    calling = asyncio.create_task(caller.stream(fault("silent")))
    await until(lambda: caller.backend.tally.open_streams == 1)
    done, _ = await asyncio.wait({calling}, timeout=0.2)
    assert not done
    calling.cancel()
    await asyncio.wait({calling})
    await until(lambda: caller.backend.tally.dropped_by_caller == 1)


async def test_stall_sends_comments_after_some_deltas(caller):
    raw = b""
    async with caller.post(headers=fault("stall;after=2")) as response:
        while raw.count(b": ping") < 2:
            raw += await response.content.readany()
        response.close()
    assert hear(raw).kinds[3:] == ["text-delta"] * 2
    await assert_the_answer_is_whole(caller)


async def test_cut_breaks_inside_a_frame(caller):
    heard = await caller.stream(fault("cut;after=3"))
    assert heard.cut
    assert heard.kinds[3:] == ["text-delta"] * 3
    assert not heard.raw.endswith(b"\n\n")
    assert caller.backend.tally.dropped_by_caller == 0
    await assert_the_answer_is_whole(caller)


async def test_a_cut_running_answer_can_be_resumed(start, session):
    caller = Caller(session, await start(pace=Pace(15, 100, 0)))
    begun = await caller.stream(fault("cut;after=3"))
    resumed = await caller.stream({"Last-Event-ID": begun.ids[-1]})
    assert (await caller.stored(2))[1]["content"] == begun.text + resumed.text


@pytest.mark.parametrize(("name", "count"), [("malformed", 1), ("malformed-many", 5)])
async def test_malformed_frames_come_between_good_ones(caller, name, count):
    heard = await caller.stream(fault(f"{name};after=2"))
    broken = b'data: {"type":"text-delta","id":"text-1","delta":\n\n'
    assert heard.raw.count(broken) == count
    assert heard.raw.count(broken * count) == 1
    assert hear(heard.raw[: heard.raw.index(broken)]).kinds.count("text-delta") == 2
    assert heard.kinds.count("text-delta") == 12
    assert heard.done


async def test_no_end_ends_cleanly_without_an_end_mark(caller):
    heard = await caller.stream(fault("no-end"))
    assert not heard.cut
    assert not heard.done
    assert heard.kinds[-1] == "finish-step"
    await assert_the_answer_is_whole(caller)


async def test_error_is_told_in_the_stream_and_stored(caller):
    heard = await caller.stream(fault("error;after=4"))
    assert heard.kinds[3:7] == ["text-delta"] * 4
    assert heard.kinds[7:] == ["error", "finish-step", "finish"]
    assert heard.frames[7]["errorText"]
    assert heard.frames[-1]["finishReason"] == "error"
    assert heard.done
    stored = (await caller.stored(2))[1]
    assert (stored["finishReason"], stored["content"]) == ("error", heard.text)
    assert (await caller.stream()).raw == heard.raw


async def test_after_end_goes_on_behind_the_end(caller):
    heard = await caller.stream(fault("after-end"))
    assert heard.kinds[-3:] == ["finish", "text-delta", "text-delta"]
    assert heard.raw.index(b"[DONE]") < heard.raw.rindex(b"too late")


async def test_duplicate_sends_each_delta_twice(caller):
    heard = await caller.stream(fault("duplicate"))
    deltas = heard.ids[3:-3]
    assert deltas == [str(number) for number in range(4, 16) for _ in range(2)]
    await assert_the_answer_is_whole(caller)


async def test_huge_sends_one_line_of_that_length(caller):
    heard = await caller.stream(fault("huge;bytes=300000"))
    assert max(len(line) for line in heard.raw.split(b"\n")) == 300_000 - 2
    assert heard.done


async def test_a_caller_may_leave_a_huge_line(caller):
    async with caller.post(headers=fault("huge")) as response:
        await response.content.read(1_000_000)
        response.close()
    await until(lambda: caller.backend.tally.dropped_by_caller == 1)


async def test_bad_utf8_is_inside_one_delta(caller):
    heard = await caller.stream(fault("bad-utf8;after=1"))
    assert heard.raw.count(b"\xff\xc3(") == 1
    assert heard.text.count("�") == 2
    await assert_the_answer_is_whole(caller)


async def test_bom_comes_first(caller):
    heard = await caller.stream(fault("bom"))
    assert heard.raw.startswith(b"\xef\xbb\xbfid: 1\n")
    assert heard.raw.count(b"\xef\xbb\xbf") == 1


async def test_json_error_is_no_stream(caller):
    async with caller.post(headers=fault("json-error")) as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        assert (await response.json())["error"]["message"]


async def test_redirect_points_elsewhere(caller):
    async with caller.post(headers=fault("redirect")) as response:
        assert response.status == 302
        assert response.headers["Location"]


async def test_times_limits_a_fault_to_the_first_calls_of_a_request(caller):
    said = fault("status-503;times=2")
    statuses = []
    for _ in range(3):
        async with caller.post(headers=said) as response:
            statuses.append(response.status)
    assert statuses == [503, 503, 200]


async def test_the_header_goes_before_the_body_and_the_body_before_the_attribute(caller, backend):
    backend.fault = "status-500"
    async with caller.post() as response:
        assert response.status == 500
    async with caller.post(fault="status-503") as response:
        assert response.status == 503
    async with caller.post(fault="status-503", headers=fault("status-429")) as response:
        assert response.status == 429
    assert (await caller.stream(fault("none"))).done


async def test_a_bad_fault_is_refused(caller, backend):
    async with caller.post(headers=fault("nonsense")) as response:
        assert response.status == 400
    with pytest.raises(SettingError):
        backend.fault = "nonsense"


@pytest.mark.parametrize("on", ["complete", "both"])
async def test_the_complete_call_knows_faults_that_are_meant_for_it(caller, on):
    assert (await caller.complete(fault("status-503")))[0] == 200
    assert (await caller.complete(fault(f"status-503;on={on}"), requestId="r2"))[0] == 503
    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.complete(fault(f"refuse;on={on}"), requestId="r2")
    for name in ("hang", "silent"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await caller.complete(fault(f"{name};on={on}"), requestId="r2")
    assert (await caller.complete(fault(f"cut;on={on}"), requestId="r2"))[0] == 200
    _, message = await caller.complete(fault(f"error;on={on}"), requestId="r3")
    assert message["finishReason"] == "error"


async def test_no_fault_leaves_anything_behind(caller, backend):
    async def call(name):
        said = fault(f"{name};bytes=100000")
        with contextlib.suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(0.2), caller.post(headers=said, requestId=name) as response:
                await response.read()

    await asyncio.gather(*map(call, faults.NAMES))
    await until(lambda: backend.tally.open_streams == 0)
    assert (await caller.stream(requestId="next")).done


@pytest.mark.parametrize(
    "said",
    ["", "Cut", "cut;", "cut;after", "cut;after=-1", "cut;after=x", "cut;on=never", "cut;times=9999999999"],
)
def test_words_that_are_no_fault_are_refused(said):
    with pytest.raises(SettingError, match="unable to use the fault"):
        faults.parse(said)


def test_a_fault_is_read_with_its_parameters():
    read = faults.parse("cut; after=3 ;times=1;bytes=10;on=both")
    assert read == faults.Fault("cut", after=3, times=1, size_bytes=10, on="both")
