"""``doctor``: ask the backend, show what it says and means, see who shares the Redis, name what is wrong."""

import asyncio
import json
import random
import time
import uuid
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import assert_never

from bridge.answers import told
from bridge.app import dialect, opens_drop_in
from bridge.backend import HttpBackend
from bridge.commands import chat_servers
from bridge.commands.comparison import differences
from bridge.dialects import DIALECTS
from bridge.dialects.base import Frame
from bridge.errors import (
    BackendCut,
    BackendMalformed,
    BackendRefused,
    BackendUnreachable,
    TurnError,
)
from bridge.events import (
    Completed,
    Conversation,
    Delta,
    Event,
    Failed,
    Finished,
    Id,
    Position,
    Reasoning,
    Started,
    Status,
    Stored,
    Tool,
)
from bridge.exchange import Exchange, Heard
from bridge.messages import MessageEnd
from bridge.ports import Prompt
from bridge.profiles import Call, Profile
from bridge.settings import Settings, without_credentials
from bridge.templates import ask, frame_message, pick, posted

SHOWN_ALIKE = 3
"""So many frames of text in a row are shown, the rest is counted."""
WIDTH = 78
BURST_S, BURST_DELTAS, BURST_WAIT_S = 0.02, 8, 0.5
"""So many deltas within so short a time behind so long a wait: something in between gathers them."""

_STATUS_HINTS = {
    400: "it does not like the body: see [body] and [stream] of the profile",
    401: "it does not know the key: see [headers] of the profile",
    403: "the key is not allowed this: see [headers] of the profile",
    404: "it has no such path: see the path in the profile, and BACKEND_URL",
    405: "the path wants another method: see method in the profile",
    415: "it wants another content type than JSON",
    422: "it does not like the body: see [body] and [stream] of the profile",
    429: "it wants fewer calls: a quota is used up, or the key is shared",
}


@dataclass(slots=True)
class Findings:
    """What the doctor has found: what is wrong, in the order it was found."""

    wrong: list[str] = field(default_factory=list)
    text: str | None = None
    end: MessageEnd | None = None
    stored: str | None = None
    completed: Completed | None = None

    def add(self, why: str) -> None:
        """Print and keep something that is wrong."""
        self.wrong.append(why)
        print(f"wrong     {why}")


async def run(settings: Settings, profile: Profile, content: str) -> int:
    """Examine both calls with ``content`` as the prompt; return 0 when nothing is wrong, else 1."""
    print(f"backend   {without_credentials(settings.backend_url)}")
    print(f"profile   {settings.backend_profile}, dialect {settings.dialect}, {_promise(profile)}")
    backend = HttpBackend(
        settings.backend_url,
        profile,
        dialect(settings),
        lambda *_: None,
        connect_s=settings.connect_s,
        jitter=random.random,
    )
    findings = Findings()
    prompt = Prompt(uuid.uuid4().hex, "doctor", uuid.uuid4().hex, content)
    try:
        await _within(settings.turn_s, findings, _stream(backend, profile, prompt, settings, findings))
        await _within(settings.turn_s, findings, _complete(backend, profile, prompt, findings))
        if findings.end is not None and findings.completed is not None:
            drop_in = _drop_in(backend, profile, prompt, settings, findings)
            await _within(settings.turn_s, findings, drop_in)
    finally:
        await backend.close()
    await chat_servers.look(settings, findings.add, opens=opens_drop_in(settings))
    if not findings.wrong:
        print("ok        the answer streams and ends as it should")
    return 1 if findings.wrong else 0


def _promise(profile: Profile) -> str:
    repeats = "knows repeated requests" if profile.idempotent else "is never asked twice"
    return f"{repeats}{', resumes by Last-Event-ID' if profile.resumes else ''}"


