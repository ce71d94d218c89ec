"""The rules about money, over every combination of facts that matters."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.clock import HOUR_MS
from marketplace.model import ProductType
from marketplace.risk.policy import (
    Account,
    Approve,
    AwaitConfirmations,
    DirectBalance,
    Evidence,
    Flags,
    Gate,
    PaymentFacts,
    Reason,
    ReleaseDecision,
    ReleaseReason,
    Review,
    direct_balance,
    gate,
    paid,
    release_block,
    release_decision,
    same_address,
)
from marketplace.risk.screening import Clear, Listed, Unavailable, Verdict

USDT = "0x109F54Dab34426D5477986b0460aE5dFBA65f022"
USDC = "0x64544969ed7EBf5f083679233325356EbE738930"
ESCROW = "0x70e36f6BF80a52b3B46b3aF8e106CC0ed743E8e4"
BUYER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
PAYMENT = PaymentFacts(
    chain_id=97, chain_type="evm", token=USDT, destination=ESCROW, amount=1000, confirmations_required=5
)
GOOD = Evidence(
    chain_id=97,
    token=USDT.lower(),
    destination=ESCROW.lower(),
    amount=1000,
    confirmations=5,
    tx_hash="0x01",
    sender=BUYER,
)
SCREENED = Flags(aml_required=True, aml_block_on_failure=True)
OPEN = Flags(aml_required=True, aml_block_on_failure=False)


def decide(
    screening: Verdict | None = None,
    sender_is_contract: bool | None = None,
    flags: Flags | None = None,
    payment: PaymentFacts = PAYMENT,
    **changed: Any,
) -> Gate:
    return gate(payment, replace(GOOD, **changed), screening, sender_is_contract, flags or Flags())


def held(verdict: Gate) -> Reason | None:
    return verdict.reason if isinstance(verdict, Review) else None


# -- the gate ----------------------------------------------------------------------------------------


def test_the_reasons_are_exactly_those_of_the_contract() -> None:
    assert {str(reason) for reason in Reason} == {
        "aml_sanctions",
        "aml_not_required",
        "no_buyer_address_to_screen",
        "contract_sender",
        "insufficient_amount",
        "wrong_token",
        "wrong_recipient",
        "wrong_asset",
        "transfer_not_found",
        "broken_answer",
        "another_rail",
        "proof_missing",
        "proof_invalid",
    }


def test_exactly_what_was_agreed_passes_unscreened() -> None:
    assert decide() == Approve(Reason.AML_NOT_REQUIRED)


def test_more_than_agreed_passes() -> None:
    assert isinstance(decide(amount=10**30), Approve)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"tx_hash": None}, Reason.TRANSFER_NOT_FOUND),
        ({"tx_hash": ""}, Reason.TRANSFER_NOT_FOUND),
        ({"chain_id": 56}, Reason.WRONG_ASSET),
        ({"token": None}, Reason.WRONG_ASSET),
        ({"token": USDC}, Reason.WRONG_TOKEN),
        ({"token": "nonsense"}, Reason.WRONG_TOKEN),
        ({"destination": BUYER}, Reason.WRONG_RECIPIENT),
        ({"destination": ""}, Reason.WRONG_RECIPIENT),
        ({"amount": 999}, Reason.INSUFFICIENT_AMOUNT),
        ({"amount": 0}, Reason.INSUFFICIENT_AMOUNT),
    ],
)
def test_what_differs_from_what_was_agreed_is_held_by_its_reason(changed: dict[str, Any], reason: Reason) -> None:
    assert held(decide(**changed)) == reason


def test_a_rail_that_reads_balances_needs_no_transaction() -> None:
    assert isinstance(decide(payment=replace(PAYMENT, needs_tx_hash=False), tx_hash=None), Approve)


@pytest.mark.parametrize(
    ("confirmations", "verdict"), [(0, AwaitConfirmations(5)), (4, AwaitConfirmations(1)), (5, None), (99, None)]
)
def test_too_few_confirmations_wait_for_the_rest(confirmations: int, verdict: Gate | None) -> None:
    assert decide(confirmations=confirmations) == (verdict or Approve(Reason.AML_NOT_REQUIRED))


def test_what_will_never_fit_does_not_wait_for_confirmations() -> None:
    assert held(decide(confirmations=0, token=USDC)) == Reason.WRONG_TOKEN


@pytest.mark.parametrize(
    ("require", "is_contract", "reason"),
    [
        (False, None, None),
        (False, False, None),
        (False, True, None),
        (True, False, None),
        (True, True, Reason.CONTRACT_SENDER),
        (True, None, Reason.CONTRACT_SENDER),
    ],
)
def test_contracts_are_refused_when_the_operator_says_so(
    require: bool, is_contract: bool | None, reason: Reason | None
) -> None:
    assert held(decide(sender_is_contract=is_contract, flags=Flags(require_eoa_sender=require))) == reason


@pytest.mark.parametrize(
    ("screening", "sender", "flags", "verdict"),
    [
        (Listed("X"), BUYER, Flags(), Approve(Reason.AML_NOT_REQUIRED)),
        (None, None, Flags(), Approve(Reason.AML_NOT_REQUIRED)),
        (Clear(), BUYER, SCREENED, Approve()),
        (Clear(), BUYER, OPEN, Approve()),
        (Listed("X"), BUYER, SCREENED, Review(Reason.AML_SANCTIONS, "listed: X")),
        (Listed("X"), BUYER, OPEN, Review(Reason.AML_SANCTIONS, "listed: X")),
        (Unavailable("old"), BUYER, SCREENED, Review(Reason.AML_SANCTIONS, "could not be screened: old")),
        (Unavailable("old"), BUYER, OPEN, Approve(Reason.AML_SANCTIONS, "could not be screened: old")),
        (None, BUYER, SCREENED, Review(Reason.AML_SANCTIONS, "could not be screened: nobody was asked")),
        (None, BUYER, OPEN, Approve(Reason.AML_SANCTIONS, "could not be screened: nobody was asked")),
        (Clear(), None, SCREENED, Review(Reason.NO_BUYER_ADDRESS_TO_SCREEN, "the sender is not known")),
        (Clear(), "", SCREENED, Review(Reason.NO_BUYER_ADDRESS_TO_SCREEN, "the sender is not known")),
        (Clear(), None, OPEN, Approve(Reason.NO_BUYER_ADDRESS_TO_SCREEN, "the sender is not known")),
    ],
)
def test_screening_follows_the_offer(
    screening: Verdict | None, sender: str | None, flags: Flags, verdict: Gate
) -> None:
    assert decide(screening, flags=flags, sender=sender) == verdict


EVERYTHING = list(
    itertools.product(
        [97, 56],  # chain
        [USDT, USDC, None],  # token
        [ESCROW, BUYER],  # destination
        [0, 999, 1000, 1001],  # amount
        [4, 5],  # confirmations
        ["0x01", None],  # tx hash
        [BUYER, None],  # sender
        [None, Clear(), Listed("X"), Unavailable("old")],
        [None, False, True],  # sender is a contract
        [False, True],  # screening required
        [False, True],  # fail closed
        [False, True],  # plain accounts required
    )
)


def test_nothing_passes_that_misses_one_condition() -> None:
    """Every combination against the conditions, written a second way."""
    for chain, token, to, amount, depth, tx, sender, screening, contract, aml, closed, eoa in EVERYTHING:
        verdict = gate(
            PAYMENT,
            Evidence(
                chain_id=chain,
                token=token,
                destination=to,
                amount=amount,
                confirmations=depth,
                tx_hash=tx,
                sender=sender,
            ),
            screening,
            contract,
            Flags(aml_required=aml, aml_block_on_failure=closed, require_eoa_sender=eoa),
        )
        agreed = (chain, token, to, tx) == (97, USDT, ESCROW, "0x01") and amount >= 1000
        plain = not eoa or contract is False
        clean = isinstance(screening, Clear) and sender is not None
        unknown = sender is None or not isinstance(screening, Clear | Listed)
        lawful = not aml or clean or (unknown and not closed)

        assert isinstance(verdict, Approve) == (agreed and depth >= 5 and plain and lawful)
        assert isinstance(verdict, AwaitConfirmations) == (agreed and depth < 5)


@pytest.mark.parametrize("amount", [0, -1])
def test_a_payment_of_nothing_does_not_exist(amount: int) -> None:
    with pytest.raises(ValueError, match="greater than zero"):
        replace(PAYMENT, amount=amount)


@pytest.mark.parametrize(
    ("one", "other", "family", "same"),
    [
        (USDT, USDT.lower(), "evm", True),
        (USDT, USDC, "evm", False),
        ("", "", "evm", False),
        ("nonsense", "nonsense", "evm", False),
        (USDT, USDT, "tron", False),
    ],
)
def test_addresses_are_compared_as_accounts(one: str, other: str, family: str, same: bool) -> None:
    assert same_address(one, other, family) is same


# -- the balance -------------------------------------------------------------------------------------

UNITS = st.integers(0, 2**256 - 1)


@given(UNITS, UNITS, st.integers(1, 2**256 - 1))
def test_paid_is_a_growth_of_at_least_what_was_expected(baseline: int, current: int, expected: int) -> None:
    result = paid(baseline, current, expected)

    assert result.paid == (current - baseline >= expected)
    assert (result.delta, result.expected) == (current - baseline, expected)
    assert (result.reason is None) == result.paid


@given(UNITS, st.integers(1, 2**255))
def test_the_last_unit_decides(baseline: int, expected: int) -> None:
    assert paid(baseline, baseline + expected, expected).paid
    assert not paid(baseline, baseline + expected - 1, expected).paid


@pytest.mark.parametrize(
    ("baseline", "current", "result"),
    [
        (0, 1000, DirectBalance(True, 1000, 1000, None)),
        (500, 1500, DirectBalance(True, 1000, 1000, None)),
        (0, 5000, DirectBalance(True, 5000, 1000, None)),
        (0, 999, DirectBalance(False, 999, 1000, "underpaid:delta=999,expected=1000")),
        (500, 1000, DirectBalance(False, 500, 1000, "underpaid:delta=500,expected=1000")),
        (0, 0, DirectBalance(False, 0, 1000, "underpaid:delta=0,expected=1000")),
        (500, 400, DirectBalance(False, -100, 1000, "underpaid:delta=-100,expected=1000")),
        (None, 1000, DirectBalance(False, 0, 1000, "baseline-missing")),
    ],
)
def test_known_balances(baseline: int | None, current: int, result: DirectBalance) -> None:
    assert paid(baseline, current, 1000) == result


@pytest.mark.parametrize(("delta", "shortfall"), [(999, 1), (0, 1000), (1000, 0), (2000, 0)])
def test_the_shortfall_is_what_is_missing(delta: int, shortfall: int) -> None:
    assert paid(0, delta, 1000).shortfall == shortfall


@pytest.mark.parametrize(("baseline", "current", "expected"), [(0, 1, 0), (0, 1, -1), (0, -1, 1), (-1, 1, 1)])
def test_an_impossible_balance_is_an_error_and_not_a_payment(baseline: int, current: int, expected: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        paid(baseline, current, expected)


AGREED = Account(chain_id=97, token=USDT, address=ESCROW)


@pytest.mark.parametrize(
    "observed",
    [
        replace(AGREED, chain_id=56),
        replace(AGREED, token=USDC),
        replace(AGREED, token=None),
        replace(AGREED, address=BUYER),
        replace(AGREED, address=""),
    ],
)
def test_a_balance_of_something_else_pays_nothing(observed: Account) -> None:
    result = direct_balance(AGREED, observed, "evm", baseline=0, current=10**18, expected=1000)

    assert result == DirectBalance(False, 0, 1000, "address-token-mismatch")


@pytest.mark.parametrize("agreed", [AGREED, replace(AGREED, token=None)])
def test_a_balance_of_the_same_account_counts_however_it_is_spelt(agreed: Account) -> None:
    observed = replace(agreed, address=ESCROW.lower(), token=agreed.token and agreed.token.lower())

    assert direct_balance(agreed, observed, "evm", baseline=0, current=1000, expected=1000).paid


# -- the release -------------------------------------------------------------------------------------

NOW = 1_800_000_000_000
GRACE_MS = 48 * HOUR_MS
TIMES = [None, NOW - GRACE_MS - 1, NOW - GRACE_MS, NOW - GRACE_MS + 1, NOW]


def release(product: ProductType = ProductType.PHYSICAL, **facts: Any) -> ReleaseDecision:
    given: dict[str, Any] = {"delivered_at": None, "confirmed_at": None, "dispute_open": False, "hold_until": None}
    return release_decision(product, **(given | {"now": NOW, "grace_h": 48} | facts))


@pytest.mark.parametrize("product", ProductType)
def test_confirmed_is_released_at_once(product: ProductType) -> None:
    assert release(product, confirmed_at=NOW) == ReleaseDecision(True, ReleaseReason.CONFIRMED)


@pytest.mark.parametrize("product", ProductType)
def test_undelivered_is_never_released_by_time(product: ProductType) -> None:
    assert release(product, now=NOW + 10**12) == ReleaseDecision(False, ReleaseReason.NOT_DELIVERED)


def test_physical_goods_are_released_when_the_grace_period_ends_and_not_before() -> None:
    ends = NOW + GRACE_MS

    assert release(delivered_at=NOW, now=ends - 1) == ReleaseDecision(False, ReleaseReason.NOT_CONFIRMED, ends)
    assert release(delivered_at=NOW, now=ends) == ReleaseDecision(True, ReleaseReason.GRACE_OVER)


def test_digital_goods_wait_for_their_acceptance() -> None:
    late = release(ProductType.DIGITAL, delivered_at=NOW, now=NOW + 10 * GRACE_MS)

    assert late == ReleaseDecision(False, ReleaseReason.NOT_CONFIRMED)


@pytest.mark.parametrize("product", ProductType)
@pytest.mark.parametrize(("delivered_at", "confirmed_at"), list(itertools.product(TIMES, TIMES)))
def test_an_open_dispute_blocks_every_release(
    product: ProductType, delivered_at: int | None, confirmed_at: int | None
) -> None:
    decision = release(product, delivered_at=delivered_at, confirmed_at=confirmed_at, dispute_open=True)

    assert decision == ReleaseDecision(False, ReleaseReason.DISPUTE_OPEN)


@pytest.mark.parametrize("product", ProductType)
def test_a_hold_blocks_until_its_moment(product: ProductType) -> None:
    until = NOW + 1

    assert release(product, confirmed_at=NOW, hold_until=until) == ReleaseDecision(False, ReleaseReason.ON_HOLD, until)
    assert release(product, confirmed_at=NOW, hold_until=until, now=until).allowed


def test_without_a_block_an_admin_may_decide() -> None:
    assert release_block(dispute_open=False, hold_until=NOW, now=NOW) is None
    assert release_block(dispute_open=True, hold_until=None, now=NOW) is not None


@given(
    st.sampled_from(ProductType),
    st.none() | st.integers(0, 2 * NOW),
    st.none() | st.integers(0, 2 * NOW),
    st.booleans(),
    st.none() | st.integers(0, 2 * NOW),
    st.integers(0, 2 * NOW),
    st.floats(0, 10_000, allow_nan=False),
)
def test_a_release_always_has_its_ground_and_no_block(
    product: ProductType,
    delivered_at: int | None,
    confirmed_at: int | None,
    dispute_open: bool,
    hold_until: int | None,
    now: int,
    grace_h: float,
) -> None:
    decision = release_decision(
        product,
        delivered_at=delivered_at,
        confirmed_at=confirmed_at,
        dispute_open=dispute_open,
        hold_until=hold_until,
        now=now,
        grace_h=grace_h,
    )
    free = not dispute_open and (hold_until is None or hold_until <= now)
    waited = delivered_at is not None and delivered_at + int(grace_h * HOUR_MS) <= now
    ground = confirmed_at is not None or (waited and product is not ProductType.DIGITAL)

    assert decision.allowed == (free and ground)
    assert decision.ask_again_at is None or (decision.ask_again_at > now and not decision.allowed)
