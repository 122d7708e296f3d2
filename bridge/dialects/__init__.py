"""The ways of speaking that the bridge understands, by name."""

from collections.abc import Callable

from bridge.dialects.base import Dialect
from bridge.dialects.ui_message import UiMessage

DIALECTS: dict[str, Callable[[], Dialect]] = {"auto": UiMessage, "ui_message": UiMessage}
"""``auto`` is the only dialect there is, as long as there is only one."""
