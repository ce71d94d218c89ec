"""A marketplace that does what it must never do is seen by the runner: each sabotage with its finding."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devnet.evm.anvil import CHAIN_ID, Anvil
from devnet.runner.chain_actor import open_chain_actor
from devnet.runner.facts import STOPPING, FindingKind, LevelResult
from devnet.runner.level import Run
from devnet.runner.scenario import PAYMENT_METHODS
from devnet.runner.target import Target
from marketplace.model import LedgerEntryType
from marketplace.notifications.feed import Notifications
from marketplace.payments import settlement
from marketplace.payments.history import PaymentHistory
from marketplace.unit_of_work import UnitOfWork
from tests.harness import USDT, environment, running
from tests.marketplace import harness

pytestmark = [pytest.mark.anvil, pytest.mark.long]
KEY = "a-key-of-the-scanner"


@asynccontextmanager
async def deployed(chain: Anvil, folder: Path) -> AsyncIterator[Run]:
    """Everything in this process, so that a test can spoil it."""
    env = environment(folder, chain.url, SCANNER_API_KEY=KEY)
    async with (
        running(env) as scanner,
        harness.running(harness.environment(folder, scanner.api.url)) as market,
        open_chain_actor(chain.url, CHAIN_ID, USDT, mine_s=0.1) as chain_actor,
    ):
        email, password = harness.ADMIN
        target = Target(
            marketplace_url=market.nobody.url,
            scanner_url=scanner.api.url,
            scanner_key=KEY,
            admin_email=email,
            admin_password=password,
        )
        yield Run(target=target, chain_actor=chain_actor, rails=[PAYMENT_METHODS["proxy"]], log=lambda _: None)


Spoil = Callable[[pytest.MonkeyPatch, Run], None]


def tells_a_loser(patch: pytest.MonkeyPatch, run: Run) -> None:
    notify = UnitOfWork.notify_of_payment

    def notified(self: UnitOfWork, people: list[str], payment: Any, kind: str, title: str) -> None:
        extra = (
            [loser for scenario in run.scenarios for loser in scenario.losers] if kind == "payment_confirmed" else []
        )
        notify(self, [*people, *extra], payment, kind, title)

    patch.setattr(UnitOfWork, "notify_of_payment", notified)


def pays_by_another_transaction(patch: pytest.MonkeyPatch, _run: Run) -> None:
    settle = settlement.payments.complete

    async def complete(*given: Any, **values: Any) -> bool:
        return await settle(*given, **{**values, "tx_hash": "0x" + "00" * 32})

    patch.setattr(settlement.payments, "complete", complete)


def believes_in_another_amount(patch: pytest.MonkeyPatch, _run: Run) -> None:
    settle = settlement.payments.complete

    async def complete(*given: Any, **values: Any) -> bool:
        evidence = {**values["evidence"], "amountReceivedBaseUnits": "1"}
        return await settle(*given, **{**values, "evidence": evidence})

    patch.setattr(settlement.payments, "complete", complete)


def credits_twice(patch: pytest.MonkeyPatch, _run: Run) -> None:
    add = settlement.ledger.add

    async def added(tx: Any, payment: Any, entry: LedgerEntryType, amount: int, now: int) -> None:
        await add(tx, payment, entry, 2 * amount if entry is LedgerEntryType.PAYMENT_DETECTED else amount, now)

    patch.setattr(settlement.ledger, "add", added)


def breaks_now_and_then(patch: pytest.MonkeyPatch, _run: Run) -> None:
    page, calls = Notifications.page, itertools.count(1)

    async def broken(self: Notifications, *given: Any) -> Any:
        if next(calls) % 10 == 0:
            raise RuntimeError("broken on purpose")
        return await page(self, *given)

    patch.setattr(Notifications, "page", broken)


def shows_everybody_everything(patch: pytest.MonkeyPatch, _run: Run) -> None:
    show = PaymentHistory.show

    async def shown(self: PaymentHistory, actor: Any, payment_id: str) -> Any:
        async with self._units.db.read() as tx:
            payment = await settlement.payments.get(tx, payment_id)
        assert payment is not None
        return await show(self, replace(actor, user_id=payment.buyer_id), payment_id)

    patch.setattr(PaymentHistory, "show", shown)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (tells_a_loser, FindingKind.WRONG_RECIPIENT),
        (pays_by_another_transaction, FindingKind.UNPROVEN),
        (believes_in_another_amount, FindingKind.UNPROVEN),
        (credits_twice, FindingKind.DUPLICATE),
        (breaks_now_and_then, FindingKind.SERVER_ERRORS),
        (shows_everybody_everything, FindingKind.LEAK),
    ],
)
async def test_what_must_never_happen_is_seen(
    chain: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil, fault: FindingKind
) -> None:
    async with deployed(chain, tmp_path) as run:
        spoil(monkeypatch, run)
        level = await run.level(1)

    assert fault in faults(level), level.flows
    assert not level.ok
    assert bool(level.stopping) is (fault in STOPPING)


def faults(level: LevelResult) -> set[FindingKind]:
    return {finding.kind for finding in level.findings}
