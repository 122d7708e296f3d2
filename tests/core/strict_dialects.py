"""An independent reader of every dialect, straight from their descriptions, for whole streams.

An ending is a finish reason or one of `cut`, `failed`, `malformed`. What the descriptions leave open is
read so: a finish reason or `complete` makes the answer whole, so garbage behind it is no failure and text
behind it is late; words of the transport (`ping`, a `[DONE]` that the dialect has not) neither make nor
break a row of unreadable frames; a frame named `error` is one in every dialect; an empty final text is none.
"""

import json
import re
from typing import NamedTuple

from strict_sse import parse

ERROR, DONE, BAD = "error", "done", "bad"
ENVELOPE = ("connected", "ping", "restore-id")


class Meaning(NamedTuple):
    text: str
    ending: str


def read(name, stream):
    """Return what a stream in the dialect ``name`` says."""
    reader, has_done = READERS[name]
    words = list(_words(records(stream), trpc=name == "stream_event", has_done=has_done))
    bad = [word is BAD for word in words]
    rows = [n for n in range(len(bad)) if bad[n : n + 3] == [True] * 3]
    words = words[: rows[0] + 3] if rows else words
    text, ending = reader(words)
    if ending is None:
        ending = "malformed" if words and words[-1] is BAD else "cut"
    return Meaning(scalars(text), ending)


def records(stream):
    """Return (event, data) of every record but those that came before under the same id.

    The same event with the same data, that is, whatever bytes say so. Where an id comes with another record,
    ids do not name records and nothing is a repeat any more.
    """
    named, naming, found = {}, True, []
    for lines in _blocks(stream):
        block = b"\n".join([b"", *lines, b"data: .", b"", b""])  # one line more shows empty data too
        for event, closed, name in parse(block):
            data, *_ = closed.rpartition("\n")
            said = (event, data)
            before = named.setdefault(name, said) if name and naming and "\n" in closed else said
            naming = naming and before == said
            if "\n" in closed and (before is said or not naming):
                found.append((event, data))
    return found


def _blocks(stream):
    """Give the lines between empty lines; what the last empty line does not end was cut."""
    plain = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = []
    for line in plain.split(b"\n")[:-1]:
        lines.append(line)
        if not line:
            yield lines[:-1]
            lines = []


def _words(found, *, trpc, has_done):
    for event, data in found:
        if trpc and event == "return":
            return
        if not data and not (trpc and event == "serialized-error"):
            continue  # a record without data; tRPC's own words need none
        if trpc and event in ENVELOPE:
            continue
        if trpc and event == "error" and (said := _object(data)) is not BAD:
            yield {**said, "type": "error"}  # it may bring the text that is kept
        elif event == "error" or (trpc and event == "serialized-error"):
            yield ERROR
        elif data != "[DONE]":
            yield _object(data)
        elif has_done:
            yield DONE


