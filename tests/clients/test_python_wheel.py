"""The client installs as a package of its own, which brings nothing else into somebody's environment."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest
from setuptools import build_meta

from clients.python.setup import complete
from scanner.version import VERSION
from tests.clients.proof_vectors import vectors
from tests.clients.webhook_vectors import CONFIRMED, NOW, signed
from tests.processes import ROOT
from tests.wheels import built, copied, installed, names

OURS = {"addresses", "api", "chains", "clients", "config", "kernel", "marketplace", "protocol", "scanner", "webhooks"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("source")) / "clients" / "python"


@pytest.fixture(scope="module")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(project, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(wheel, tmp_path_factory.mktemp("environment")) / "python"


def said(python: Path, program: str, folder: Path) -> str:
    done = subprocess.run([python, "-I", "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_carries_what_it_needs_under_its_own_name_and_no_more(wheel: Path) -> None:
    own = {f"amn_scanner_client/{path.name}" for path in (ROOT / "clients/python/amn_scanner_client").glob("*.py")}
    wire = {f"amn_scanner_client/protocol/{path.name}" for path in (ROOT / "protocol").glob("*.py")}

    assert names(wheel) == own | wire | {"amn_scanner_client/py.typed", "amn_scanner_client/signing.py"}


def test_nothing_of_the_scanner_is_imported(python: Path, tmp_path: Path) -> None:
    program = "import sys, amn_scanner_client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(said(python, program, tmp_path).split())

    assert {"amn_scanner_client", "aiohttp", "msgspec", "orjson"} <= loaded
    assert loaded & (OURS | {"pydantic", "sqlalchemy", "web3"}) == set()


def test_the_documented_receiver_works_where_it_is_installed(python: Path, tmp_path: Path) -> None:
    receiver = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "client.md").read_text(), re.DOTALL)[1]
    body, headers = signed(CONFIRMED | {"amountReceived": "1200"}, secret="a shared secret")
    program = f"{receiver}\nprint(receive({body!r}, {headers!r}, {NOW}))"

    assert said(python, program, tmp_path) == "order-1 is paid with 1200 by 0x4eba"


def test_proofs_are_checked_with_what_the_extra_brings_and_nothing_of_it_is_loaded_before(
    python: Path, tmp_path: Path
) -> None:
    vector = next(iter(vectors()))
    program = f"""
import sys, amn_scanner_client
assert not {{"rlp", "eth_hash", "eth_utils"}} & set(sys.modules)
print(len(amn_scanner_client.verify_proof({vector.proof!r}, {vector.hashes!r})))
"""

    assert said(python, program, tmp_path) == "1"


def test_without_the_extra_the_missing_verifier_says_what_to_install(python: Path, tmp_path: Path) -> None:
    program = """
import sys
sys.modules["rlp"] = None
try:
    from amn_scanner_client import verify_proof
except ImportError as exc:
    print(exc)
"""

    assert said(python, program, tmp_path) == "verify_proof needs the extra: pip install 'amn-scanner-client[proof]'"


@pytest.mark.long
def test_a_source_distribution_builds_the_same_where_there_is_no_repository(
    project: Path, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    packed = build_meta.build_sdist(str(tmp_path))
    with tarfile.open(tmp_path / packed) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "wheel").mkdir()

    again = built(tmp_path / packed.removesuffix(".tar.gz"), tmp_path / "wheel")

    assert names(again) == names(wheel)


@pytest.mark.parametrize(
    "line", ["from webhooks.schedule import RetrySchedule", "import protocol.words", "import clients"]
)
def test_a_package_that_would_still_import_the_scanner_is_not_built(tmp_path: Path, line: str) -> None:
    (tmp_path / "protocol").mkdir()
    (tmp_path / "odd.py").write_text(f"{line}\n")

    with pytest.raises(ValueError, match=r"odd\.py still imports a module of the scanner"):
        complete(tmp_path)


def test_the_clients_have_the_version_of_the_scanner() -> None:
    python = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]["version"]
    node = json.loads((ROOT / "clients/js/package.json").read_text())["version"]

    assert python == node == VERSION
