"""Where one process listens: the addresses of its doors, opened one by one and closed together."""

from aiohttp import web

from bridge.http_server import listen
from bridge.passed import as_it_came
from bridge.proxy import HEADER_LIMIT_BYTES


class Listening:
    """The servers on ``host``; ``header_s`` is how long a request may take to say what it wants."""

    def __init__(self, host: str, *, header_s: float) -> None:
        self._host = host
        self._header_s = header_s
        self._runners: list[web.AppRunner] = []

    async def open(self, app: web.Application, port: int) -> str:
        """Serve ``app``, and return its address. Raises `ListenError`."""
        app.on_response_prepare.append(as_it_came)
        runner, address = await listen(
            app,
            self._host,
            port,
            header_s=self._header_s,
            auto_decompress=False,
            max_line_size=HEADER_LIMIT_BYTES,
            max_field_size=HEADER_LIMIT_BYTES,
        )
        self._runners.append(runner)
        return address

    async def close(self) -> None:
        """Take no more requests, and let those under way end."""
        for runner in self._runners:
            await runner.cleanup()
