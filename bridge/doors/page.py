"""The demo's pages: a room seen by devices, and the contract. Served only while the demo setting is on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

WEB = Path(__file__).resolve().parent.parent / "web"
_NODES = "ws: wss: http://127.0.0.1:* http://localhost:*"
"""Where the page connects to beside its own address: the demo's nodes are ports of this machine."""
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        f"default-src 'self'; img-src 'self' data:; connect-src 'self' {_NODES}; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}


def routes(documents: Mapping[str, Mapping[str, Any]]) -> list[web.AbstractRouteDef]:
    """Return the routes of this door; ``documents`` are what the page of the contract shows."""

    async def index(_: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "index.html", headers=_HEADERS)

    async def asset(request: web.Request) -> web.FileResponse:
        file = WEB / request.match_info["name"]
        if not file.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(file, headers=_HEADERS)

    async def contract(_: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "docs.html", headers=_HEADERS)

    async def document(request: web.Request) -> web.Response:
        return web.json_response(documents[request.match_info["name"]], headers=_HEADERS)

    return [
        web.get("/", index),
        web.get("/docs", contract),
        web.get(rf"/docs/{{name:{'|'.join(documents)}}}.json", document),
        web.get(r"/web/{name:[a-z_]+\.(?:js|css)}", asset),
    ]
