"""Random streams in every dialect with what they mean, ways to spoil them, and what the bridge hears.

All chance comes from one `random.Random`, so a seed tells a story again; `seeds` gives hypothesis the same.
"""

import json
import random
import re
from typing import Any, NamedTuple

from hypothesis import strategies as st
from strict_dialects import Meaning, scalars

from bridge.dialects import DIALECTS
from bridge.errors import BackendCut, BackendFailed, BackendMalformed
from bridge.events import Delta, Failed, Finished
from bridge.framing import EVENT_LIMIT_BYTES, LINE_LIMIT_BYTES, Framing
from bridge.messages import payload
from bridge.turn import Turn

WORDS = (
    "a", "", "Hel", "lo ", "안녕", "🌞", "\u2028", "\u2029x", "\u0085", "\x0b", "\n\n", "\\n", '"', "\x00",
    "\ufeff", "data: x", "[DONE]", "e\u0301", " ", "</script>", "\x7f", "-" * 300,
)  # fmt: skip
HALVES = (("\ud83c", "\udf1e"), ("x\ud83d", "", "\ude00y"), ("\udf1e",), ("\ud83c", "z"), ("\ud83c",) * 2)
ODD = (None, True, 0, -1.5, [], ["a"], {}, {"x": 1}, 2**64, "", "__proto__", "\ud800", "toString")
UNKNOWN = (
    {"type": "something-new", "delta": {"x": 1}},
    {"__proto__": {"type": "x"}, "constructor": 1},
    {"type": None},
    {"type": ["text-delta"], "x": 1e308},
)
"""Objects that say nothing in any dialect."""


class Story(NamedTuple):
    """Frames as (event, data), where data that is no string is written as JSON; and what they say."""

    name: str
    frames: list[tuple[str, Any]]
    meaning: Meaning


def _likely(chance, share):
    """Return true in ``share`` of all cases, and not in the simplest one."""
    return chance.random() >= 1 - share


def _pieces(chance):
    """Return the texts of some deltas; emoji may be cut in two."""
    found = []
    for _ in range(chance.randrange(6)):
        found += chance.choice(HALVES) if _likely(chance, 0.2) else (chance.choice(WORDS),)
    return found


def tell(chance, name, *, text_first=False):
    """Return a random story in the dialect ``name``, perhaps one that begins with a frame of text."""
    tells, text_frame, asides, late = TELLERS[name]
    pieces = ["Hi", *_pieces(chance)] if text_first else _pieces(chance)
    frames = []
    for number, piece in enumerate(pieces):
        frames.append(text_frame(piece))
        while (number or not text_first) and _likely(chance, 0.4):
            frames.append(_aside(chance, asides))
    text, ending, closing, ended = tells(chance, "".join(pieces))
    frames += closing
    while ended and _likely(chance, 0.4):
        frames.append(chance.choice((*late, text_frame("late"), _aside(chance, asides))))
    return Story(name, frames, Meaning(scalars(text), ending))


def _aside(chance, asides):
    return ("", chance.choice(UNKNOWN)) if _likely(chance, 0.2) else chance.choice(asides)


def _only(*values):
    return tuple(("", value) for value in values)


def _named(*values):
    return tuple((value["type"], value) for value in values)


END, NO_END = ("", "[DONE]"), ([], False)


def _ui_text(piece):
    return "", {"type": "text-delta", "id": "t", "delta": piece}


