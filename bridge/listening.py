"""Where one process listens: the addresses of its doors, opened one by one and closed together."""

from collections.abc import Callable

from aiohttp import web

from bridge.failures import as_json, counted
from bridge.http_server import Site, listen
from bridge.passed import as_it_came
from bridge.proxy import HEADER_LIMIT_BYTES


class Listening:
    """The servers on ``host``; ``header_s`` is how long a request may take to say what it wants.

    ``refused`` is told the code of every request that is refused.
    """

    def __init__(self, host: str, *, header_s: float, refused: Callable[[str], None]) -> None:
        self._host = host
        self._header_s = header_s
        self._refused = refused
        self._sites: list[Site] = []

    async def open(self, app: web.Application, port: int, *, shared: bool = False) -> Site:
        """Serve ``app`` at a port that other processes may have ``shared``. Raises `ListenError`."""
        app.middlewares.append(as_json)
        app.on_response_prepare.extend([counted(self._refused), as_it_came])
        site = await listen(
            app,
            self._host,
            port,
            header_s=self._header_s,
            shared=shared,
            refused=self._refused,
            auto_decompress=False,
            max_line_size=HEADER_LIMIT_BYTES,
            max_field_size=HEADER_LIMIT_BYTES,
        )
        self._sites.append(site)
        return site

    async def close(self) -> None:
        """Take no more requests, and let those under way end."""
        for site in self._sites:
            await site.close()
