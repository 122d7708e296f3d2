"""``documents``: writes the contract as others read it; the types in Python are its source."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge import asyncapi, openapi, typescript

Parser = argparse.ArgumentParser
ROOT = Path(__file__).resolve().parents[2]
TEACHES = """\
Write docs/openapi.json (HTTP), docs/asyncapi.json (events) and bridge/web/events.d.ts (TypeScript), which
are made from the types of the bridge.

  python -m bridge documents            write what has changed
  python -m bridge documents --check    write nothing; say what would change

exit status: 0 all are as they should be, 1 `--check` found one that is not, 2 wrong usage
"""


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    """Add the verb."""
    form = argparse.RawDescriptionHelpFormatter
    says = "write the contract as OpenAPI, AsyncAPI and TypeScript"
    parser = verbs.add_parser("documents", help=says, description=TEACHES, formatter_class=form)
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")


def texts() -> Mapping[str, str]:
    """Return the text of each document under its path in the repository."""
    return {
        "docs/openapi.json": _json(openapi.document()),
        "docs/asyncapi.json": _json(asyncapi.document()),
        "bridge/web/events.d.ts": typescript.declarations(),
    }


def run(arguments: argparse.Namespace, root: Path = ROOT) -> int:
    """Write or compare the documents under ``root``; return the exit status."""
    other = {path: text for path, text in texts().items() if _read(root / path) != text}
    for path, text in other.items():
        print(f"{path} is not in step" if arguments.check else path)
        if not arguments.check:
            (root / path).write_text(text, "utf-8")
    return 1 if other and arguments.check else 0


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _read(file: Path) -> str:
    return file.read_text("utf-8") if file.is_file() else ""