UI_REASONS = ("stop", "length", "content-filter", "tool-calls", "interrupted", "other", "unknown", "new")
UI_ASIDES = _only(
    {"type": "start", "messageId": "m-1", "messageMetadata": {"a": [1]}},
    {"type": "start-step"},
    {"type": "finish-step"},
    {"type": "text-start", "id": "t"},
    {"type": "text-end", "id": "t"},
    {"type": "reasoning-start", "id": "r"},
    {"type": "reasoning-delta", "id": "r", "delta": "hm \ud83c"},
    {"type": "tool-input-start", "toolCallId": "c", "toolName": "weather"},
    {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": "{"},
    {"type": "tool-input-available", "toolCallId": "c", "toolName": "weather", "input": {"city": "서울"}},
    {"type": "tool-output-available", "toolCallId": "c", "output": {"t": 21}},
    {"type": "tool-output-error", "toolCallId": "d", "errorText": "no"},
    {"type": "source-url", "sourceId": "s", "url": "https://example.org"},
    {"type": "data-weather", "data": [1], "transient": True},
    {"type": "message-metadata", "messageMetadata": {}},
)
UI_LATE = (END, *_only({"type": "finish"}, {"type": "error", "errorText": "x"}, {"type": "abort"}))


def _ui_message(chance, text):
    reason = chance.choice(UI_REASONS)
    mapped = "other" if reason in ("unknown", "new") else reason
    finish = [*_only({"type": "finish-step"}, {"type": "finish", "finishReason": reason}), END]
    failed = ("", {"type": "finish", "finishReason": "error"})
    return chance.choice((
        (text, mapped, finish, True),
        (text, mapped, finish, True),
        (text, mapped, [*_ui_retracted(), *finish], True),
        (text, "stop", _only({"type": "finish"}), True),
        (text, "failed", [("", {"type": "error", "errorText": "secret"}), failed], True),
        (text, "failed", [failed], True),
        (text, "cancelled", [("", {"type": "abort", "reason": "u"}), END], True),
        (text, "cut", [END], True),
        (text, "cut", *NO_END),
    ))  # fmt: skip


def _ui_retracted():
    return *_only({"type": "start-step"}), _ui_text("taken back"), *_only({"type": "reset-step"})


def _role_text(piece):
    return "", {"role": "assistant", "delta": piece}


ROLE_ASIDES = _only(
    {"role": "user", "delta": 'hi "there"\nline 2'},
    {"role": "user", "delta": "\ud83c"},
    {"role": "system", "delta": "no text"},
    {"role": "assistant", "delta": ""},
)
ROLE_LATE = (END, ("error", "late"), ("error", {"error": "late"}))


def _role_delta(chance, text):
    failed = chance.choice(({"message": "m"}, {"error": {"code": 1}}, "plain text", "[1, 2", 7, "[DONE]"))
    return chance.choice((
        (text, "stop", [END], True),
        (text, "stop", [END, ("error", "x")], True),
        (text, "failed", [("error", failed)], True),
        (text, "failed", [("error", failed), END], True),
        (text, "cut", *NO_END),
    ))  # fmt: skip


def _token_text(piece):
    return "", {"type": "token", "content": piece}


NAMED = ("", {"type": "conversationCreated", "conversationId": "c-42"})
TOKEN_ASIDES = (END, NAMED, *_only({"type": "token", "content": ""}))
TOKEN_LATE = (END, NAMED, ("", {"type": "complete"}))


def _token(chance, text):
    complete, final = ("", {"type": "complete"}), chance.choice((text + "…", "all \ud83c\udf1e", text or "."))
    whole = ("", {"type": "complete", "content": final})
    return chance.choice((
        (text, "stop", [complete], True),
        (text, "stop", [complete, NAMED], True),
        (text, "stop", [NAMED, complete, ("error", "x")], True),
        (final, "stop", [whole, _token_text("late"), NAMED], True),
        (final, "stop", [whole], True),
        (text, "failed", _only({"type": "error", "error": "boom"}), True),
        (text, "failed", [("error", chance.choice(("x", {"message": "x"})))], True),
        (text, "cut", [NAMED], False),
        (text, "cut", *NO_END),
    ))  # fmt: skip


def _event_text(piece):
    return "", {"type": "delta", "content": piece}


def _finalized(status):
    return "", {"type": "finalized", "status": status, "jobId": None}


TRPC = (("connected", {}), ("ping", "x"), ("restore-id", "7"))
TOOL_RESULT = {"type": "tool_result", "name": "generate", "success": True, "jobId": "j-1"}
EVENT_ASIDES = (
    END,
    *TRPC,
    *_only(
        {"type": "status", "status": "thinking"},
        {"type": "tool_start", "name": "generate"},
        TOOL_RESULT,
        {"type": "tool_result", "name": "other", "success": False, "jobId": None},
    ),
)
EVENT_ERROR = {"type": "error", "error": "boom"}
EVENT_LATE = (_finalized("error"), ("return", "x"), ("serialized-error", {}), ("", EVENT_ERROR))


def _stream_event(chance, text):
    final = chance.choice((text or ".", text + "…", "all \ud83c\udf1e"))
    complete = ("", {"type": "complete", "finalContent": final})
    status = chance.choice(("success", "building", "pending"))
    tool_said = ("", TOOL_RESULT | {"finalContent": text})
    returned = ("return", chance.choice(("{}", "x")))
    return chance.choice((
        (text, "stop", [_finalized(status)], True),
        (final, "stop", [complete, _finalized(status), returned], True),
        (final, "stop", [complete, _event_text("late"), _finalized(status)], True),
        (text, "failed", [_finalized("error")], True),
        (text, "failed", [("", EVENT_ERROR), _finalized("error")], True),
        (final, "failed", [("", EVENT_ERROR | {"finalContent": final})], True),
        (text, "failed", [("serialized-error", chance.choice(("x", {"code": -32603})))], True),
        (text, "other", [_finalized("something-new")], True),
        (text + "more", "stop", [tool_said, _event_text("more"), _finalized(status)], True),
        (text, "cut", [returned], True),
        (final, "cut", [complete], False),
        (text, "cut", *NO_END),
    ))  # fmt: skip


def _chunk(delta, reason=None, **more):
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000}
    return "", head | {"choices": [choice], "usage": None} | more


def _chat_text(piece):
    return _chunk({"content": piece})


def _call(index, **more):
    return {"tool_calls": [{"index": index, **more}]}


CHAT_ASIDES = (
    _chunk({"role": "assistant", "content": "", "refusal": None}),
    _chunk({"reasoning_content": "hm \ud83c"}),
    _chunk({"reasoning": "hm"}),
    _chunk({"content": None}),
    _chunk({}, obfuscation="xY"),
    _chunk(_call(0, id="call_A", type="function", function={"name": "get_weather", "arguments": ""})),
    _chunk(_call(0, function={"arguments": '{"city"'})),
    _chunk(_call(1, id="call_B", type="function", function={"name": "now", "arguments": "{}"})),
    *_only(
        {"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
        {"id": "x", "choices": None, "usage": {"total_tokens": 7}},
        {"choices": [{"index": 1, "delta": {"content": "another choice"}}]},
    ),
)
USAGE = ("", {"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 1, "total_tokens": 2}})
CHAT_LATE = (USAGE, END, ("", {"error": {"message": "late"}}), _chunk({}, "length"))
CHAT_REASONS = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
    "content_filter": "content-filter",
    "something_new": "other",
}


def _chat_completions(chance, text):
    reason = chance.choice(list(CHAT_REASONS))
    mapped, end = CHAT_REASONS[reason], _chunk({}, reason)
    error, refusal = ("", {"error": {"message": "m", "code": None}}), _chunk({"refusal": "I can't 🌞"})
    return chance.choice((
        (text, mapped, [end, END], True),
        (text, mapped, [end, USAGE, END], True),
        (text + "!", mapped, [_chunk({"content": "!"}, reason), END], True),
        (text, mapped, [end, USAGE], False),
        (text, mapped, [end], False),
        (text + "I can't 🌞", "content-filter", [refusal, _chunk({}, "stop"), END], True),
        (text, "failed", [error], True),
        (text, "failed", [error, END], True),
        (text, "failed", [end, error, END], True),
        (text, "cut", [END], True),
        (text, "cut", *NO_END),
    ))  # fmt: skip


def _response_text(piece):
    kind = "response.output_text.delta"
    return kind, {"type": kind, "item_id": "i", "output_index": 0, "content_index": 0, "delta": piece}


FUNCTION = {"type": "function_call", "id": "fc", "call_id": "call_A", "name": "get_weather", "arguments": ""}
RESPONSES_ASIDES = (
    END,
    *_named(
        {"type": "response.created", "response": {"id": "resp_1", "output": [], "error": None}},
        {"type": "response.in_progress", "response": {"id": "resp_1"}, "sequence_number": 1},
        {"type": "response.output_item.added", "output_index": 0, "item": FUNCTION},
        {"type": "response.function_call_arguments.delta", "item_id": "fc", "delta": '{"city"'},
        {"type": "response.function_call_arguments.done", "item_id": "fc", "arguments": "{}"},
        {"type": "response.reasoning_summary_text.delta", "item_id": "r", "delta": "hm \ud83c"},
        {"type": "response.output_text.done", "item_id": "i", "text": "no delta"},
        {"type": "response.web_search_call.searching", "item_id": "w"},
    ),
)
RESPONSES_LATE = _named(
    {"type": "response.failed", "response": {"error": {"code": "x", "message": "m"}}},
    {"type": "error", "error": {"type": "x"}, "sequence_number": 9},
    {"type": "response.completed", "response": {"output": []}},
)


def _responses(chance, text):
    message = {"type": "message", "id": "i", "content": [{"type": "output_text", "text": text}]}
    why = chance.choice(("max_output_tokens", "content_filter", "something_new"))
    mapped = {"max_output_tokens": "length", "content_filter": "content-filter"}.get(why, "other")
    kind = "response.completed"
    completed = {"type": kind, "response": {"id": "resp_1", "output": chance.choice(([], [message]))}}
    called = {"type": kind, "response": {"output": [message, FUNCTION]}}
    incomplete = {"type": "response.incomplete", "response": {"incomplete_details": {"reason": why}}}
    refusal = {"type": "response.refusal.delta", "item_id": "i", "delta": "I can't"}
    bare = {"type": kind, "response": {"output": []}}
    error = chance.choice(({"error": {"code": "x", "message": "m"}}, {"code": "x", "message": "m"}))
    error = {"type": "error", "sequence_number": 2} | error
    failed = {"type": "response.failed", "response": {"error": {"code": "x", "message": "m"}}}
    return chance.choice((
        (text, "stop", _named(completed), True),
        (text, "tool-calls", _named(called), True),
        (text, mapped, _named(incomplete), True),
        (text + "I can't", "content-filter", _named(refusal, bare), True),
        (text, "failed", _named(error, failed), True),
        (text, "failed", _named(failed), True),
        (text, "failed", [("error", "plain text")], True),
        (text, "cut", *NO_END),
    ))  # fmt: skip


def _block_delta(**delta):
    return "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}


def _message_text(piece):
    return _block_delta(type="text_delta", text=piece)


def _message_delta(reason):
    delta = {"stop_reason": reason, "stop_sequence": None}
    return "message_delta", {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}}


TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
ANTHROPIC_ASIDES = (
    END,
    _block_delta(type="thinking_delta", thinking="hm \ud83c"),
    _block_delta(type="signature_delta", signature="c2ln"),
    _block_delta(type="input_json_delta", partial_json='{"city'),
    _block_delta(type="citations_delta", citation={"title": "x"}),
    *_named(
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_start", "index": 1, "content_block": TOOL_USE},
        {"type": "content_block_stop", "index": 1},
        {"type": "ping"},
        {"type": "something_new", "delta": {"type": "text_delta", "text": "no text"}},
    ),
)
STOPPED = ("message_stop", {"type": "message_stop"})
OVERLOADED = ("error", {"type": "error", "error": {"type": "overloaded_error", "message": "m"}})
ANTHROPIC_LATE = (STOPPED, OVERLOADED, _message_delta("max_tokens"))
ANTHROPIC_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    None: "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool-calls",
    "refusal": "content-filter",
    "pause_turn": "other",
}


def _anthropic(chance, text):
    reason = chance.choice(list(ANTHROPIC_REASONS))
    return chance.choice((
        (text, ANTHROPIC_REASONS[reason], [_message_delta(reason), STOPPED], True),
        (text, ANTHROPIC_REASONS[reason], [_message_delta(reason), STOPPED], True),
        (text, "stop", [STOPPED], True),
        (text, "failed", [OVERLOADED], True),
        (text, "failed", [_message_delta(reason), OVERLOADED], True),
        (text, "cut", [_message_delta(reason)], False),
        (text, "cut", *NO_END),
    ))  # fmt: skip


TELLERS = {
    "ui_message": (_ui_message, _ui_text, UI_ASIDES, UI_LATE),
    "role_delta": (_role_delta, _role_text, ROLE_ASIDES, ROLE_LATE),
    "token": (_token, _token_text, TOKEN_ASIDES, TOKEN_LATE),
    "stream_event": (_stream_event, _event_text, EVENT_ASIDES, EVENT_LATE),
    "chat_completions": (_chat_completions, _chat_text, CHAT_ASIDES, CHAT_LATE),
    "responses": (_responses, _response_text, RESPONSES_ASIDES, RESPONSES_LATE),
    "anthropic": (_anthropic, _message_text, ANTHROPIC_ASIDES, ANTHROPIC_LATE),
}
NAMES = tuple(TELLERS)

NOISE = (b": ping", b":", b"retry: 10", b"retry: +5", b"unknown: x", b"data : x", b"Data: x", b"event: x")
SEPARATORS = ((", ", ": "), (",", ":"), (" ,\t", " :  "), (",\n", ":"), ("\n, ", ": \n"))
LONE = re.compile("[\ud800-\udfff]")


def written(chance, frames):
    """Return ``frames`` as the bytes of a stream; how they are written changes nothing of what they say."""
    ids, space = chance.choice(("none", "none", "all", "one", "some", "empty")), chance.choice((b" ", b""))
    if frames[:1] == frames[1:2]:  # under one id the second would be a repeat
        ids = "none" if ids == "one" else ids
    ends = chance.choice(((b"\n",), (b"\n",), (b"\r\n",), (b"\r",), (b"\n", b"\r", b"\r\n")))
    lines = []
    for number, (event, data) in enumerate(frames):
        block = _lines(chance, event, data, space)
        name = {"one": b"same", "empty": b""}.get(ids, b"%d" % number)
        named = ids in ("all", "one", "empty") or (ids == "some" and _likely(chance, 0.5))
        block.insert(chance.choice((0, len(block))), b"id: " + name) if named else None
        lines += [*block, b""]
        if ids == "all" and number == 1:  # sent again, and to be heard once
            lines += [*block, b""]
        while _likely(chance, 0.15):
            lines += chance.choice(((chance.choice(NOISE), b""), (b"",), (b"data:", b""), (b"id: 1\0", b"")))
    return (b"\xef\xbb\xbf" if _likely(chance, 0.1) else b"") + _joined(chance, lines, ends)


def _joined(chance, lines, ends):
    stream = b""
    for line in lines:
        end = chance.choice(ends) if len(ends) > 1 else ends[0]
        if not line and stream.endswith(b"\r") and end == b"\n":
            end = b"\r\n"  # else the two ends would be one
        stream += line + end
    return stream


def _lines(chance, event, data, space):
    text = data if isinstance(data, str) else _json(chance, data)
    block = [b"data:" + (space or b" " * line.startswith(" ")) + line.encode() for line in text.split("\n")]
    if event:
        block.insert(chance.choice((0, len(block))), b"event:" + space + event.encode())
    if _likely(chance, 0.1):
        block.insert(chance.randrange(len(block) + 1), chance.choice(NOISE[:6]))
    return block


def _json(chance, value):
    ascii_only, separators = _likely(chance, 0.5), chance.choice(SEPARATORS)
    text = json.dumps(value, ensure_ascii=ascii_only, separators=separators)
    return text if ascii_only else LONE.sub(lambda half: f"\\u{ord(half[0]):04X}", text)


DEEP = "[" * 100_000
HOSTILE = (
    "NaN",
    "-Infinity",
    '{"type": NaN}',
    '{"role": "assistant", "delta": Infinity}',
    "9" * 10_000,
    '{"n": ' + "9" * 10_000 + "}",
    '{"n": 1e999, "type": "ping"}',
    '{"type": 1e999}',
    '{"type": -1e-999, "choices": [1e999]}',
    DEEP,
    '{"a":' * 50_000,
    '{"type": "x", "a": ' + DEEP + "]" * 100_000 + "}",
    "[" * 40 + "]" * 40,
    '{"__proto__": {"type": "finish"}, "constructor": {"prototype": 1}, "hasOwnProperty": 1}',
    '{"type": "\\ud800"}',
    '{"\\udc00": "\\ud800"}',
    '{"a": 1, "a": 2',
    "[]",
    "7",
    "null",
    '"text"',
    "{}",
    "{",
    "oops",
    "\ufeff{}",
    "'a'",
    "[DONE] ",
    "\x00",
)
_SLOW_TO_WRITE = frozenset(text for text in HOSTILE if len(text) > 5000)


def spoiled(chance, story):
    """Return the bytes of ``story`` after some harm; what they mean now, only a reader can tell."""
    frames = list(story.frames)
    if _likely(chance, 0.4):
        frames = _warped(chance, frames)
    while _likely(chance, 0.4):
        frames.insert(chance.randrange(len(frames) + 1), ("", _hostile(chance)))
    frames += [("", "oops")] * max(0, chance.randrange(-20, 4))
    stream = written(chance, frames)
    while _likely(chance, 0.6):
        stream = chance.choice(MUTATIONS)(chance, stream)
    return stream


def _hostile(chance):
    text = chance.choice(HOSTILE)
    return text if text not in _SLOW_TO_WRITE or _likely(chance, 0.2) else "NaN"


def _warped(chance, frames):
    """Put a value of a wrong type into a field, at any depth."""
    return [
        (event, _warp(chance, data)) if isinstance(data, dict) and _likely(chance, 0.4) else (event, data)
        for event, data in frames
    ]


def _warp(chance, value):
    name = chance.choice(list(value)) if value else "type"
    inner = value.get(name)
    if name == "index":  # what number a choice has, no reader can guess
        return value
    if isinstance(inner, list) and inner and isinstance(inner[0], dict) and _likely(chance, 0.7):
        return value | {name: [_warp(chance, inner[0]), *inner[1:]]}
    deeper = isinstance(inner, dict) and inner and _likely(chance, 0.7)
    return value | {name: _warp(chance, inner) if deeper else chance.choice(ODD)}


def _at(chance, stream):
    return chance.randrange(len(stream) + 1)


def _flipped(chance, stream):
    if not stream:
        return stream
    at = chance.randrange(len(stream))
    return stream[:at] + bytes([stream[at] ^ 1 << chance.randrange(8)]) + stream[at + 1 :]


def _shortened(chance, stream):
    at = _at(chance, stream)
    return stream[:at] + stream[at + chance.randrange(1, 40) :]


def _lengthened(chance, stream):
    at = _at(chance, stream)
    return stream[:at] + chance.choice(JUNK) + stream[at:]


def _doubled(chance, stream):
    at = _at(chance, stream)
    end = at + chance.randrange(1, 200)
    return stream[:end] + stream[at:end] + stream[end:]


def _truncated(chance, stream):
    return stream[: _at(chance, stream)] if _likely(chance, 0.5) else stream


def _without_line(chance, stream):
    lines = stream.splitlines(keepends=True)
    at = chance.randrange(len(lines) + 1)
    return b"".join(lines[:at] + lines[at + 1 :])


JUNK = (
    b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\r", b"\n",
    b"\r\n", b"\n\n", b":", b"data: ", b"event: error\n", b"event\n", b"id: 1\n", b"id\n", b"id:\n",
    b"retry: 1\n", b'"', b"\\", b"{", b"}", b"\\ud83c", b"NaN", b"1e999", b"data: [DONE]\n\n",
    b"\ndata: oops\n\n", b"\n\ndata: oops\n\n",
)  # fmt: skip
MUTATIONS = (_flipped, _shortened, _lengthened, _doubled, _truncated, _without_line)


def pieces(chance, stream):
    """Return ``stream`` cut at random places."""
    cuts = sorted(_at(chance, stream) for _ in range(chance.randrange(1, 8)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


names = st.sampled_from(NAMES)
seeds = st.randoms(use_true_random=False)
"""Chances that hypothesis can shrink."""


def seeded(seed, number):
    """Return the chance of case ``number`` of a seeded run."""
    return random.Random(f"{seed}/{number}")


HEADERS = {"content-type": "text/event-stream; charset=utf-8"}
FAILURES = {BackendCut: "cut", BackendFailed: "failed", BackendMalformed: "malformed"}


class Broken(AssertionError):
    """What no stream may cause."""


def framed(parts):
    """Return what the framing makes of each part."""
    framing = Framing()
    return [framing.feed(part) for part in parts]


def events(name, parts):
    """Return the events of a stream that came in ``parts``, as the backend edge would have them."""
    dialect = DIALECTS[name]({})
    found = [event for frames in framed(parts) for frame in frames for event in dialect.decode(frame)]
    return found + dialect.eof()


def heard(name, parts, *, take_each=False):
    """Return what a room hears of a stream; raises `Broken` where it hears what it must not."""
    found = events(name, parts)
    ends = [number for number, event in enumerate(found) if isinstance(event, Finished | Failed)]
    if ends != [len(found) - 1]:
        raise Broken(f"endings at {ends} of {len(found)} events")
    ids = {"request_id": "r", "room_id": 1, "message_id": "ours"}
    turn = Turn(**ids, streaming=True, created_at=str, content_limit_bytes=2**30, reasoning=take_each)
    messages = []
    for event in found:
        turn.apply(event)
        messages += turn.take() if take_each and isinstance(event, Delta) else ()
    for message in messages + turn.take():
        json.dumps(payload(message), ensure_ascii=False, allow_nan=False).encode()
    return Meaning(turn.content, FAILURES[type(turn.error)] if turn.error else turn.finish_reason)


def oversized(stream):
    """Return whether the framing may refuse ``stream``."""
    return len(stream) > LINE_LIMIT_BYTES and (
        len(stream) > EVENT_LIMIT_BYTES or len(max(re.split(rb"[\r\n]", stream), key=len)) > LINE_LIMIT_BYTES
    )
