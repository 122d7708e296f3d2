"""What ended on this node a short time ago: its owner can keep it again when the journal has lost it."""

from collections import deque

from bridge.ports import Clock
from bridge.run import Run

LATELY_S = 10.0
"""Behind a loss a node reads what it lacks within a heartbeat or two."""
LIMIT_BYTES = 16 * 1024 * 1024


class Lately:
    """The runs that ended within `LATELY_S`, the newest of them where they are too large together."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._runs: deque[tuple[float, int, Run]] = deque()
        self._size_bytes = 0

    def add(self, run: Run) -> None:
        """Remember a run that ended now."""
        size_bytes = run.heard.size_bytes if run.heard is not None else 0
        self._runs.append((self._clock.monotonic_s(), size_bytes, run))
        self._size_bytes += size_bytes
        self._forget()

    def runs(self) -> list[Run]:
        """Return them, the oldest first."""
        self._forget()
        return [run for _, _, run in self._runs]

    def _forget(self) -> None:
        since_s = self._clock.monotonic_s() - LATELY_S
        while self._runs and (self._runs[0][0] < since_s or self._size_bytes > LIMIT_BYTES):
            self._size_bytes -= self._runs.popleft()[1]
