"""The image is built from what the wheel needs, runs as nobody, and starts what the package installs."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, checked_by, is_setting
from tests.processes import ROOT
from tests.wheels import built, copied, names, tracked

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
FINAL = DOCKERFILE.split("\nFROM ")[-1]


def in_context() -> set[str]:
    """Return the files that `.dockerignore` lets through."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    let_in = [line[1:] for line in lines if line.startswith("!")]
    left_out = [line.removeprefix("**/") for line in lines[1:] if not line.startswith("!")]
    return {
        name
        for name in tracked()
        if any(name == each or name.startswith(f"{each}/") for each in let_in)
        and not any(fnmatch(Path(name).name, each) for each in left_out)
    }


def test_the_linter_finds_nothing() -> None:
    assert checked_by("hadolint", "Dockerfile") == ""


def test_it_has_stages_runs_as_nobody_and_says_how_it_is() -> None:
    assert DOCKERFILE.count("\nFROM ") == 2
    assert re.search(r"^USER (?!0|root)\d+:\d+$", FINAL, re.MULTILINE)
    assert "/health" in FINAL.split("HEALTHCHECK")[1]
    assert "--require-hashes" in DOCKERFILE
    assert all(
        ":" in image and not image.endswith(":latest") for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    )


def test_it_starts_a_program_of_the_package_with_settings_that_are_read() -> None:
    command = json.loads(re.findall(r"^CMD (\[.*\])$", FINAL, re.MULTILINE)[-1])
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    given = dict(re.findall(r"([A-Z_]+)=(\S+)", FINAL.split("ENV ")[1].split("\nUSER")[0]))

    assert command[0] in scripts
    assert {name for name in given if name not in {"PATH", "PYTHONUNBUFFERED"} and not is_setting(name)} == set()
    assert given["HOST"] == "0.0.0.0"  # noqa: S104 - inside a container
    assert not {name for name in given if name.endswith("DB_PATH")}  # beside a database's URL it would stop the start
    assert "WORKDIR /data\n" in FINAL  # where the default paths lead


@pytest.mark.long
@pytest.mark.timeout(180)
def test_what_is_copied_into_it_builds_the_same_wheel_and_holds_no_secret(tmp_path: Path) -> None:
    allowed = in_context()
    whole, part = copied(tmp_path / "whole"), copied(tmp_path / "part")
    for path in [path for path in part.rglob("*") if path.is_file()]:
        if str(path.relative_to(part)) not in allowed:
            path.unlink()

    assert names(built(part, tmp_path / "a")) == names(built(whole, tmp_path / "b"))
    assert [name for name in allowed if name.endswith((".db", ".key", ".env"))] == []
    for secret in ("scanner.db", "scanner.db.key", ".env", "deploy/.env", "config/.env"):
        assert secret not in allowed


@pytest.mark.parametrize("builder", ["docker", "podman", "buildah"])
def test_make_image_takes_the_builder_that_is_there(tmp_path: Path, builder: str) -> None:
    for name in (builder, "sh", "python3"):
        (tmp_path / name).symlink_to("/bin/sh")
    done = subprocess.run(
        ["/usr/bin/make", "--dry-run", "image", "PYTHON=python3"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"{tmp_path}/{builder} build --tag amn-pay-scanner --file deploy/Dockerfile ." in done.stdout
