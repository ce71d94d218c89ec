"""Ways to break the marketplace on purpose, in the process of a simulation alone (see `sabotage`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import marketplace.payments.settlement as settling
from clients.python.amn_scanner_client import webhooks
from marketplace import unit_of_work
from marketplace.payments import checkout, payout_settlement, webhook_receiver
from marketplace.risk import gate
from marketplace.risk.policy import crediting
from tests.simulation.sabotage import rewrite


def _later(owner: object, name: str, *lines: str) -> None:
    """Let these lines of a function be done in a transaction of their own, after the one they belong to."""
    settling.LATER = unit_of_work.LATER = []  # type: ignore[attr-defined]
    unit_of_work.settling = settling  # type: ignore[attr-defined]
    rewrite(
        unit_of_work.UnitOfWorkFactory,
        "begin",
        (
            "if self.db.shared:",
            (
                "later, settling.LATER[:] = list(settling.LATER), []\n"
                "    for step in later:\n"
                "        async with self.db.write() as tx:\n"
                "            await step(tx)\n"
                "    if self.db.shared:"
            ),
        ),
    )
    changes = []
    for line in lines:
        rest = line.replace("await ", "").replace("(work.tx,", "(tx,")
        changes.append((line, f"settling.LATER.append(lambda tx: {rest})"))
    rewrite(owner, name, *changes)


def ledger_line_in_its_own_transaction() -> None:
    """A payment is complete, and what it holds is written down afterwards."""
    settling.settling = settling  # type: ignore[attr-defined]
    _later(
        settling,
        "_complete",
        "await ledger.add(work.tx, payment, LedgerEntryType.HOLD, payment.amount_base, work.now)",
    )


def command_in_its_own_transaction() -> None:
    """A payment is opened, and that the scanner has to be told is written down afterwards."""
    checkout.settling = settling  # type: ignore[attr-defined]
    _later(
        checkout.Checkout,
        "_create",
        "await outbox.add(work.tx, CommandKind.REGISTER, payment.id, now=work.now, due=work.now + PATIENCE_MS)",
    )


def event_credited_twice() -> None:
    """No webhook is known from before, no payment is over, and no line of the ledger is there already."""
    rewrite(
        webhook_receiver.WebhookReceiver,
        "_is_known",
        ("return await inbox.is_kept(tx, webhook.event_id)", "return False"),
    )
    rewrite(
        webhook_receiver.WebhookReceiver,
        "_settle",
        (
            "if not await inbox.add(work.tx, **named, body=body, now=work.now):",
            "if not await inbox.add(work.tx, **named, body=body, now=work.now) and False:",
        ),
    )
    rewrite(
        settling,
        "settle_payment",
        (
            "if payment.status not in OPEN_PAYMENTS:",
            "if payment.status not in (*OPEN_PAYMENTS, PaymentStatus.COMPLETED):",
        ),
    )
    rewrite(
        settling,
        "_complete",
        (
            "if not funded:\n        return SettlementOutcome.ALREADY_FUNDED\n    await inbox.add_credits(",
            "if funded:\n        await inbox.add_credits(",
        ),
        (
            "LedgerEntryType.PAYMENT_DETECTED, received, work.now)",
            "LedgerEntryType.PAYMENT_DETECTED, received, work.now, key=f'{work.now}:d:{payment.id}')",
        ),
        (
            "LedgerEntryType.HOLD, payment.amount_base, work.now)",
            "LedgerEntryType.HOLD, payment.amount_base, work.now, key=f'{work.now}:h:{payment.id}')",
        ),
    )


def funded_before_depth() -> None:
    """Whatever was seen is enough."""
    rewrite(crediting, "gate", ("if evidence.confirmations < payment.confirmations_required:", "if False:"))


def only_twenty_screened() -> None:
    """Of the transfers of a payment the newest twenty are screened, and the rest is taken for the same payer's."""
    rewrite(
        gate,
        "_parts",
        ("for credit in observed.credits:", "for credit in observed.credits[-20:]:"),
        ("if observed.unexplained:", "if True:"),
        (
            "sums[None] += observed.unexplained",
            "sums[observed.credits[-1].sender if observed.credits else None] += observed.received - sum(sums.values())",
        ),
    )
    rewrite(gate, "_aside", ("for credit in observed.credits:", "for credit in observed.credits[-20:]:"))


def webhook_acknowledged_before_commit() -> None:
    """The scanner is told that its webhook was taken, and it is looked at afterwards."""
    kind = webhook_receiver.WebhookReceiver
    kind._looked_at = kind.receive  # type: ignore[attr-defined]
    webhook_receiver.asyncio = asyncio  # type: ignore[attr-defined]
    rewrite(
        kind,
        "receive",
        (
            "for _ in range(JUDGED_AGAIN):",
            "await self._payment(webhook)\n    asyncio.get_running_loop().create_task(self._looked_at(raw, headers))\n    return WebhookResult('noted', False, False)\n    for _ in range(JUDGED_AGAIN):",
        ),
    )


def signatures_are_not_looked_at() -> None:
    """Whoever knows where webhooks are taken is believed."""
    signed = 'if not verify_amn(body, given.get("x-amn-signature", ""), secret):'
    rewrite(webhooks, "verify_webhook", (signed, "if False:"))


def payout_believed() -> None:
    """An instruction is settled as soon as its transaction is seen at all."""
    rewrite(
        payout_settlement,
        "proof_of",
        ("deep = seen.success is True and seen.final and _as_deep_as_agreed(order, chain, seen)", "deep = True"),
    )


MARKET_SABOTAGES: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        ledger_line_in_its_own_transaction,
        command_in_its_own_transaction,
        event_credited_twice,
        funded_before_depth,
        only_twenty_screened,
        webhook_acknowledged_before_commit,
        payout_believed,
        signatures_are_not_looked_at,
    )
}
