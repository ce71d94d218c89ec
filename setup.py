"""What a wheel of the services holds; everything else about the project is in pyproject.toml."""

from __future__ import annotations

from typing import Any

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

SHIPPED = (
    "addresses",
    "api",
    "chains",
    "clients",
    "config",
    "kernel",
    "marketplace",
    "protocol",
    "scanner",
    "webhooks",
)
DATA = ("css", "html", "ico", "jinja", "js", "json", "mako", "svg", "txt", "woff2")
REGISTRIES = "config.registries"  # what lies at the top of the repository is beside the code in the wheel


class BuildServices(build_py):
    """Leaves out the files that build packages, such as this one: they are no modules of a service."""

    def find_package_modules(self, package: str, package_dir: str) -> list[Any]:
        """Return the modules of a package."""
        found = super().find_package_modules(package, package_dir)
        return [each for each in found if each[1] != "setup"]


packages = [name for name in find_packages() if name.partition(".")[0] in SHIPPED]
setup(
    packages=[*packages, REGISTRIES],
    package_dir={REGISTRIES: "."},
    package_data={
        # The clients are packages of their own, and what else lies in their folders is theirs.
        **{name: [f"**/*.{ending}" for ending in DATA] for name in packages if not name.startswith("clients")},
        REGISTRIES: ["supported-chains.json", "tokens.json"],
    },
    include_package_data=False,
    cmdclass={"build_py": BuildServices},
)
