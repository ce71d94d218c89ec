"""The end-to-end runner's judgement: what is right passes, and each thing that must never happen is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from devnet.runner import judging, ramp
from devnet.runner.checks import (
    Recipients,
    backlog_fault,
    credits_of,
    duplicate_credits,
    evidence_fault,
    held_fault,
    ledger_findings,
    not_received_live,
    quote_fault,
    repeated,
    too_many_errors,
)
from devnet.runner.digital import goods_fault
from devnet.runner.facts import (
    CallSample,
    CreditedTransfer,
    ExpectedPayment,
    Finding,
    FindingKind,
    FlowResult,
    LevelResult,
    Notification,
    OnChain,
    Purchase,
)
from devnet.runner.report import LIVE, as_json, as_markdown, latencies, percentile
from devnet.runner.scenario import decimal

TOKEN, WALLET, ESCROW = "0x" + "A1" * 20, "0x" + "B2" * 20, "0x" + "C3" * 20
TX = "0x" + "d4" * 32
PRICE = 11 * 10**18
OWED = ExpectedPayment(chain_id=97, token=TOKEN, amount=PRICE, wallet=WALLET)
SEEN = OnChain(
    tx_hash=TX, succeeded=True, canonical=True, depth=5, sender=WALLET.lower(), received=PRICE, balance=PRICE + 7
)
DEAL = Purchase(
    worker=0,
    buyer="buyer",
    sellers=("winner", "loser", "other"),
    request_id="request",
    offers={"won": "winner", "lost": "loser"},
    winner="winner",
    payment_id="payment",
)
CAST = Recipients([DEAL], ["admin"], ["elsewhere"])


def payment(**changes: Any) -> dict[str, Any]:
    """Return a payment that is proven, with changes."""
    return {
        "id": "payment",
        "status": "completed",
        "escrowState": "funded",
        "chainId": 97,
        "tokenAddress": TOKEN.lower(),
        "amountBaseUnits": str(PRICE),
        "txHash": TX,
        "rail": "proxy",
        "confirmationsRequired": 5,
        "baselineBalanceBaseUnits": "7",
        "evidence": {
            "amountReceivedBaseUnits": str(PRICE),
            "sender": WALLET,
            "transfers": [{"txHash": TX, "eventKey": "0"}],
        },
        **changes,
    }


def test_a_payment_that_the_chain_bears_out_is_proven() -> None:
    assert evidence_fault(payment(), OWED, SEEN) is None
    assert evidence_fault(payment(rail="direct_balance", txHash=None), OWED, SEEN) is None


@pytest.mark.parametrize(
    ("changed", "seen", "word"),
    [
        ({"status": "processing"}, {}, "status"),
        ({"escrowState": None}, {}, "escrow"),
        ({"chainId": 56}, {}, "chain"),
        ({"tokenAddress": ESCROW}, {}, "token"),
        ({"amountBaseUnits": str(PRICE - 1)}, {}, "amount"),
        ({"txHash": None}, {}, "transaction"),
        ({"evidence": None}, {}, "amount received"),
        ({"evidence": {"amountReceivedBaseUnits": str(2 * PRICE), "sender": WALLET}}, {}, "amount received"),
        ({"evidence": {"amountReceivedBaseUnits": str(PRICE), "sender": ESCROW}}, {}, "sender"),
        ({}, {"succeeded": False}, "succeeded"),
        ({}, {"canonical": False}, "canonical"),
        ({}, {"depth": 4}, "4 confirmations of 5"),
        ({}, {"sender": ESCROW}, "chain's sender"),
        ({}, {"received": PRICE - 1}, "received on chain"),
        ({"rail": "direct_balance"}, {"balance": PRICE + 6}, "balance above the baseline"),
    ],
)
def test_a_payment_marked_paid_without_the_right_evidence_is_seen(
    changed: dict[str, Any], seen: dict[str, Any], word: str
) -> None:
    fault = evidence_fault(payment(**changed), OWED, replace(SEEN, **seen))

    assert fault is not None
    assert word in fault


def test_a_transfer_credited_to_two_payments_is_a_duplicate() -> None:
    once = [
        CreditedTransfer("a", TX, "0"),
        CreditedTransfer("a", TX, "1"),
        CreditedTransfer("b", "0x" + "e5" * 32, "0"),
    ]

    assert duplicate_credits(once) == []
    (found,) = duplicate_credits([*once, CreditedTransfer("b", TX, "1")])
    assert found == Finding(FindingKind.DUPLICATE, f"{TX} 1 was credited to a, b")


def test_the_credits_of_a_payment_are_its_transfers() -> None:
    assert credits_of(payment()) == [CreditedTransfer("payment", TX, "0")]
    assert credits_of(payment(evidence=None)) == []


@pytest.mark.parametrize(
    ("held", "surplus", "fault"),
    [
        (PRICE, 0, None),
        (2 * PRICE, 0, FindingKind.DUPLICATE),
        (PRICE, PRICE, FindingKind.DUPLICATE),
        (0, 0, FindingKind.LEDGER),
    ],
)
def test_the_ledger_holds_the_price_once(held: int, surplus: int, fault: FindingKind | None) -> None:
    found = held_fault({"heldBaseUnits": str(held), "availableBaseUnits": str(surplus)}, PRICE)

    assert (found.kind if found else None) is fault


RIGHT = [
    ("winner", "request_created", "request"),
    ("loser", "request_created", "request"),
    ("elsewhere", "request_created", "request"),
    ("buyer", "offer_received", "lost"),
    ("winner", "offer_accepted", "won"),
    ("loser", "offer_rejected", "lost"),
    ("buyer", "pending_payment", "payment"),
    ("buyer", "payment_confirmed", "payment"),
    ("winner", "payment_confirmed", "payment"),
    ("buyer", "delivered", "request"),
    ("winner", "delivery_confirmed", "request"),
    ("admin", "payment_release", "payment"),
    ("buyer", "payment_released", "payment"),
    ("winner", "payment_released", "payment"),
    ("admin", "payment_released", "of somebody else"),
    ("loser", "request_created", "of somebody else"),
]
WRONG = [
    ("buyer", "request_created", "request"),
    ("loser", "offer_received", "lost"),
    ("loser", "offer_accepted", "won"),
    ("loser", "offer_accepted", "lost"),
    ("winner", "offer_rejected", "won"),
    ("winner", "offer_rejected", "lost"),
    ("winner", "pending_payment", "payment"),
    ("loser", "payment_confirmed", "payment"),
    ("elsewhere", "payment_confirmed", "payment"),
    ("admin", "payment_confirmed", "payment"),
    ("winner", "delivered", "request"),
    ("buyer", "delivery_confirmed", "request"),
    ("loser", "payment_release", "payment"),
    ("buyer", "payment_held", "payment"),
    ("buyer", "dispute_opened", "payment"),
    ("buyer", "payment_confirmed", "of somebody else"),
    ("buyer", "request_created", "of somebody else"),
    ("admin", "delivered", "of somebody else"),
]


@pytest.mark.parametrize(("user", "kind", "about"), RIGHT)
def test_what_is_somebodys_business_may_be_received(user: str, kind: str, about: str) -> None:
    assert CAST.wrong_recipients([Notification("n", user, kind, about)]) == []


@pytest.mark.parametrize(("user", "kind", "about"), WRONG)
def test_what_is_nobodys_business_is_a_wrong_recipient(user: str, kind: str, about: str) -> None:
    (found,) = CAST.wrong_recipients([Notification("n", user, kind, about)])

    assert found.kind is FindingKind.WRONG_RECIPIENT


def test_the_same_notification_to_one_user_twice_is_seen() -> None:
    reported = [
        Notification("1", "buyer", "payment_confirmed", "payment"),
        Notification("2", "winner", "payment_confirmed", "payment"),
    ]

    assert repeated(reported) == []
    assert [f.kind for f in repeated([*reported, replace(reported[0], id="3")])] == [FindingKind.REPEATED]


def test_what_is_stored_was_received_live_once() -> None:
    note = Notification("1", "buyer", "delivered", "request")

    assert not_received_live([note], [note]) == []
    assert [f.kind for f in not_received_live([], [note])] == [FindingKind.NOT_NOTIFIED]
    assert [f.kind for f in not_received_live([note, note], [note])] == [FindingKind.NOT_NOTIFIED]
    assert [f.kind for f in not_received_live([note], [])] == [FindingKind.NOT_NOTIFIED]


def calls(good: int, *bad: int) -> list[CallSample]:
    return [CallSample("read", 0.1, status) for status in [200] * good + list(bad)]


def test_one_percent_of_server_errors_passes_and_more_does_not() -> None:
    assert too_many_errors(calls(99, 500)) == []
    assert [f.kind for f in too_many_errors(calls(98, 500, 503))] == [FindingKind.SERVER_ERRORS]
    assert [f.kind for f in too_many_errors(calls(98, 0, 0))] == [FindingKind.SERVER_ERRORS]


def test_while_services_are_killed_only_bugs_count() -> None:
    assert too_many_errors(calls(1, 0, 503), killing=True) == []
    assert too_many_errors(calls(1, 500), killing=True) != []


def test_a_backlog_that_does_not_drain_is_seen() -> None:
    assert backlog_fault(0, 0, 60) == []
    assert [f.kind for f in backlog_fault(1, 0, 60)] == [FindingKind.BACKLOG]
    assert [f.kind for f in backlog_fault(0, 1, 60)] == [FindingKind.BACKLOG]


class StuckWorld:
    """A scanner that keeps one webhook."""

    def __init__(self) -> None:
        self.admin = self
        self.asked = 0

    async def ask_scanner(self, *_: str) -> dict[str, Any]:
        self.asked += 1
        return {"chains": [{"undeliveredWebhooks": 1}]}

    async def ok(self, *_: str) -> dict[str, Any]:
        return {"payments": [], "total": 0}


async def test_the_backlog_is_given_time_and_then_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "DRAIN_S", 0.05)
    monkeypatch.setattr(judging, "POLL_S", 0.01)
    context = StuckWorld()

    found = await judging._backlog(context, [])  # type: ignore[arg-type]

    assert [f.kind for f in found] == [FindingKind.BACKLOG]
    assert context.asked > 1


async def test_what_is_told_while_the_list_is_read_is_listed_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    note = Notification("1", "buyer", "delivered", "request")
    listener = SimpleNamespace(user="buyer", since="", received=[])
    asked = 0

    async def listed(*_: str) -> list[Notification]:
        nonlocal asked
        asked += 1
        listener.received = [note]  # just after its page was read
        return [note] if asked > 1 else []

    monkeypatch.setattr(judging, "all_notifications", listed)
    monkeypatch.setattr(judging, "POLL_S", 0.01)
    context = SimpleNamespace(admin="admin")

    assert await judging._told(context, listener, set()) == ([note], [note])  # type: ignore[arg-type]


def test_the_reconciliations_findings_are_ours() -> None:
    double = {"kind": "double_release", "paymentId": "p", "detail": "2 entries"}
    orphan = {"kind": "orphan_entries", "paymentId": "p", "detail": "1"}

    assert ledger_findings({"ok": True, "findings": []}) == []
    found = ledger_findings({"ok": False, "findings": [double, orphan]})
    assert [f.kind for f in found] == [FindingKind.DUPLICATE, FindingKind.LEDGER]
    assert [f.kind for f in ledger_findings({"ok": False, "findings": []})] == [FindingKind.LEDGER]


def level(workers: int = 1, *findings: Finding, failed: str | None = None) -> LevelResult:
    return LevelResult(
        workers=workers,
        seconds=2.0,
        flows=[FlowResult(DEAL, 1.5, failed, ()) for _ in range(workers)],
        samples=[CallSample("login", seconds / 100, 200) for seconds in range(1, 101)],
        live_s=[0.25],
        listed_s=[0.5],
        late=0,
        findings=findings,
    )


class ScriptedRun:
    """A run whose levels are known beforehand."""

    def __init__(self, results: list[LevelResult]) -> None:
        self._results = results

    async def level(self, workers: int) -> LevelResult:
        result = self._results.pop(0)
        assert result.workers == workers
        return result


async def climb(folder: Path, *results: LevelResult) -> list[LevelResult]:
    run = ScriptedRun(list(results))
    levels = [result.workers for result in results]
    return await ramp.ramp(run, levels, folder=folder, about={}, log=lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fault",
    [
        FindingKind.UNPROVEN,
        FindingKind.DUPLICATE,
        FindingKind.WRONG_RECIPIENT,
        FindingKind.SERVER_ERRORS,
        FindingKind.BACKLOG,
    ],
)
async def test_a_stop_condition_ends_the_ramp(tmp_path: Path, fault: FindingKind) -> None:
    done = await climb(tmp_path, level(1), level(2, Finding(fault, "seen")), level(4))

    assert [result.workers for result in done] == [1, 2]
    assert [result.ok for result in done] == [True, False]


async def test_a_missed_target_that_is_no_stop_condition_lets_the_ramp_go_on(tmp_path: Path) -> None:
    done = await climb(tmp_path, level(1, failed="pay: no"), level(2))

    assert [result.ok for result in done] == [False, True]


async def test_both_reports_say_what_went_wrong(tmp_path: Path) -> None:
    await climb(tmp_path, level(1), level(2, Finding(FindingKind.LEAK, "seen by another"), failed="pay: no money"))

    reported = orjson.loads((tmp_path / "e2e.json").read_bytes())
    text = (tmp_path / "e2e.md").read_text()
    assert reported["ok"] is False
    assert [each["targets"]["leaks"] for each in reported["levels"]] == [0, 1]
    assert reported["levels"][1]["failures"] == [{"worker": 0, "why": "pay: no money"}] * 2
    assert "one worker saw another's: seen by another" in text
    assert "failed at pay: no money" in text


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]

    assert [percentile(values, percent) for percent in (50, 95, 99)] == [50.0, 95.0, 99.0]
    assert percentile([3.0], 50) == 3.0
    assert latencies(level())["login"] == {"count": 100, "p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    assert latencies(level())[LIVE]["p50"] == 0.25


def test_a_missed_goal_is_marked_and_fails_nothing() -> None:
    slow = replace(level(), samples=[CallSample("login", 0.31, 200)])

    assert "| login | 0.3 / 1 | 0.31 / 0.31 / 0.31 ✗ |" in as_markdown([slow], {})
    assert orjson.loads(as_json([slow], {}))["ok"] is True


def test_prices_are_written_exactly() -> None:
    assert [decimal(amount) for amount in (10**19, 10**19 + 10**9, 1)] == ["10", "10.000000001", "0.000000000000000001"]


# -- the stories -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "fault"),
    [
        ([["A"], ["A"]], None),
        ([[], []], "0 goods for one"),
        ([["A", "B"], ["A", "B"]], "2 goods for one"),
        ([["A"], ["B"]], "another good each time"),
        ([["X"], ["X"]], "a good that its seller never had"),
        ([["C"], ["C"]], "a good that somebody else was shown"),
    ],
)
def test_a_good_that_is_not_the_buyers_alone_is_seen(shown: list[list[str]], fault: str | None) -> None:
    assert goods_fault(shown, frozenset({"A", "B", "C"}), {"C"}) == fault


DUE = -(-25 * 10**17 * 10_000 // (10_000 - 39))
QUOTE = {
    "offerAmount": "100",
    "offerCurrency": "TRY",
    "fxRate": "0.025",
    "tokenPriceUsd": "0.9961",
    "depegAdjustmentBps": 39,
    "settleAmount": decimal(DUE),
}


def quoted(due: int = DUE, **changes: Any) -> str | None:
    return quote_fault({**QUOTE, **changes}, 100 * 10**18, "TRY", due)


def test_a_quote_is_computed_anew() -> None:
    assert quoted() is None


@pytest.mark.parametrize(
    "changes",
    [
        {"offerAmount": "101"},
        {"offerCurrency": "USD"},
        {"fxRate": "0.026"},
        {"tokenPriceUsd": "0.9971"},
        {"depegAdjustmentBps": 40},
        {"settleAmount": decimal(DUE - 1)},
        {"due": DUE + 1},
    ],
)
def test_a_quote_that_comes_to_something_else_is_seen(changes: dict[str, Any]) -> None:
    assert quoted(**changes) is not None


@pytest.mark.parametrize(
    ("kind", "about", "audience"),
    [
        ("goods_ready", "payment", {"buyer"}),
        ("goods_revealed", "payment", {"winner"}),
        ("dispute_opened", "dispute", {"buyer", "winner", "admin"}),
        ("stock_low", "stock", {"loser"}),
        ("fee_changed", "other", {"other"}),
        ("goods_ready", "dispute", set()),
        ("dispute_opened", "stock", set()),
        ("stock_low", "other", set()),
    ],
)
def test_each_notification_of_a_story_has_its_audience(kind: str, about: str, audience: set[str]) -> None:
    deal = replace(DEAL, dispute_id="dispute", stocks={"stock": "loser"})

    assert Recipients([deal], ["admin"]).audience(kind, about) == audience
