"""What a delta costs from frame to chunk, in each dialect: ``python -m benchmarks.decoding``.

Decode and turn only, no bytes and no network; one delta of about 50 characters a frame, and the turn is
taken after each, as it is when nothing merges. Prints the least of several runs, in microseconds a delta.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from bridge.dialects import DIALECTS
from bridge.dialects.base import Frame
from bridge.turn import Turn

TEXT = "fifty characters of an answer, more or less, ok?  "


def chunk(text: str) -> dict[str, Any]:
    """Return a chat completion chunk."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "m",
        "choices": [choice],
    }


WORDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "ui_message": lambda text: {"type": "text-delta", "id": "0", "delta": text},
    "role_delta": lambda text: {"role": "assistant", "delta": text},
    "token": lambda text: {"type": "token", "content": text},
    "stream_event": lambda text: {"type": "delta", "content": text},
    "chat_completions": chunk,
    "responses": lambda text: {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "delta": text,
        "sequence_number": 4,
    },
    "anthropic": lambda text: {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": text},
    },
}


def seconds(dialect_name: str, frames: list[Frame]) -> float:
    """Return how long ``frames`` take through a fresh dialect and a fresh turn."""
    dialect = DIALECTS[dialect_name]({})
    turn = Turn(
        request_id="r",
        room_id="room",
        message_id="m",
        streaming=True,
        created_at=str,
        content_limit_bytes=2**40,
    )
    began_s = time.perf_counter()
    for frame in frames:
        for event in dialect.decode(frame):
            turn.apply(event)
        turn.take()
    return time.perf_counter() - began_s


def main() -> None:
    """Measure every dialect, named and by detection, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=__doc__)
    parser.add_argument("--deltas", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{arguments.deltas} deltas, least of {arguments.runs} runs, microseconds a delta\n")
    print(f"{'dialect':<18}{'named':>8}{'auto':>8}")
    for name, word in WORDS.items():
        frames = [Frame(json.dumps(word(TEXT)))] * arguments.deltas
        costs = [
            min(seconds(said, frames) for _ in range(arguments.runs)) / arguments.deltas * 1e6
            for said in (name, "auto")
        ]
        print(f"{name:<18}{costs[0]:>8.2f}{costs[1]:>8.2f}")


if __name__ == "__main__":
    main()
