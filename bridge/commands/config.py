"""``config``: every setting with its value and where it comes from; ``config check``: can they be used."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from bridge.app import App
from bridge.profiles import Profile
from bridge.settings import HIDDEN, Settings, without_credentials

_UNITS = {"_s": "s", "_bytes": "bytes"}
_WIDTHS = (32, 36)
Parser = argparse.ArgumentParser
TEACHES = """\
Show every setting: its name in the environment, its value, and where it comes from, the first that has it:
environment, file (config/bridge.toml or --config), profile (config/backends/NAME.toml), default.

  python -m bridge config                        all of them; secrets are hidden
  python -m bridge config --json                 the same for a script
  python -m bridge config check && deploy        may the bridge start with them? says what serve would say

exit status: 0 they can be used, 1 `check` found one that cannot, 2 wrong usage
"""


def add_parser(verbs: "argparse._SubParsersAction[Parser]", file: Parser) -> None:
    """Add the verb; ``file`` is what every verb takes."""
    form = argparse.RawDescriptionHelpFormatter
    says = "show every setting and its source, or check them"
    parser = verbs.add_parser("config", parents=[file], help=says, description=TEACHES, formatter_class=form)
    parser.add_argument("action", nargs="?", choices=["show", "check"], default="show", help="(default show)")
    parser.add_argument("--json", action="store_true", help="print JSON (default: for people)")


def is_check(arguments: argparse.Namespace) -> bool:
    """Return whether a wrong setting is the finding, and not an obstacle."""
    return (arguments.verb, getattr(arguments, "action", "")) == ("config", "check")


async def run(
    settings: Settings, profile: Profile, origins: Mapping[str, str], arguments: argparse.Namespace
) -> int:
    """Show or check the settings; return the exit status. Raises `SettingsError`."""
    if is_check(arguments):
        await App(settings, profile).discard()
        print(json.dumps({"ok": True}) if arguments.json else "ok: the bridge can start with these settings")
        return 0
    shown = [
        Shown(each.metadata["env"][0], *_shown(each, getattr(settings, each.name)), origins[each.name])
        for each in fields(Settings)
    ]
    print(json.dumps([each.wire() for each in shown]) if arguments.json else _table(shown))
    return 0


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting as anybody may see it."""

    name: str
    value: Any
    unit: str
    source: str

    def wire(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"name": self.name, "value": self.value, "unit": self.unit, "source": self.source}

    @property
    def words(self) -> str:
        """The value for people."""
        match self.value:
            case bool():
                text = "on" if self.value else "off"
            case float():
                text = f"{self.value:g}"
            case list():
                text = ", ".join(self.value)
            case _:
                text = str(self.value)
        return f"{text} {self.unit}".strip() or "-"


def _shown(each: Any, value: Any) -> tuple[Any, str]:
    unit = next((unit for suffix, unit in _UNITS.items() if each.name.endswith(suffix)), "")
    if each.name.endswith("_url") and value:
        return without_credentials(value), unit
    if not each.repr and value:
        return HIDDEN, unit
    return (list(value) if isinstance(value, tuple) else value), unit


def _table(shown: list[Shown]) -> str:
    name, value = _WIDTHS
    return "\n".join(f"{each.name:<{name}} {each.words:<{value}} {each.source}" for each in shown)
