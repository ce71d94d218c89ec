"""Where the registries of chains and tokens lie when no setting names them."""

from __future__ import annotations

from pathlib import Path

CHAINS = "supported-chains.json"
TOKENS = "tokens.json"
_HERE = Path(__file__).parent


def registry_file(name: str, *, folder: Path = Path()) -> Path:
    """
    Return the registry in the working folder where there is one, else the one that came with the code.

    An installed package carries its registries inside itself; a clone has them at its top.
    """
    own = folder / name
    if own.is_file():
        return own
    installed = _HERE / "registries" / name
    return installed if installed.is_file() else _HERE.parent / name
