"""The Socket.IO Admin UI, through python-socketio's `instrument`: figures of this server, and nothing else.

Its mode ``development`` shows every header, token and payload, and lets who looks emit and disconnect: here
it is ``production`` and read-only, and no setting changes that. https://socket.io/docs/v4/admin-ui/
"""

import asyncio
import hmac

from bridge.errors import StoreUnavailable
from bridge.ports import Telemetry
from bridge.sockets.server import ADMIN_NAMESPACE, NAMESPACE, Server


class AdminUi:
    """Lets who knows ``user`` and ``password`` see how ``sio`` is, under the name ``server_id``."""

    def __init__(
        self, sio: Server, telemetry: Telemetry, *, user: str, password: str, server_id: str
    ) -> None:
        self._user, self._password = user.encode(), password.encode()
        self._telemetry = telemetry
        sio.handlers.setdefault(NAMESPACE, {})  # what has no handler of its own is not counted
        self._ui = sio.instrument(
            auth=self._may_look,
            mode="production",
            read_only=True,
            server_id=server_id,
            namespace=ADMIN_NAMESPACE,
        )
        self._ui.uninstrument()  # it patches the classes of python-engineio, for every server of the process
        self._ui.stop_stats_event = asyncio.Event()
        sio.admit(ADMIN_NAMESPACE)

    async def run(self) -> None:
        """Tell the pages how the server is, for as long as it is not cancelled."""
        self._ui.stats_task = asyncio.current_task()  # else it starts one that nobody awaits
        while True:
            try:
                await self._ui._emit_server_stats()  # noqa: SLF001  (it has no other name)
            except StoreUnavailable as error:  # pages of other nodes do not hear it
                self._telemetry.fault(error)

    def _may_look(self, auth: object) -> bool:
        given = auth if isinstance(auth, dict) else {}
        user, password = (
            str(given.get(name, "")).encode(errors="replace") for name in ("username", "password")
        )
        known = hmac.compare_digest(user, self._user)
        return hmac.compare_digest(password, self._password) and known
