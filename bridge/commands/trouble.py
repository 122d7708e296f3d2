"""Trouble on purpose, for the page of the demo: the backend stalls, the node of an answer is killed.

A server of the demo's own beside its nodes, so that no bridge that serves has such a route. It acts only on
processes which the demo started: `STALL_S` at a time, and never on the last node.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

import httpx
from aiohttp import web

from bridge.commands.children import Child
from bridge.commands.cluster import Node
from bridge.errors import RequestError
from bridge.failures import failure
from bridge.http_server import listen
from bridge.http_wire import CrossSite, refusal
from bridge.origins import Origins

STALL_S = 4.0
"""So long the backend stands still: less than after which a bridge gives an answer up."""
HEADER_S = 10.0
ASK_S = 5.0
"""How long a node may take to say how many turns it runs."""
_RUNNING = "bridge_turns_running "


class Trouble:
    """What the page may ask for; ``origins`` are those of the page, and nobody else's."""

    def __init__(self, backend: Child, nodes: Sequence[Node], origins: CrossSite) -> None:
        self._backend = backend
        self._nodes = nodes
        self._origins = origins
        self._stalled: asyncio.TimerHandle | None = None
        self._killed: list[Node] = []

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the page's buttons."""
        return [
            web.get("/trouble", self._offered, allow_head=False),
            web.post("/trouble/stall", self._stall),
            web.post("/trouble/kill", self._kill),
        ]

    def end(self) -> None:
        """Let the backend go on, if it stands still."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._go_on()

    @property
    def _living(self) -> list[Node]:
        left = (node for node in self._nodes if node not in self._killed)
        return [node for node in left if node.child.process.returncode is None]

    async def _offered(self, request: web.Request) -> web.Response:
        return self._told(request)

    async def _stall(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        if self._stalled is None:
            self._signal(signal.SIGSTOP)
            self._stalled = asyncio.get_running_loop().call_later(STALL_S, self._go_on)
        return self._told(request)

    async def _kill(self, request: web.Request) -> web.Response:
        """Kill the node that runs most turns."""
        if refused := self._refused(request):
            return refused
        headers, living = self._origins.headers(request), self._living
        running = await asyncio.gather(*map(_running, living))
        if not any(running):
            return failure(409, "idle", "unable to kill the owner of an answer; none is under way", headers)
        if len(self._living) < 2:  # noqa: PLR2004  (looked at anew: from here on nothing is awaited)
            return failure(409, "last_node", "unable to kill the last node; nobody would go on", headers)
        owner = living[running.index(max(running))]
        with contextlib.suppress(ProcessLookupError):
            owner.child.process.kill()
        self._killed.append(owner)
        return self._told(request, killed=self._nodes.index(owner) + 1)

    def _refused(self, request: web.Request) -> web.Response | None:
        """Return the refusal of a page that may not ask; a form needs no leave of the browser to post."""
        try:
            self._origins.check(request)
        except RequestError as refused:
            return refusal(refused)
        return None

    def _told(self, request: web.Request, killed: int | None = None) -> web.Response:
        said = {"stallSeconds": STALL_S, "nodes": len(self._living), "killed": killed}
        return web.json_response(said, headers=self._origins.headers(request))

    def _go_on(self) -> None:
        self._stalled = None
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._backend.process.send_signal(number)


async def _running(node: Node) -> float:
    """Return how many turns ``node`` runs, 0 for one that does not say."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=ASK_S) as client:
            said = (await client.get(f"{node.address}/metrics")).text
    except httpx.HTTPError:
        return 0.0
    lines = (line for line in said.splitlines() if line.startswith(_RUNNING))
    return sum(float(line.removeprefix(_RUNNING)) for line in lines)


@contextlib.asynccontextmanager
async def offered(backend: Child, nodes: Sequence[Node], page: str) -> AsyncIterator[str]:
    """Offer trouble to the page at the address ``page``; yield the page's address that says so to it.

    Raises `ListenError`.
    """
    at = urlsplit(page)
    ours = [f"{at.scheme}://{at.netloc}", f"{at.scheme}://localhost:{at.port}"]
    trouble = Trouble(backend, nodes, CrossSite(Origins(ours)))
    app = web.Application()
    app.add_routes(trouble.routes())
    site = await listen(app, at.hostname or "", 0, header_s=HEADER_S)
    mark = "&" if at.fragment else "#"
    try:
        yield f"{page}{mark}trouble={urlsplit(site.address).port}"
    finally:
        trouble.end()
        await site.close()