async def _within(turn_s: float, findings: Findings, step: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(turn_s):
            await step
    except TimeoutError:
        findings.add(f"it took longer than a whole turn may (BRIDGE_TURN_S = {turn_s:g})")
    except TurnError as error:
        findings.add(f"{error}{_hint(error)}")
        if isinstance(error, BackendRefused) and error.said:
            print(f"          it said: {_line(error.said)}")


def _hint(error: TurnError) -> str:
    match error:
        case BackendUnreachable():
            return ": does it run, is BACKEND_URL right?"
        case BackendRefused(status=status):
            hint = _STATUS_HINTS.get(status, "")
            return f": {hint}" if hint else ""
        case _:
            return ""


async def _stream(
    backend: HttpBackend, profile: Profile, prompt: Prompt, settings: Settings, findings: Findings
) -> None:
    if profile.preparation is not None:
        print(f"prepare   {_spoken(profile.preparation.call)}")
    print(f"stream    {_spoken(profile.stream)}")
    began_s = time.monotonic()
    async with backend.exchange(prompt) as exchange:
        headers = exchange.response.headers
        print(f"          200 {headers.get('content-type')} after {_ms(time.monotonic() - began_s)}")
        watch = _Watch(began_s, settings)
        try:
            await watch.all(exchange)
        except TimeoutError:
            findings.add(watch.late())
        else:
            _judge(exchange, watch, findings)
            if profile.answer.source == "frame":
                bodies = (frame_message(profile.answer, frame.data) for frame in watch.frames)
                findings.stored = next((body for body in bodies if body is not None), None)
            if not findings.wrong:
                findings.end = watch.end_of(prompt, findings.text or "")


async def _complete(backend: HttpBackend, profile: Profile, prompt: Prompt, findings: Findings) -> None:
    if profile.complete is None:
        print("complete  none: with the flag off, the answer is gathered from the stream")
        return
    print(f"complete  {_spoken(profile.complete.call)}, the text at {profile.complete.content}")
    asked = prompt
    if not profile.idempotent:  # a repeat might make a second answer, so this is another request
        asked = _another(prompt)
    began_s = time.monotonic()
    answer = findings.completed = await backend.complete(asked)
    print(f"          {len(answer.content)} characters after {_ms(time.monotonic() - began_s)}")
    if profile.idempotent and findings.text not in (None, answer.content):
        findings.add("a repeated request got another answer: the profile must not say idempotent = true")


async def _drop_in(
    backend: HttpBackend, profile: Profile, prompt: Prompt, settings: Settings, findings: Findings
) -> None:
    """Compare what a chat-server would get of the bridge with what it gets of the backend."""
    end, completed, complete = findings.end, findings.completed, profile.complete
    if end is None or completed is None or complete is None:
        return
    given, _ = posted(complete.call, json.loads(ask(profile, complete.call, prompt, {}).body or b"null"))
    if (given.get("roomId"), given.get("content")) != (prompt.room_id, prompt.content):
        print("drop-in   none: the body of the complete call does not say room and content")
        return
    print(f"drop-in   the answer comes from {profile.answer.source}")
    prompt = replace(prompt, message_id=end.message_id)
    answer = completed.body if profile.answer.source == "complete" else findings.stored
    answer = answer or await backend.stored(prompt) or told(profile, prompt, end)
    direct = (await backend.complete(_another(prompt))).body if profile.idempotent else completed.body
    found = differences(json.loads(answer), json.loads(direct))
    if pick(json.loads(answer), complete.message_id) != end.message_id:
        found.append("the message has another name than the chunks")
    for difference in found:
        if settings.drop_in == "on" or settings.drop_in_port:
            findings.add(f"drop-in: {difference}: see [answer] of the profile")
        else:
            print(f"          {difference}: see [answer] of the profile, if a chat-server is in front")


def _another(prompt: Prompt) -> Prompt:
    return Prompt(uuid.uuid4().hex, prompt.room_id, uuid.uuid4().hex, prompt.content)


class _Watch:
    """Prints frames as they come, many of text as a few, and keeps what the verdict needs."""

    def __init__(self, began_s: float, settings: Settings) -> None:
        self.settings = settings
        self.frames: list[Frame] = []
        self.ending: Finished | Failed | None = None
        self.deltas_s: list[float] = []
        self.parts: list[str] = []
        self.named: Id | None = None
        self._began_s = began_s
        self._alike = 0

    async def all(self, exchange: Exchange) -> None:
        """Take every frame. Raises `TimeoutError` when the backend says no word in the time of a turn."""
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(self.settings.first_delta_s) as deadline:

                def take(heard: Sequence[Heard]) -> bool:
                    for frame, events in heard:
                        self.saw(frame, events)
                        if any(not isinstance(event, Started) for event in events):
                            deadline.reschedule(now() + self.settings.stall_s)
                    return True

                await exchange.tell(take)
        finally:
            self.fold()

    def end_of(self, prompt: Prompt, text: str) -> MessageEnd:
        """Return the end that a room would hear of ``text``."""
        reason = self.ending.reason if isinstance(self.ending, Finished) else "other"
        named = prompt.message_id if self.named is None else self.named
        now = datetime.now(UTC).isoformat()
        return MessageEnd(prompt.request_id, prompt.room_id, named, text, reason, created_at=now)

    def late(self) -> str:
        """Return which deadline was missed."""
        if self.parts:
            return f"it stalled behind {len(self.parts)} deltas (BRIDGE_STALL_S = {self.settings.stall_s:g})"
        return f"it gave no text in time (BRIDGE_FIRST_DELTA_S = {self.settings.first_delta_s:g})"

    def saw(self, frame: Frame, events: list[Event]) -> None:
        """Take one frame and what it says."""
        after_s = time.monotonic() - self._began_s
        self.frames.append(frame)
        texts = [event.text for event in events if isinstance(event, Delta)]
        self.deltas_s += [after_s] * len(texts)
        self.parts += texts
        for event in events:
            if isinstance(event, Started) and event.message_id is not None:
                self.named = event.message_id
            if isinstance(event, Finished | Failed):
                self.ending = event
        only_text = bool(texts) and len(texts) == len(events)
        self._alike = self._alike + 1 if only_text else self.fold()
        if self._alike <= SHOWN_ALIKE:
            meaning = ", ".join(_meaning(event) for event in events) or "nothing"
            print(f"{_ms(after_s):>9} {_line(_raw(frame))}\n          -> {meaning}")

    def fold(self) -> int:
        """Say how many frames of text were not shown."""
        hidden, self._alike = self._alike - SHOWN_ALIKE, 0
        if hidden > 0:
            print(f"          ... and {hidden} more frames of text")
        return 0


def _judge(exchange: Exchange, watch: _Watch, findings: Findings) -> None:
    malformed = exchange.dialect.malformed
    if malformed:
        findings.add(f"{malformed} frames could not be read: each must be one JSON object")
    if isinstance(watch.ending, Failed):
        _judge_failure(exchange, watch, watch.ending.error, findings)
        return
    text = "".join(watch.parts)
    final = watch.ending.content if watch.ending else None
    findings.text = text if final is None else final
    if not text:
        findings.add("it ended and said no text")
        return
    first_s, last_s = watch.deltas_s[0], watch.deltas_s[-1]
    deltas, reason = len(watch.deltas_s), watch.ending.reason if watch.ending else "other"
    told = f"{deltas} deltas, {len(text)} characters, {exchange.dialect.name}, {reason}"
    print(f"          first text after {_ms(first_s)}, {told}")
    if first_s > watch.settings.first_delta_s:
        findings.add(
            f"the first text came later than BRIDGE_FIRST_DELTA_S = {watch.settings.first_delta_s:g}"
        )
    if deltas >= BURST_DELTAS and last_s - first_s < BURST_S and first_s > BURST_WAIT_S:
        findings.add("all text came at once: something in between gathers it (buffering, compression)")
    if final is not None and final != text:
        findings.add("its final text is not the joined deltas: some are missing, or came twice")


def _judge_failure(exchange: Exchange, watch: _Watch, error: TurnError, findings: Findings) -> None:
    findings.add(f"{error}")
    if isinstance(error, BackendCut) and b"\\n" in exchange.unfinished:
        findings.add("its frames end with the characters \\n in place of line ends")
    other = _detected(exchange, watch.frames)
    if isinstance(error, BackendCut | BackendMalformed) and other:
        findings.add(f"its frames look like another dialect: set BRIDGE_DIALECT={other}, or auto")


def _detected(exchange: Exchange, frames: list[Frame]) -> str | None:
    detection = DIALECTS["auto"](exchange.response.headers)
    for frame in frames:
        detection.decode(frame)
    return detection.name if detection.name not in ("auto", exchange.dialect.name) else None


def _meaning(event: Event) -> str:  # noqa: C901, PLR0911  (one line for each kind of event)
    match event:
        case Started(message_id):
            return "the answer begins" + (f", named {message_id}" if message_id is not None else "")
        case Delta(text):
            return f"text {json.dumps(text[:40], ensure_ascii=False)}"
        case Reasoning():
            return "it thinks"
        case Conversation(conversation_id):
            return f"the conversation is {conversation_id}"
        case Status(status):
            return f"status {status}"
        case Position(frame_id):
            return f"up to frame {frame_id}"
        case Stored():
            return "the message as it is stored"
        case Tool(_, name, state):
            return f"tool {name} {state}"
        case Finished(reason):
            return f"the end: {reason}"
        case Failed(error):
            return f"the end: {error.finish(shown=False)}, {error.code}"
        case Completed():
            return "the whole answer"
        case _:
            assert_never(event)


def _raw(frame: Frame) -> str:
    if not frame.data:
        return "(no frame)"
    return f"{frame.event}: {frame.data}" if frame.event else frame.data


def _line(text: str) -> str:
    flat = "".join(each if each.isprintable() else " " for each in text)
    return flat if len(flat) <= WIDTH else f"{flat[: WIDTH - 3]}..."


def _spoken(call: Call) -> str:
    return f"{call.method} {call.path}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
