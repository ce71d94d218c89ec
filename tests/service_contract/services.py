"""Both services as seen by what they share: how each is started, configured and stored."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config import settings as scanner_settings
from kernel.store import database as scanner_database
from kernel.store.maintenance import StoreKind
from marketplace import settings as marketplace_settings
from marketplace.store import database as marketplace_database
from marketplace.store import maintenance as marketplace_maintenance
from scanner.store import maintenance as scanner_maintenance
from tests import harness
from tests.described import check_described
from tests.marketplace import harness as marketplace_harness

NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class ServiceUnderTest:
    """One of the two."""

    name: str
    prefix: str
    kind: StoreKind
    open_database: Callable[[Path], AbstractAsyncContextManager[Any]]
    load_settings: Callable[..., Any]
    environment: Callable[[Path], dict[str, str]]
    running: Callable[..., AbstractAsyncContextManager[Any]]
    check_described: Callable[[str, str, int, bytes], None]
    post: str  # a route that reads a body
    read: str
    insert: str

    def url(self, running: Any) -> str:
        """Return where a service that runs is reached."""
        return str(running.api.url if self.name == "scanner" else running.nobody.url)

    def code(self, answer: Any) -> str:
        """Return the code of an error, which has to have the one shape."""
        if self.name == "scanner":
            assert set(answer) <= {"error", "code", "details"}, answer
            assert isinstance(answer["error"], str)
            return str(answer["code"])
        assert set(answer) == {"success", "error"}, answer
        assert (answer["success"], set(answer["error"])) == (False, {"code", "message", "details"}), answer
        return str(answer["error"]["code"])

    def store(self, folder: Path) -> Path:
        return folder / f"{self.name}.db"


SCANNER = ServiceUnderTest(
    name="scanner",
    prefix="SCANNER_",
    kind=scanner_maintenance.KIND,
    open_database=scanner_database.open_database,
    load_settings=scanner_settings.load_settings,
    environment=lambda folder: harness.environment(folder, NOWHERE),
    running=harness.running,
    check_described=check_described,
    post="/intents",
    read="SELECT count(*) FROM checkpoints",
    insert="INSERT INTO callback_rotations (callback_url, secret, since, overlap_until) VALUES ('u', 's', 1, 2)",
)
MARKETPLACE = ServiceUnderTest(
    name="marketplace",
    prefix="MARKETPLACE_",
    kind=marketplace_maintenance.KIND,
    open_database=marketplace_database.open_database,
    load_settings=marketplace_settings.load_settings,
    environment=marketplace_harness.environment,
    running=marketplace_harness.running,
    check_described=marketplace_harness.check_described,
    post="/api/auth/login",
    read="SELECT count(*) FROM users",
    insert="INSERT INTO address_indices (source, next_index) VALUES ('s', 1)",
)

BOTH = pytest.mark.parametrize("service", [pytest.param(each, id=each.name) for each in (SCANNER, MARKETPLACE)])
