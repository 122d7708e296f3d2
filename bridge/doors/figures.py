"""``/metrics``: the figures of this process in Prometheus' text format."""

from aiohttp import web

from bridge.metrics import CONTENT_TYPE, Metrics


def routes(metrics: Metrics) -> list[web.RouteDef]:
    """Return the routes of this door."""

    async def figures(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return [web.get("/metrics", figures)]
