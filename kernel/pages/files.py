"""Files that lie beside the code, read once: nothing is read while somebody waits."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources


def texts(package: str, folder: str, ending: str) -> Mapping[str, str]:
    """Return the files of one kind in a folder of a package, by name."""
    found = (resources.files(package) / folder).iterdir()
    return {file.name: file.read_text(encoding="utf-8") for file in found if file.name.endswith(ending)}
