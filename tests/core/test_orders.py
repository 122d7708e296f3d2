"""What the Socket.IO servers of nodes tell each other survives the way; nonsense on the way is refused."""

import json

import pytest

from bridge.errors import OrderUnusable
from bridge.identity import Removal
from bridge.orders import (
    ORDER_LIMIT_BYTES,
    Answer,
    Carried,
    CloseRoom,
    Disconnect,
    Emit,
    EnterRoom,
    LeaveRoom,
    RemoveMember,
    decode,
    encode,
)

ORDERS = [
    Emit("/", Carried(["e", {"a": [1, None, "안녕 😀\u2028"]}], []), None, []),
    Emit("/chat", Carried(["e", {"_placeholder": True, "num": 0}], [b"\x00\xff"]), ["r", 42], ["s-1"], 7),
    Emit("/", Carried(["\ud800"], []), ["r"], []),
    Answer(7, Carried([], [])),
    Answer(7, Carried(["yes", {"_placeholder": True, "num": 0}], [b""])),
    EnterRoom("/", "s-1", 42),
    LeaveRoom("/", "s-1", "42"),
    CloseRoom("/", "r"),
    Disconnect("/", "s-1"),
    RemoveMember(Removal("ann", 42, 1.5)),
    RemoveMember(Removal("\ud800", "42", 1.0)),
]


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_comes_back_as_it_was(order):
    text = encode(order)
    assert text.isascii()
    assert decode(text) == order


def deep(depth=100_000):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, float("nan"), {(1, 2): 3}, (b"hidden",), memoryview(b"x"), deep()]
)
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(OrderUnusable, match="unable to tell other nodes"):
        encode(Emit("/", Carried(["e", value]), None, []))


def test_what_is_too_long_is_refused():
    encode(Emit("/", Carried(["e", "x" * (ORDER_LIMIT_BYTES - 100)]), None, []))
    with pytest.raises(OrderUnusable, match="longer than"):
        encode(Emit("/", Carried(["e", "x" * ORDER_LIMIT_BYTES]), None, []))


NONSENSE = [
    "",
    "null",
    "{}",
    "[" * 100_000,
    "1" * 5000,
    '["emit"]',
    '["emit", "/", [], null, []]',
    '["emit", "/", [[]], null, [], null]',
    '["emit", "/", [["e"]], [], [], null]',
    '["emit", "/", [["e"]], [{}], [], null]',
    '["emit", "/", [["e"]], "r", [], null]',
    '["emit", "/", [["e"], "not base64!"], null, [], null]',
    '["emit", "/", [["e"], 5], null, [], null]',
    '["emit", "/", [["e"]], null, [], "7"]',
    '["emit", 5, [["e"]], null, [], 7]',
    '["answer", null, [[]]]',
    '["enter", "/", "s", null]',
    '["enter", "/", "s", ["r"]]',
    '["close", "/", 1.5]',
    '["disconnect", "/", 5]',
    '["explode", "/"]',
]


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        decode(text)


def test_no_part_of_an_order_can_be_left_out_or_added():
    for order in ORDERS:
        fields = json.loads(encode(order))
        for wrong in (fields[:-1], [*fields, None]):
            with pytest.raises(ValueError, match="another make"):
                decode(json.dumps(wrong))
