"""The demo's page: one room seen by three devices. Served only while the demo setting is on."""

from pathlib import Path

from aiohttp import web

WEB = Path(__file__).resolve().parent.parent / "web"
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}


def routes() -> list[web.AbstractRouteDef]:
    """Return the routes of this door."""

    async def index(_: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "index.html", headers=_HEADERS)

    async def asset(request: web.Request) -> web.FileResponse:
        file = WEB / request.match_info["name"]
        if not file.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(file, headers=_HEADERS)

    return [web.get("/", index), web.get(r"/web/{name:[a-z_]+\.(?:js|css)}", asset)]
