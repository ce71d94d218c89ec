"""Fixtures every test may use."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from chains.evm.logs import query_limits
from chains.rpc import endpoint
from devnet.evm.anvil import Anvil, anvil
from devnet.receiver import Receiver, receiver
from tests import postgres, statements
from tests.harness import Running, environment, prepared, running
from tests.processes import fork_server

# Stores and scratch files of the tests lie in memory where there is some: most of a short test was waiting for a disk
# to sync. Whoever wants them on a disk sets TMPDIR.
RESTS = [
    *((endpoint, name) for name in ("FIRST_BACKOFF_S", "MAX_BACKOFF_S", "MISCONFIGURED_BACKOFF_S")),
    *((endpoint, name) for name in ("MAX_SOLE_BACKOFF_S", "MAX_SOLE_RETRY_AFTER_S", "MAX_RETRY_AFTER_S")),
    (query_limits, "REST_S"),
]
ON_POSTGRESQL = {"test_postgres", "test_cluster"}  # modules that start servers of their own
MEMORY = Path("/dev/shm")
ENOUGH = 2**31

# The same examples on every run and machine: a property that fails, fails for everybody, and at once.
# Whoever goes looking for more sets HYPOTHESIS_PROFILE=explore.
hypothesis.settings.register_profile("steady", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def pytest_configure(config: pytest.Config) -> None:
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    statements.share(patch)
    if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ENOUGH:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what has a target of its own: what needs PostgreSQL, and what needs a browser."""
    for item in items:
        parameters = (
            item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
        )
        asked = set(getattr(item, "fixturenames", ())) | {each for each in parameters if isinstance(each, str)}
        module = Path(item.path).stem
        if {"postgresql", "pg"} & asked or module in ON_POSTGRESQL:
            item.add_marker(pytest.mark.postgresql)
        if "browser" in Path(item.path).parts or module == "test_browser":
            item.add_marker(pytest.mark.browser)


def pytest_collection_finish() -> None:
    """Take what collecting made, a million objects that live to the end, out of the garbage collector's sight."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    fork_server.stop()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.Server]:
    """The PostgreSQL of this test process; without one on the machine the test is skipped."""
    server = postgres.Server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the store's time limits decide nothing, but where they are what is tried."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("postgresql") and not request.node.get_closest_marker("limits"):
            postgres.be_patient(patch)
        yield


@pytest.fixture
async def chain() -> AsyncIterator[Anvil]:
    """A fresh local chain with the real proxy and the registry's tokens."""
    async with anvil() as fresh:
        yield await prepared(fresh)


@pytest.fixture
def soon_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is left alone for a tenth of the time: what comes after that is what is tried."""
    for module, name in RESTS:
        monkeypatch.setattr(module, name, getattr(module, name) / 10)


@pytest.fixture
async def hooks() -> AsyncIterator[Receiver]:
    """A webhook receiver."""
    async with receiver() as listening:
        yield listening


@pytest.fixture
async def scanner(chain: Anvil, tmp_path: Path) -> AsyncIterator[Running]:
    """The daemon on the local chain, in this process."""
    async with running(environment(tmp_path, chain.url)) as daemon:
        yield daemon
