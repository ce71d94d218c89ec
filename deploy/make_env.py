"""Writes deploy/.env: the example with a random value for each secret of it, readable by its owner alone."""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
from pathlib import Path

HERE = Path(__file__).parent
SECRET = re.compile(r"^(?P<name>\w+)=(?P<value>example-.*|ZXhhbXBsZS.*)$", re.MULTILINE)


def filled(example: str) -> str:
    """Return the example with random secrets; what is the same in two places stays the same."""
    drawn: dict[str, str] = {}

    def draw(found: re.Match[str]) -> str:
        value = found["value"]
        if value not in drawn:
            is_text = value.startswith("example-")
            drawn[value] = secrets.token_hex(32) if is_text else base64.b64encode(secrets.token_bytes(32)).decode()
        return f"{found['name']}={drawn[value]}"

    return SECRET.sub(draw, example[example.index("# compose:") :])


def main() -> int:
    """Write it, unless there is one: its secrets may be in use."""
    target = HERE / ".env"
    try:
        written = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.stderr.write(f"{target} is there already: move it away first, it may hold secrets in use\n")
        return 1
    with os.fdopen(written, "w", encoding="utf-8") as file:
        file.write(filled((HERE / ".env.example").read_text(encoding="utf-8")))
    sys.stdout.write(f"{target}: written with random secrets; keep a copy elsewhere\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
