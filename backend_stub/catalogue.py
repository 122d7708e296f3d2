"""The list of models that the APIs of OpenAI are asked for before anything else."""

from aiohttp import web

from backend_stub.errors import Refused
from backend_stub.wires.base import Json
from backend_stub.wires.openai import require_bearer

MODELS = ("gpt-4o-mini", "built-in")
"""The names that are listed. Any other may be asked for an answer all the same, and gets the same."""


async def models(request: web.Request) -> web.Response:
    """Return all models."""
    require_bearer(request.headers)
    return web.json_response({"object": "list", "data": [_told(name) for name in MODELS]})


async def model(request: web.Request) -> web.Response:
    """Return one model."""
    require_bearer(request.headers)
    name = request.match_info["model"]
    if name not in MODELS:
        raise Refused(404, "model_not_found", f"unable to find the model {name!r}")
    return web.json_response(_told(name))


def _told(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "backend_stub"}
