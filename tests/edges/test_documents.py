"""The documents of the contract: in step with the code, with the routes, and with what is said."""

import argparse
from typing import get_args

import jsonschema_rs
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from loopback import running

from bridge import asyncapi, contract, http_surface, openapi
from bridge.acks import Acks, EventNames
from bridge.commands import documents
from bridge.errors import FinishReason, RequestError
from bridge.events import ToolState
from bridge.listening import Listening
from bridge.messages import (
    MessageChunk,
    MessageEnd,
    MessageReasoning,
    MessageStart,
    MessageStatus,
    MessageTool,
    NewMessage,
    event_name,
    payload,
)
from bridge.requests import parse_join, parse_leave, parse_renew, parse_resume, parse_send, parse_stop

IDS = st.one_of(st.from_regex(r"[A-Za-z0-9_.:\-]{1,128}", fullmatch=True), st.integers(-(2**63), 2**63 - 1))
SEQS = st.integers(1, 2**53 - 1)
ERRORS = st.none() | st.tuples(st.text(), st.text())
FIELDS = ("roomId", "messageId", "requestId", "content", "seq", "resume", "token", "further")
ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), IDS, SEQS)
ASKS = {
    "join_room": parse_join,
    "leave_room": parse_leave,
    "send_message": lambda data: parse_send(data, content_limit_bytes=100),
    "stop_message": parse_stop,
    "resume": parse_resume,
    "renew": parse_renew,
}


def nested(inner):
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner)


def asked():
    """What a device may send: mostly nearly right."""
    anything = st.recursive(ANYTHING, nested, max_leaves=8)
    named = {"roomId": IDS, "messageId": IDS | st.none(), "requestId": IDS | st.none()}
    near = {**named, "content": st.text(), "seq": SEQS}
    more = {"resume": st.none() | st.dictionaries(st.text(), SEQS), "token": st.text(), "further": anything}
    return st.one_of(
        st.fixed_dictionaries(named, optional={"seq": SEQS}),
        st.fixed_dictionaries({}, optional=near | more),
        st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, anything)),
        anything,
    )


def said():
    """Everything that a room may hear."""
    reasons, states = (st.sampled_from(get_args(each)) for each in (FinishReason, ToolState))
    text, maybe = st.text(), st.none() | st.booleans()
    return st.one_of(
        st.builds(MessageStart, IDS, IDS, IDS),
        st.builds(MessageChunk, IDS, IDS, IDS, SEQS, text, st.none() | SEQS),
        st.builds(MessageReasoning, IDS, IDS, IDS, text),
        st.builds(MessageStatus, IDS, IDS, st.none() | IDS, text),
        st.builds(MessageTool, IDS, IDS, IDS, text, text, states, maybe, st.none() | text),
        st.builds(MessageEnd, IDS, IDS, IDS, text, reasons, ERRORS, st.none() | IDS),
        st.builds(NewMessage, IDS, IDS, IDS, st.sampled_from(["user", "assistant"]), text, text),
    )


SOCKET_IO, PROXY = "/socket.io/", "/{path}"
PAGES = {"/", "/docs", "/docs/{name}.json", "/web/{name}"}


@pytest.mark.parametrize("path", documents.texts())
def test_each_document_is_what_the_code_makes_of_it(path):
    assert (documents.ROOT / path).read_text("utf-8") == documents.texts()[path]


def test_the_command_says_what_is_not_in_step_and_writes_it(tmp_path, capsys):
    for path in documents.texts():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    compare, write = (argparse.Namespace(check=check) for check in (True, False))
    assert documents.run(compare, tmp_path) == 1
    assert "docs/openapi.json is not in step" in capsys.readouterr().out
    assert documents.run(write, tmp_path) == 0
    assert documents.run(compare, tmp_path) == 0


def routes_of(app: web.Application):
    """Every method and path, but for those that aiohttp adds by itself, and whatever a proxy takes."""
    return {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.method != "HEAD"
    }


async def test_every_route_of_the_bridge_is_in_the_document_and_no_other(script, monkeypatch):
    opened, real = [], Listening.open

    async def opening(listening, app, port, **options):
        opened.append(app)
        return await real(listening, app, port, **options)

    monkeypatch.setattr(Listening, "open", opening)
    async with running(script, demo=True):
        (app,) = opened
    served = {each for each in routes_of(app) if each[1] not in {SOCKET_IO, PROXY, *PAGES}}
    told = {(operation.method, operation.path) for operation in http_surface.OPERATIONS}
    assert told == served


@pytest.mark.parametrize("made", [openapi, asyncapi])
def test_every_reference_leads_somewhere(made):
    document = made.document()
    for reference in set(references(document)):
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def valid(name, value):
    document = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": contract.schemas()}}
    return jsonschema_rs.validator_for(document).is_valid(value)


@given(said())
def test_what_a_room_hears_is_as_documented(message):
    assert valid(contract.HEARD[event_name(message)], payload(message))


def test_the_names_of_the_events_are_those_that_the_doors_know():
    names = {name: asked.data for name, asked in contract.ASKED.items()}
    acks = Acks(relay=None, rooms=None, telemetry=None, names=EventNames(), content_limit_bytes=1)
    assert set(acks._handlers) == set(names)


@pytest.mark.parametrize("event", ASKS)
@given(data=asked())
def test_what_the_bridge_takes_of_a_device_is_as_documented(event, data):
    try:
        ASKS[event](data)
    except RequestError:
        return
    assert valid(contract.ASKED[event].data, data)


def references(value):
    if isinstance(value, dict):
        yield from [value["$ref"]] if "$ref" in value else []
        value = list(value.values())
    for each in value if isinstance(value, list) else []:
        yield from references(each)
