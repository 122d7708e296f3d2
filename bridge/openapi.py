"""The bridge's own HTTP surface as an OpenAPI 3.1 document.

The types are those of the contract; the statuses follow from the codes that a door can refuse with.
"""

from collections.abc import Iterator
from typing import Any

from bridge import __version__
from bridge.contract import schemas
from bridge.http_surface import JSON, OPERATIONS, Operation
from bridge.http_wire import status_of
from bridge.schemas import Schema, ref


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    schemes = {name: {"type": "http", "scheme": "bearer"} for name in ("device", "operator")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bridge",
            "version": __version__,
            "description": "The answer of a backend, token by token on every device of a room: over HTTP.",
        },
        "paths": paths,
        "components": {"schemas": schemas(), "securitySchemes": schemes},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    answers = {str(status): _response(*answer) for status, answer in operation.answers.items()}
    told: dict[str, Any] = {
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": list(_parameters(operation)),
        "responses": dict(sorted({**_refusals(operation), **answers}.items())),
    }
    if operation.body is not None:
        told["requestBody"] = {"required": True, "content": {JSON: {"schema": operation.body}}}
    if operation.security:
        told["security"] = operation.security
    return told


def _refusals(operation: Operation) -> dict[str, Any]:
    codes: dict[int, list[str]] = {}
    for code in operation.codes:
        codes.setdefault(status_of(code), []).append(code)
    said = {status: " ".join(f"`{code}`" for code in each) for status, each in codes.items()}
    said |= {status: why for status, why in operation.refusals.items() if status not in said}
    return {str(status): _response(why, JSON, ref("Refused")) for status, why in said.items()}


def _response(said: str, content_type: str, schema: Schema) -> dict[str, Any]:
    content = {"content": {content_type: {"schema": schema}}} if content_type else {}
    return {"description": said, **content}


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    if "{roomId}" in operation.path:
        named = ref("Id") if operation.method != "options" else {"type": "string"}
        yield {"name": "roomId", "in": "path", "required": True, "schema": named}
    for place, given in (("query", operation.query), ("header", operation.headers)):
        for name, schema in given.items():
            yield {"name": name, "in": place, "schema": schema}
