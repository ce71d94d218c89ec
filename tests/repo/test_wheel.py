"""The wheel installs into an empty environment, and what it installs runs from any folder."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from config.registry_files import registry_file
from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver
from scanner.version import VERSION
from tests.harness import MERCHANT, SECRET, USDT, environment, listening
from tests.marketplace.harness import environment as marketplace_environment
from tests.processes import ROOT
from tests.wheels import built, copied, installed, names, start_program, tracked

PUBLIC = "http://pay.example.test"
REGISTRIES = ("CHAINS_JSON_PATH", "TOKENS_JSON_PATH")


@dataclass(frozen=True)
class Installed:
    """The wheel, and an environment that has it and nothing of the clone."""

    wheel: Path
    programs: Path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(copied(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def package(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(wheel, installed(wheel, tmp_path_factory.mktemp("environment")))


def shipped() -> set[str]:
    """Return every file of the packages that the wheel is for; pages for readers of the code stay in the clone."""
    named = {name for name in names_of_packages() if name != "clients/python/setup.py"}
    return {name for name in named if not name.endswith((".md", ".toml")) and not name.startswith("clients/js/")}


def names_of_packages() -> set[str]:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench", "devnet"}
    return {name for name in tracked() if name.partition("/")[0] in folders}


def test_the_wheel_holds_every_file_of_the_services_and_the_registries(wheel: Path) -> None:
    registries = {"config/registries/supported-chains.json", "config/registries/tokens.json"}

    assert names(wheel) == shipped() | registries
    assert "marketplace/store/migrations/script.py.mako" in shipped()


def test_the_wheel_says_the_version_the_services_say(wheel: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == VERSION
    assert wheel.name.split("-")[1] == VERSION


@pytest.mark.long
@pytest.mark.parametrize("program", ["amn-scanner", "amn-marketplace"])
def test_a_program_says_its_commands_from_an_empty_folder_and_leaves_it_empty(
    package: Installed, tmp_path: Path, program: str
) -> None:
    done = subprocess.run(
        [package.programs / program, "--help"], cwd=tmp_path, capture_output=True, text=True, env={}, check=True
    )

    assert done.stdout.startswith(f"usage: {program}")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.long
@pytest.mark.anvil
@pytest.mark.process
async def test_what_is_installed_takes_a_payment_from_an_empty_folder(
    package: Installed, tmp_path: Path, chain: Anvil, hooks: Receiver
) -> None:
    await take_a_payment(package, tmp_path, chain, hooks)


@pytest.mark.anvil
@pytest.mark.long
@pytest.mark.process
@pytest.mark.timeout(900)
async def test_what_is_installed_with_its_locked_libraries_takes_a_payment(
    wheel: Path, tmp_path: Path, chain: Anvil, hooks: Receiver
) -> None:
    """As the documentation says it: a new environment, the locked libraries, the wheel."""
    programs = await asyncio.to_thread(installed, wheel, tmp_path / "environment", libraries=ROOT / "locks/runtime.txt")
    (tmp_path / "empty").mkdir()

    await take_a_payment(Installed(wheel, programs), tmp_path / "empty", chain, hooks)


async def take_a_payment(package: Installed, folder: Path, chain: Anvil, hooks: Receiver) -> None:
    """Start both services in a folder, pay, and see the scanner tell of it once and the marketplace reach it."""
    watching = {**without_registries(environment(folder, chain.url)), "DB_PATH": "scanner.db", "PATH": ""}
    watching["SCANNER_PUBLIC_URL"] = PUBLIC
    async with aiohttp.ClientSession() as session:
        started = await start_program(package.programs / "amn-scanner", env=watching, folder=folder)
        async with listening(started, session) as scanner:
            created = await scanner.api.create(callbackUrl=hooks.url(), amount="5000")
            shown = await scanner.api.call("GET", created["paymentUrl"].removeprefix(PUBLIC))
            assert (shown[0], MERCHANT in shown[1]) == (200, True)  # the templates are part of the package
            assert (await scanner.api.call("GET", "/console/login"))[0] == 200
            await chain.pay(USDT, MERCHANT, 5000, created["paymentReference"])
            await chain.mine(5)
            (delivery,) = await hooks.wait_for(1)
            assert delivery.verified(SECRET)
            assert delivery.json["status"] == "confirmed"

            selling = {**without_registries(marketplace_environment(folder, scanner.api.url)), "PATH": ""}
            started = await start_program(package.programs / "amn-marketplace", env=selling, folder=folder)
            async with listening(started, session, described=False) as marketplace:
                assert (await marketplace.api.call("GET", "/health"))[0] == 200
                assert await marketplace.terminate() == 0
            assert await scanner.terminate() == 0
    assert {"scanner.db", "marketplace.db"} <= set(await asyncio.to_thread(os.listdir, folder))


def without_registries(env: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name not in REGISTRIES}


@pytest.mark.parametrize("name", ["supported-chains.json", "tokens.json"])
def test_a_registry_in_the_working_folder_goes_before_the_one_that_came_with_the_code(
    tmp_path: Path, name: str, package: Installed
) -> None:
    assert registry_file(name, folder=tmp_path) == ROOT / name

    (tmp_path / name).write_text("[]")

    assert registry_file(name, folder=tmp_path) == tmp_path / name
    assert asked_of(package, tmp_path, name) == f"{name}"


def test_without_one_the_installed_registry_is_read(tmp_path: Path, package: Installed) -> None:
    found = Path(asked_of(package, tmp_path, "tokens.json"))

    assert found.parent.name == "registries"
    assert found.is_relative_to(package.programs.parent)
    assert found.read_bytes() == (ROOT / "tokens.json").read_bytes()


def asked_of(package: Installed, folder: Path, name: str) -> str:
    """Return what the installed code says is the registry, from a folder."""
    program = f"from config.registry_files import registry_file; print(registry_file({name!r}))"
    done = subprocess.run(
        [package.programs / "python", "-I", "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
