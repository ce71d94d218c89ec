"""Whether a balance has grown enough since its baseline."""

from __future__ import annotations

from dataclasses import dataclass

from marketplace.risk.policy.crediting import same_address

ADDRESS_TOKEN_MISMATCH = "address-token-mismatch"  # noqa: S105 - no password
BASELINE_MISSING = "baseline-missing"
BASELINE_STALE = "baseline-stale"  # less lies there than when it was read: by how much it grew cannot be told


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose balance of what; `token` None is the chain's own coin."""

    chain_id: int
    token: str | None
    address: str


@dataclass(frozen=True, slots=True)
class DirectBalance:
    """What a balance says of a payment; `delta` and `expected` in base units, `reason` None when paid."""

    paid: bool
    delta: int
    expected: int
    reason: str | None

    @property
    def shortfall(self) -> int:
        return max(0, self.expected - self.delta)


def paid(baseline: int | None, current: int, expected: int) -> DirectBalance:
    """
    Decide by how much a balance has grown since its stored baseline.

    Without a baseline nothing is paid: what was there before is not the buyer's.

    Raises:
        ValueError: nothing was expected, or a balance is negative: then anything would be paid.
    """
    if expected <= 0 or current < 0 or (baseline is not None and baseline < 0):
        raise ValueError("expected must be above zero, balances zero or more")
    if baseline is None:
        return DirectBalance(paid=False, delta=0, expected=expected, reason=BASELINE_MISSING)
    delta = current - baseline
    if delta >= expected:
        return DirectBalance(paid=True, delta=delta, expected=expected, reason=None)
    return DirectBalance(
        paid=False, delta=delta, expected=expected, reason=f"underpaid:delta={delta},expected={expected}"
    )


def direct_balance(
    agreed: Account, seen: Account, chain_type: str, *, baseline: int | None, current: int, expected: int
) -> DirectBalance:
    """Decide the same, after chain, token and address were compared: a balance of something else says nothing."""
    if not same_account(agreed, seen, chain_type):
        return DirectBalance(paid=False, delta=0, expected=expected, reason=ADDRESS_TOKEN_MISMATCH)
    return paid(baseline, current, expected)


def same_account(agreed: Account, seen: Account, chain_type: str) -> bool:
    """Say whether a balance is one of the agreed token at the agreed address."""
    if agreed.token is None or seen.token is None:
        same_token = agreed.token is seen.token
    else:
        same_token = same_address(agreed.token, seen.token, chain_type)
    return agreed.chain_id == seen.chain_id and same_token and same_address(agreed.address, seen.address, chain_type)
