"""What `amn-scanner` does beside running the daemon; each command is loaded when it is asked for."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from kernel.process import Commands

_MODULES = {
    "doctor": "scanner.commands.doctor.run",
    "listen": "scanner.commands.listen",
    "import-go": "scanner.commands.import_go.run",
}


class _Command(Protocol):
    def run(self, asked: argparse.Namespace, environ: Mapping[str, str]) -> int:
        """Do it, and return the exit code."""


def add_commands(commands: Commands) -> None:
    """Describe the commands to what reads the arguments."""
    doctor = commands.add_parser("doctor", help="look at settings, registries, endpoints, tokens, clock and store")
    doctor.add_argument("--callback", metavar="URL", help="also send a signed test event there")
    doctor.add_argument("--secret", help="what signs the test event; without it the receiver cannot know us")
    listen = commands.add_parser("listen", help="receive events on this machine: print, verify and forward them")
    listen.add_argument("--host", default="127.0.0.1")
    listen.add_argument("--port", type=int, default=8090, help="0 takes any free one (default: 8090)")
    listen.add_argument("--secret", help="the callbackSecret; by default AMN_SCANNER_WEBHOOK_SECRET")
    listen.add_argument("--forward", metavar="URL", help="where to send each on, as it came; its answer is ours")
    import_go = commands.add_parser("import-go", help="take over the store of the scanner written in Go")
    import_go.add_argument("path", type=Path, help="its scanner.db, which is only read")
    import_go.add_argument("--apply", action="store_true", help="write it; without this only say what would be written")
    import_go.add_argument("--skip", action="store_true", help="write the rest where some rows are refused")


def is_ours(command: str | None) -> bool:
    """Say whether a command is one of these."""
    return command in _MODULES


def run(asked: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do what was asked, and return the exit code."""
    # The daemon needs none of it, and a library for tables takes its memory too.
    command = cast("_Command", importlib.import_module(_MODULES[asked.command]))
    return command.run(asked, environ)
