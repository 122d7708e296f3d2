"""The flag from any OpenFeature provider (the extra ``openfeature``), in the place of our own.

Evaluated once per turn: the boolean flag ``CHAT_STREAMING_ENABLED``, the room as its targeting key, with
``room`` and ``user`` (OpenFeature specification, section 3). Providers may block, so they are asked on
threads of their own; one that fails, is not ready or takes too long is answered by the default.
"""

import asyncio
import contextlib
import importlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.provider import AbstractProvider, FeatureProvider
from openfeature.provider.no_op_provider import NoOpProvider

from bridge.changes import Edit, FlagState, Reason
from bridge.errors import FlagRefused, SettingsError, StoreUnavailable
from bridge.events import Id
from bridge.rollout import Rollout

FLAG = "CHAT_STREAMING_ENABLED"
DOMAIN = "bridge"
ASK_S, READY_S = 0.25, 5.0
"""How long a turn waits for the provider, and the process for it to be ready."""
THREADS, WAITING_LIMIT = 4, 64


class OpenFeatureFlag:
    """Asks ``provider``, and owns it; ``default`` holds where it says nothing. ``failed`` hears why, once."""

    def __init__(
        self, provider: FeatureProvider, default: Rollout, failed: Callable[[BaseException], None]
    ) -> None:
        logging.getLogger("openfeature").setLevel(logging.CRITICAL)  # `failed` is told, once
        self._provider = provider
        self._default = default
        self._failed = failed
        self._client = api.get_client(domain=DOMAIN)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="openfeature")
        self._asking = 0
        self._trouble = ""

    async def start(self) -> None:
        """Wait until the provider is ready, or for a while. Raises `StoreUnavailable` when it is not."""
        try:
            await self._ask(READY_S, partial(api.set_provider_and_wait, self._provider, DOMAIN))
        except Exception as exc:
            why = f"the provider is not ready: {type(exc).__name__}"
            raise StoreUnavailable(f"unable to ask for the flag; {why}") from exc

    async def close(self) -> None:
        """Shut the provider down, or leave it after a short time."""
        with contextlib.suppress(TimeoutError):
            await self._ask(ASK_S, partial(api.set_provider_and_wait, NoOpProvider(), DOMAIN))
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def streaming(self, room_id: Id, user: str) -> bool:
        """Return what the provider says of a turn that begins now; see `Flag.streaming`."""
        otherwise = self._default.streams(room_id, user)
        if self._asking >= WAITING_LIMIT:  # it hangs: nobody waits behind so many
            return otherwise
        context = EvaluationContext(str(room_id), {"room": room_id, "user": user})
        try:
            found = await self._ask(
                ASK_S, partial(self._client.get_boolean_details, FLAG, otherwise, context)
            )
        except Exception as error:  # noqa: BLE001  (a provider may raise anything; the turn goes on)
            self._tell(type(error).__name__)
            return otherwise
        self._tell(str(found.error_code or ""))
        return bool(found.value)

    async def state(self) -> FlagState:
        """Return the default, and who decides: what the provider holds, only it can show."""
        return FlagState(self._default, provider=type(self._provider).__name__)

    async def change(self, edit: Edit, reason: Reason) -> FlagState:  # noqa: ARG002
        """Refuse: the flag is changed where the provider has it. Raises `FlagRefused`."""
        raise FlagRefused(f"unable to set the flag; {type(self._provider).__name__} decides it")

    def _tell(self, trouble: str) -> None:
        """Tell of a trouble when it begins, not in every turn."""
        if trouble and trouble != self._trouble:
            self._failed(StoreUnavailable(f"unable to ask for the flag; the provider says {trouble}"))
        self._trouble = trouble

    async def _ask(self, limit_s: float, call: Callable[[], Any]) -> Any:
        """Return what ``call`` does on a thread; who does not wait for it any more leaves it there."""
        self._asking += 1
        asked = asyncio.get_running_loop().run_in_executor(self._threads, call)
        asked.add_done_callback(self._asked)
        async with asyncio.timeout(limit_s):
            return await asyncio.shield(asked)

    def _asked(self, asked: "asyncio.Future[Any]") -> None:
        self._asking -= 1
        if not asked.cancelled():
            asked.exception()  # nobody may be waiting for it any more


def provider_named(named: str) -> FeatureProvider:
    """Return the provider at ``module:attribute``, made by a call where it is a class or a function.

    Raises `SettingsError`.
    """
    module, _, attribute = named.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
        made = found() if callable(found) else found
    except Exception as exc:  # whatever the operator's own module raises
        raise SettingsError(f"unable to use BRIDGE_FLAG_PROVIDER={named!r}; {type(exc).__name__}") from exc
    if not isinstance(made, AbstractProvider):
        raise SettingsError(f"unable to use BRIDGE_FLAG_PROVIDER={named!r}; it is no OpenFeature provider")
    return made