def _object(data):
    try:
        value = json.loads(data, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return BAD
    return value if isinstance(value, dict) else BAD


def _no_json(name):
    raise ValueError(name)


def scalars(text):
    """Return ``text`` with the halves of pairs joined, and U+FFFD for a half that is alone."""
    joined = re.sub("[\ud800-\udbff][\udc00-\udfff]", _pair, text)
    return re.sub("[\ud800-\udfff]", "\ufffd", joined)


def _pair(match):
    high, low = match[0]
    return chr(0x10000 + ((ord(high) - 0xD800) << 10) + ord(low) - 0xDC00)


def _text(value, *path):
    """Return the string at ``path`` through objects; empty where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def _objects(value):
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _ui_message(words):
    reasons = ("stop", "length", "content-filter", "tool-calls", "interrupted")
    heard, kept, step = "", "", 0
    for word in words:
        if word is ERROR:
            return heard, "failed"
        if word is DONE:
            return heard, "cut"
        kind = None if word is BAD else word.get("type")
        if kind == "text-delta":
            heard, kept = heard + _text(word, "delta"), kept + _text(word, "delta")
        elif kind == "start-step":
            step = len(kept)
        elif kind == "reset-step":  # what was heard stays heard, but the final text is without it
            kept = kept[:step]
        elif kind == "abort":
            return kept, "cancelled"
        elif kind == "error" or (kind == "finish" and word.get("finishReason") == "error"):
            return heard, "failed"
        elif kind == "finish":
            reason = word.get("finishReason", "stop")
            return kept, reason if reason in reasons else "other"
    return heard, None


def _role_delta(words):
    text = ""
    for word in words:
        if word is ERROR:
            return text, "failed"
        if word is DONE:
            return text, "stop"
        if word is BAD:
            continue
        if "error" in word and "delta" not in word:
            return text, "failed"
        text += _text(word, "delta") if word.get("role") == "assistant" else ""
    return text, None


def _token(words):
    text, final, whole, named = "", None, False, False
    for word in words:
        if word is BAD:
            continue
        kind = "error" if word is ERROR else word.get("type")
        if kind == "error":
            return text if final is None else final, "failed"
        if kind == "token" and not whole:
            text += _text(word, "content")
        elif kind == "complete":
            whole = True
            final = _text(word, "content") or final
        elif kind == "conversationCreated":
            named = named or _is_id(word.get("conversationId"))
        if whole and named:
            break
    return text if final is None else final, "stop" if whole else None


def _is_id(value):
    if isinstance(value, str):
        return re.fullmatch(r"[A-Za-z0-9_.:-]{1,128}", value) is not None
    return type(value) is int and -(2**63) <= value < 2**63


def _stream_event(words):
    ends = {"success": "stop", "building": "stop", "pending": "stop", "error": "failed"}
    text, of_tool, final, ending = "", "", None, None
    for word in words:
        if word is BAD:
            continue
        kind, value = ("error", {}) if word is ERROR else (word.get("type"), word)
        if kind == "delta" and _text(value, "content"):
            text, of_tool = text + value["content"], ""
        elif kind == "tool_result":
            of_tool = _text(value, "finalContent") or of_tool
        elif kind in ("complete", "error"):
            final = _text(value, "finalContent") or final
        if kind in ("error", "finalized"):
            ending = "failed" if kind == "error" else ends.get(_text(value, "status"), "other")
            break
    return (of_tool or text) if final is None else final, ending


def _chat_completions(words):
    reasons = {"stop": "stop", "length": "length", "content_filter": "content-filter"}
    reasons |= {"tool_calls": "tool-calls", "function_call": "tool-calls"}
    text, refused, reason = "", False, None
    for word in words:
        if word is DONE:
            reason = reason or "cut"
            break
        if word is ERROR or (word is not BAD and word.get("error")):
            return text, "failed"
        choices = [] if word is BAD else _objects(word.get("choices"))
        for choice in choices:
            if reason is None and choice.get("index", 0) == 0:
                refusal = _text(choice, "delta", "refusal")
                text += _text(choice, "delta", "content") + refusal
                refused = refused or refusal != ""
                said = _text(choice, "finish_reason")
                reason = reasons.get(said, "other") if said else None
    return text, "content-filter" if refused and reason == "stop" else reason


def _responses(words):
    text, refused = "", False
    for word in words:
        if word is BAD:
            continue
        kind = "error" if word is ERROR else word.get("type")
        if kind in ("error", "response.failed"):
            return text, "failed"
        if kind in ("response.output_text.delta", "response.refusal.delta"):
            text += _text(word, "delta")
            refused = refused or kind == "response.refusal.delta"
        elif kind in ("response.completed", "response.incomplete"):
            response = word.get("response")
            output = _objects(response.get("output")) if isinstance(response, dict) else []
            return _final_text(output) or text, _responses_end(word, kind, output, refused)
    return text, None


def _responses_end(word, kind, output, refused):
    if kind == "response.incomplete":
        reasons = {"max_output_tokens": "length", "content_filter": "content-filter"}
        return reasons.get(_text(word, "response", "incomplete_details", "reason"), "other")
    if refused:
        return "content-filter"
    return "tool-calls" if output and output[-1].get("type") == "function_call" else "stop"


def _final_text(output):
    """Return the text of the whole response that the last event carries."""
    messages = [item for item in output if item.get("type") == "message"]
    parts = [part for item in messages for part in _objects(item.get("content"))]
    return "".join(_text(part, "text") or _text(part, "refusal") for part in parts)


def _anthropic(words):
    reasons = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool-calls", "max_tokens": "length"}
    reasons |= {"model_context_window_exceeded": "length", "refusal": "content-filter"}
    text, reason = "", "stop"
    for word in words:
        if word is BAD:
            continue
        kind = "error" if word is ERROR else word.get("type")
        if kind == "error":
            return text, "failed"
        if kind == "message_stop":
            return text, reason
        if kind == "content_block_start" and _text(word, "content_block", "type") == "text":
            text += _text(word, "content_block", "text")
        elif kind == "content_block_delta" and _text(word, "delta", "type") == "text_delta":
            text += _text(word, "delta", "text")
        elif kind == "message_delta" and isinstance(word.get("delta"), dict):
            said = word["delta"].get("stop_reason")
            reason = reasons.get(said, "other") if isinstance(said, str) else reason
    return text, None


READERS = {
    "ui_message": (_ui_message, True),
    "role_delta": (_role_delta, True),
    "token": (_token, False),
    "stream_event": (_stream_event, False),
    "chat_completions": (_chat_completions, True),
    "responses": (_responses, False),
    "anthropic": (_anthropic, False),
}
