"""
Builds the client's package: one folder that carries what it needs of the scanner under its own name.

In the repository the client imports the types of the wire and the signatures from where the scanner has them.
Installed beside somebody's backend, packages called `protocol` and `webhooks` would meet theirs.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

NAME = "amn_scanner_client"
HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
IMPORT = re.compile(r"^(\s*from )(?:webhooks\.)?(protocol|signing)\b", re.MULTILINE)
LEFT = re.compile(r"^\s*(?:from|import) (?:protocol|webhooks|clients)\b", re.MULTILINE)


def complete(package: Path) -> None:
    """
    Add to a copy of the package what it needs of the scanner, and let it import that from itself.

    Raises:
        ValueError: something would still be imported from the scanner.
    """
    if not (package / "protocol").exists():  # a source distribution is complete already
        shutil.copytree(REPOSITORY / "protocol", package / "protocol", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copyfile(REPOSITORY / "webhooks" / "signing.py", package / "signing.py")
    for path in package.rglob("*.py"):
        text = IMPORT.sub(rf"\1{NAME}.\2", path.read_text(encoding="utf-8"))
        if LEFT.search(text) is not None:
            raise ValueError(f"{path.name} still imports a module of the scanner")
        path.write_text(text, encoding="utf-8")


class BuildClient(build_py):
    """Copies the package, and completes the copy."""

    def run(self) -> None:
        """Build."""
        super().run()
        complete(Path(self.build_lib) / NAME)


class ClientSources(sdist):
    """Packs the package complete: where it is unpacked there is no repository around it."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copy the sources."""
        super().make_release_tree(base_dir, files)
        package = Path(base_dir) / NAME
        for path in package.rglob("*.py"):  # they may be links to the files here
            text = path.read_bytes()
            path.unlink()
            path.write_bytes(text)
        complete(package)


if __name__ == "__main__":
    carried = [f"{NAME}.protocol"] if (HERE / NAME / "protocol").exists() else []
    setup(packages=[NAME, *carried], cmdclass={"build_py": BuildClient, "sdist": ClientSources})
