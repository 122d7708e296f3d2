"""Loopback ports for what is started later: held from now on, so that nobody else is given them meanwhile."""

import contextlib
import socket


class HeldPort:
    """A port whose ``number`` is held until ``close``, by a socket that is bound and does not listen.

    Linux gives such a port to nobody who asks for any, and lets a server have it that names it and sets
    SO_REUSEADDR, as they all do, again and again; until then who connects to it is refused.
    """

    def __init__(self, number=0):
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", number))
        except OSError:
            self._socket.close()
            raise
        self.number = self._socket.getsockname()[1]
        self.close = self._socket.close


@contextlib.contextmanager
def held_port():
    """Give the number of a port that nobody has."""
    with contextlib.closing(HeldPort()) as port:
        yield port.number


@contextlib.contextmanager
def held_ports(*places):
    """Give the number of a port from which ``places`` are counted; these ports nobody has."""
    for _ in range(100):
        first = HeldPort()
        with contextlib.ExitStack() as held:
            held.callback(first.close)
            try:
                for place in set(places) - {0}:
                    held.enter_context(contextlib.closing(HeldPort(first.number + place)))
            except (OSError, OverflowError):
                continue
            yield first.number
            return
    raise AssertionError
