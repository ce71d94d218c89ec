"""The marketplace is as it is described: settings, error codes, findings and calls are documented, history is kept."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from marketplace.errors import ConfigError
from marketplace.payments.observation import AMOUNT_MISMATCH
from marketplace.payments.unapplied_funds import DOUBLE_CREDIT
from marketplace.risk.policy import ADDRESS_TOKEN_MISMATCH, BASELINE_MISSING, BASELINE_STALE, Reason
from marketplace.settings import load_settings
from marketplace.store.migrate import migrate
from marketplace.store.tables import APPEND_ONLY
from marketplace.web.routes import ROUTES
from tests.harness import ROOT
from tests.marketplace.harness import ESCROW, environment, running
from tests.repo.pages import column, page, rows

PAGE = "docs/marketplace.md"
DOCS = page(PAGE)
CALL = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[\w/:.-]+)")
VARIABLE = re.compile(r"{(\w+)}")
FINDING = re.compile(r'"([a-z]+(?:_[a-z]+)+)"')


def test_the_calls_are_those_that_are_documented() -> None:
    documented = {call for row in rows(PAGE, "call") for call in CALL.findall(row[0])}

    assert documented == {(route.method, VARIABLE.sub(r":\1", route.path)) for route in ROUTES}


def test_every_finding_is_documented() -> None:
    source = (ROOT / "marketplace" / "payments" / "reconciliation.py").read_text()
    kinds = set(FINDING.findall(source))

    assert kinds
    assert kinds - set(column(PAGE, "kind")) == set()  # others are put together of two words


def test_the_reasons_to_hold_money_are_those_that_are_documented() -> None:
    holds = {*Reason, BASELINE_MISSING, BASELINE_STALE, AMOUNT_MISMATCH, DOUBLE_CREDIT} - {Reason.AML_NOT_REQUIRED}

    assert {*column(PAGE, "reason")} == holds
    assert all(f"`{name}`" in DOCS for name in (ADDRESS_TOKEN_MISMATCH, Reason.AML_NOT_REQUIRED))


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_history_has_its_triggers(tmp_path: Path, table: str) -> None:
    path = tmp_path / "marketplace.db"
    migrate(path)
    with sqlite3.connect(path) as store:
        found = {row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}

    assert {f"{table}_no_update", f"{table}_no_delete"} <= found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MARKETPLACE_PORT", "70000"),
        ("MARKETPLACE_PROT", "1"),
        ("MARKETPLACE_JWT_SECRET", "short"),
        ("MARKETPLACE_ESCROW_ADDRESSES", "{"),
        ("MARKETPLACE_ESCROW_ADDRESSES", '{"97": []}'),
        ("AMN_SCANNER_URL", "ftp://x"),
        ("RELEASE_GRACE_HOURS", "nan"),
        ("PAYMENT_TTL_HOURS", "0"),
        ("OFAC_SDN_URL", "no url"),
        ("AMN_SCANNER_WEBHOOK_SECRET", "whsec_!"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}"):
        load_settings({**environment(tmp_path), name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MARKETPLACE_XPUB", "xprv9s21ZrQH143K"),
        ("MARKETPLACE_ESCROW_ADDRESSES", '{"97": ["0x12"]}'),
        ("MARKETPLACE_ESCROW_ADDRESSES", f'{{"12345": ["{ESCROW}"]}}'),
        ("MARKETPLACE_RATE_LIMITS", "login=often"),
    ],
)
async def test_what_turns_out_bad_on_a_closer_look_is_named_too(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}"):
        async with running({**environment(tmp_path), name: value}):
            pass


def test_production_needs_its_own_secret(tmp_path: Path) -> None:
    env = {**environment(tmp_path), "APP_ENV": "production", "MARKETPLACE_JWT_SECRET": ""}

    with pytest.raises(ConfigError, match="MARKETPLACE_JWT_SECRET"):
        load_settings(env)


def test_secrets_are_in_no_repr(tmp_path: Path) -> None:
    env = {**environment(tmp_path), "RPC_BSC_TESTNET": "https://node.test/key-123"}
    shown = repr(load_settings(env))

    for name in ("MARKETPLACE_JWT_SECRET", "AMN_SCANNER_API_KEY", "AMN_SCANNER_WEBHOOK_SECRET", "MARKETPLACE_XPUB"):
        assert env[name] not in shown
    assert "key-123" not in shown
    assert env["MARKETPLACE_ADMIN_PASSWORD"] not in shown
