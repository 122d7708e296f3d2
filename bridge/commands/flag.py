"""``flag``: show and change who streams, on all nodes at once."""

import argparse
import contextlib
import getpass
import json
from collections.abc import AsyncIterator
from typing import Any

from bridge.changes import Change, Edit, FlagState, Reason, parse_reason
from bridge.errors import FlagRefused, SettingsError
from bridge.ports import Switch
from bridge.redis_client import RedisClient
from bridge.remote_flag import RemoteFlag
from bridge.rollout import PERCENTAGES, default_rollout, parse_listed, parse_value
from bridge.settings import Settings
from bridge.stores.redis_flag import RedisFlag

Parser = argparse.ArgumentParser
TEACHES = """\
Show and change the flag CHAT_STREAMING_ENABLED: who hears the answer grow. It is asked once per turn, so
a change never touches a turn that runs. All nodes obey within 100 ms, and the value outlives restarts.

  python -m bridge flag show                     the value, where it comes from, who changed it last
  python -m bridge flag on                       every room, but for those denied
  python -m bridge flag off                      nobody, whatever the lists say
  python -m bridge flag rollout 25               a quarter of the rooms, always the same ones
  python -m bridge flag rollout 0                only rooms and users that are allowed
  python -m bridge flag allow ROOM --why "pilot" ROOM whatever the percentage says
  python -m bridge flag deny --user USER         not USER, even in a room that is allowed
  python -m bridge flag forget ROOM              ROOM as all others again
  python -m bridge flag history                  the last 100 changes: when, who, why, from which value

"by guard" in the history: figures went beyond a limit (BRIDGE_GUARD); once that is mended, turn it on.

What decides, in this order: off, deny, on, allow, percentage.
With REDIS_URL it is changed in Redis, bridge or no bridge; else, or with --url, through PUT /admin/flag of
a running bridge (BRIDGE_ADMIN_URL, BRIDGE_ADMIN_TOKEN). exit status: 0 done, 1 not done, 2 wrong usage
"""
_LISTS = {"allow": "stream", "deny": "do not stream", "forget": "are as all others again"}


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", file: Parser) -> None:
    """Add the verb and what stands behind it; ``file`` is what every verb takes."""
    form = argparse.RawDescriptionHelpFormatter
    parser = verbs.add_parser(
        "flag", help="show and change who streams, on all nodes", description=TEACHES, formatter_class=form
    )
    shared = Parser(add_help=False, parents=[file])
    shared.add_argument("--json", action="store_true", help="print JSON (default: for people)")
    shared.add_argument("--url", default="", help="ask the bridge at this address (BRIDGE_ADMIN_URL)")
    changes = Parser(add_help=False, parents=[shared])
    changes.add_argument("--why", default="", help="the reason, for the history")
    changes.add_argument("--who", default="", help="who wants it (default: your login)")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("show", parents=[shared], help="the value, its source, the last change")
    actions.add_parser("history", parents=[shared], help="the last changes, the latest first")
    actions.add_parser("on", parents=[changes], help="every room streams")
    actions.add_parser("off", parents=[changes], help="nobody streams")
    rollout = actions.add_parser("rollout", parents=[changes], help="so many rooms of a hundred stream")
    rollout.add_argument("percent", type=_percent, metavar="0-100")
    for action, means in _LISTS.items():
        listed = actions.add_parser(action, parents=[changes], help=f"these rooms and users {means}")
        listed.add_argument("rooms", nargs="*", metavar="ROOM")
        listed.add_argument("--user", dest="users", action="append", default=[], help="may be repeated")


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Do what the command line says; return the exit status. Raises `BridgeError`."""
    try:
        edit, reason = _edit(arguments), _reason(arguments)
    except FlagRefused as exc:
        raise SettingsError(str(exc)) from exc
    async with _switch(settings, arguments.url) as switch:
        state = await (switch.state() if edit is None else switch.change(edit, reason))
    if arguments.json:
        said = state.wire()
        print(json.dumps(said["history"] if arguments.action == "history" else said))
    elif arguments.action == "history":
        _print_history(state)
    else:
        _print_state(state)
    return 0


def _percent(text: str) -> int:
    if text.isdecimal() and int(text) in PERCENTAGES:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no whole percentage, 0 to 100")


def _edit(arguments: argparse.Namespace) -> Edit | None:
    """Return what is to be changed, None where nothing is. Raises `FlagRefused`."""
    match arguments.action:
        case "show" | "history":
            return None
        case "on" | "off":
            return Edit(parse_value(arguments.action))
        case "rollout":
            return Edit(parse_value(arguments.percent))
    listed = parse_listed({"rooms": arguments.rooms, "users": arguments.users})
    if not len(listed):
        raise FlagRefused(f"unable to {arguments.action} nobody; name a ROOM or a --user")
    lists: dict[str, Any] = {arguments.action: listed}
    return Edit(**lists)


def _reason(arguments: argparse.Namespace) -> Reason:
    who, why = getattr(arguments, "who", ""), getattr(arguments, "why", "")
    return parse_reason({"who": who or _login(), "why": why})


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        return "unknown"


@contextlib.asynccontextmanager
async def _switch(settings: Settings, url: str) -> AsyncIterator[Switch]:
    if url or not settings.redis_url:
        yield RemoteFlag(url or settings.admin_url or settings.address, settings.admin_token)
        return
    if settings.flag_provider:
        raise FlagRefused(f"unable to use the flag; BRIDGE_FLAG_PROVIDER={settings.flag_provider} decides it")
    client = RedisClient(settings.redis_url)
    try:
        default = default_rollout(enabled=settings.chat_streaming_enabled)
        yield RedisFlag(client, default, prefix=settings.redis_prefix)
    finally:
        await client.close()


def _print_state(state: FlagState) -> None:
    rollout = state.rollout
    print(f"value    {rollout}")
    print(f"source   {state.source} (default: {state.default})")
    for name, listed in (("allow", rollout.allow), ("deny", rollout.deny)):
        for kind, names in listed.wire().items():
            if names:
                print(f"{name:<8} {kind} {' '.join(names)}")
    if state.history:
        print(f"changed  {_line(state.history[0])}")
    if rollout.value == "off" and len(rollout.allow):
        print("note     off is off for those allowed too; `rollout 0` lets them alone stream")


def _print_history(state: FlagState) -> None:
    for change in state.history:
        print(_line(change))
    if not state.history:
        print(f"never changed; the default is {state.default}")


def _line(change: Change) -> str:
    reason = f": {change.reason.why}" if change.reason.why else ""
    return f"{change.when}  {change.before} -> {change.rollout}  by {change.reason.who or 'unknown'}{reason}"
