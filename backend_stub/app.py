"""The reference backend as one object: it can be started and stopped, and tells what it saw."""

from typing import Any

from aiohttp import web

from backend_stub import model
from backend_stub.answers import Answers
from backend_stub.asks import Ask
from backend_stub.calls import CallDesk
from backend_stub.errors import StartError
from backend_stub.faults import Fault, parse
from backend_stub.history import History
from backend_stub.model import Model, Tokens
from backend_stub.routes import application
from backend_stub.settings import Settings
from backend_stub.tally import Tally

_STORE_LIMIT_S = 0.5
_CLOSE_LIMIT_S = 0.1


class ReferenceBackend:
    """The chat product's backend that `Settings` describe. `start` and `stop` may be repeated.

    ``tally`` counts over all its runs; ``history`` is what a test may put in the place of the database,
    ``provider`` what stands in the place of the built-in model. Whoever made a provider closes it.
    """

    def __init__(
        self, settings: Settings, *, history: History | None = None, provider: Model | None = None
    ) -> None:
        self.tally = Tally()
        self._settings = settings
        self._fault = parse(settings.fault)
        self._given_history = history
        self._provider = provider
        self._port = settings.port
        self._history: History | None = None
        self._answers: Answers | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    @property
    def fault(self) -> str | Fault:
        """The fault of calls that ask for none themselves, as in ``cut;after=3``; ``none`` by default."""
        return self._fault

    @fault.setter
    def fault(self, said: str | Fault) -> None:
        self._fault = parse(said) if isinstance(said, str) else said

    @property
    def base_url(self) -> str:
        """Where it listens; with port 0, known once it was started, and kept over a restart."""
        host = self._settings.host
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def stats(self) -> dict[str, Any]:
        """Return what ``GET /stats`` tells."""
        return self.tally.told()

    async def start(self) -> str:
        """Open the history, listen, and return the base URL.

        Raises `StartError` when port, database or provider is not to be had, `SettingError` for a bad URL.
        """
        if self._provider is not None:
            await self._provider.check()
        self._history = self._given_history or History(self._settings.database_url)
        await self._history.open()
        grace_s = self._settings.grace_s
        self._answers = Answers(self._history, self.tally, self._tokens, grace_s=grace_s)
        desk = CallDesk(self._answers, self.tally, lambda: self._fault, self._settings.pace)
        app = application(desk, self._history, self.tally)
        # a handler is told when its caller goes away, even while it has nothing to write
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=_CLOSE_LIMIT_S
        )
        try:
            await self._listen(self._runner)
        except OSError as exc:
            await self.stop()
            why = exc.strerror or str(exc)
            raise StartError(f"unable to listen on {self.base_url}; {why}") from exc
        return self.base_url

    async def stop(self) -> None:
        """Take no more calls, end all answers, store what there is of them, and let go of everything."""
        if self._site is not None:
            await self._site.stop()
        if self._answers is not None:
            await self._answers.stop(_STORE_LIMIT_S)
        if self._runner is not None:
            await self._runner.cleanup()
        if self._history is not None:
            await self._history.close()
        self._site = self._answers = self._runner = self._history = None

    def _tokens(self, ask: Ask) -> Tokens:
        if self._provider is not None:
            return self._provider.pieces(ask.content)
        composed = model.compose(ask.content, model.new_nonce(), ask.pace.tokens)
        return model.paced(composed, ask.pace)

    async def _listen(self, runner: web.AppRunner) -> None:
        await runner.setup()
        site = web.TCPSite(runner, self._settings.host, self._port, backlog=1024)
        await site.start()
        self._site = site
        self._port = runner.addresses[0][1]
