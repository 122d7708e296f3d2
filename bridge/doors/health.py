"""``/healthz`` says that the process lives; ``/readyz`` that it takes new turns and hears other nodes."""

from aiohttp import web

from bridge.readiness import Readiness


def routes(readiness: Readiness) -> list[web.RouteDef]:
    """Return the routes of this door."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def readyz(_: web.Request) -> web.Response:
        reasons = await readiness.reasons()
        return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]
