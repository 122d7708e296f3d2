"""The documents of the contract: in step with the code, with the routes, and with what is said."""

import argparse

import pytest
from aiohttp import web
from loopback import running

from bridge import http_surface, openapi
from bridge.commands import documents
from bridge.listening import Listening

SOCKET_IO, PAGE, PROXY = "/socket.io/", {"/", "/web/{name}"}, "/{path}"


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

    async def opening(listening, app, port):
        opened.append(app)
        return await real(listening, app, port)

    monkeypatch.setattr(Listening, "open", opening)
    async with running(script, demo=True):
        (app,) = opened
    served = {each for each in routes_of(app) if each[1] not in {SOCKET_IO, PROXY, *PAGE}}
    told = {(operation.method, operation.path) for operation in http_surface.OPERATIONS}
    assert told == served


def test_every_reference_leads_somewhere():
    document = openapi.document()
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= schemas


def references(value):
    if isinstance(value, dict):
        yield from [value["$ref"]] if "$ref" in value else []
        value = list(value.values())
    for each in value if isinstance(value, list) else []:
        yield from references(each)
