"""What was seen of a payment, from whatever told it: a webhook, an intent, a balance. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from marketplace import policy
from marketplace.catalog import Chain
from marketplace.model import Payment
from marketplace.policy import Account, DirectBalance, Evidence
from marketplace.scanner_client import Balance, BalanceEvent, EventTransfer, Intent, IntentEvent, IntentTransfer
from marketplace.store.inbox import Credit

AMOUNT_MISMATCH = "amount_mismatch"
READ_DEPTH = 64  # the scanner reads balances as deep as the chain's floor, and at most so many blocks under the head


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """
    Facts about one payment as somebody told them.

    Attributes:
        evidence: what the safety gate compares with the payment.
        balance: what a balance says; None on rails that see transfers.
        mismatch: why this cannot be about what was agreed, whatever the gate says.
        document: what is kept for people.
    """

    evidence: Evidence
    credits: tuple[Credit, ...]
    senders: tuple[str, ...]
    document: Mapping[str, Any]
    balance: DirectBalance | None = None
    current_balance: int | None = None
    mismatch: str | None = None
    tx_hash: str | None = field(default=None)

    @property
    def received(self) -> int:
        return self.evidence.amount


def from_event(payment: Payment, event: IntentEvent) -> Sighting:
    """Read `payment.confirmed`."""
    transfers = event.transfers or ()
    received = event.amount if event.amount_received is None else event.amount_received
    destination = event.body.get("destination")
    evidence = Evidence(
        chain_id=event.chain_id,
        token=event.token,
        destination=destination if isinstance(destination, str) else payment.destination,
        amount=received,
        confirmations=event.confirmations or 0,
        tx_hash=event.tx_hash,
        sender=event.sender or _first(transfers),
    )
    return _of_transfers(payment, evidence, transfers, agreed=event.amount, block=event.block_number)


def from_intent(payment: Payment, intent: Intent) -> Sighting:
    """Read an intent that the scanner has confirmed."""
    counted = tuple(transfer for transfer in intent.transfers if transfer.counted)
    evidence = Evidence(
        chain_id=intent.chain_id,
        token=intent.token_address,
        destination=intent.destination,
        amount=intent.amount_received,
        confirmations=intent.confirmations,
        tx_hash=intent.tx_hash,
        sender=intent.sender or _first(counted),
    )
    return _of_transfers(payment, evidence, counted, agreed=intent.amount, block=intent.block_number)


def _of_transfers(
    payment: Payment,
    evidence: Evidence,
    transfers: Iterable[EventTransfer | IntentTransfer],
    *,
    agreed: int,
    block: int | None,
) -> Sighting:
    credits_ = tuple(
        Credit(each.tx_hash, each.event_key or "", each.amount, each.sender) for each in transfers if each.tx_hash
    )
    if not credits_ and evidence.tx_hash:
        credits_ = (Credit(evidence.tx_hash, "", evidence.amount, evidence.sender),)
    return Sighting(
        evidence=evidence,
        credits=credits_,
        senders=_senders(evidence.sender, credits_),
        document=_document(evidence, credits_, block),
        # Too little is the gate's to name; the right sum for a wrong registration is not.
        mismatch=None if agreed == payment.amount_base or evidence.amount < payment.amount_base else AMOUNT_MISMATCH,
        tx_hash=evidence.tx_hash,
    )


def from_balance_event(payment: Payment, event: BalanceEvent, chain: Chain) -> Sighting:
    """Read `balance_changed`: it does not say at which block."""
    seen = Account(chain_id=event.chain_id, token=event.token_address, address=event.address)
    credits_ = tuple(
        Credit(each.tx_hash, each.event_key or f"balance-{number}", each.amount, each.sender)
        for number, each in enumerate(event.transfers or ())
        if each.tx_hash
    )
    return _of_balance(payment, seen, event.current_balance, chain, credits_, _Read(None, deep=True))


def from_balance(payment: Payment, balance: Balance, chain: Chain, *, deep: bool) -> Sighting:
    """Read a balance that was asked for, `deep` under the head or at it."""
    seen = Account(chain_id=balance.chain_id, token=balance.token_address, address=balance.address)
    return _of_balance(payment, seen, balance.balance, chain, (), _Read(balance.block_number, deep))


class _Read(NamedTuple):
    """Where a balance was read."""

    block: int | None  # None: somewhere deep
    deep: bool


def _of_balance(
    payment: Payment, seen: Account, current: int, chain: Chain, credits_: tuple[Credit, ...], read: _Read
) -> Sighting:
    agreed = Account(chain_id=payment.chain_id, token=payment.token_address, address=payment.destination)
    decided = policy.direct_balance(
        agreed,
        seen,
        chain.chain_type,
        baseline=payment.baseline_balance,
        current=current,
        expected=payment.amount_base,
    )
    since = _paid_since(payment, read) if decided.paid and read.deep else None
    sender = next((credit.sender for credit in credits_ if credit.sender), None)
    evidence = Evidence(
        chain_id=seen.chain_id,
        token=seen.token,
        destination=seen.address,
        amount=max(0, decided.delta),
        confirmations=_confirmations(payment, chain, read, since),
        tx_hash=credits_[0].tx_hash if credits_ else None,
        sender=sender,
    )
    told = {
        "baselineBalanceBaseUnits": _text(payment.baseline_balance),
        "currentBalanceBaseUnits": str(current),
        "paidAtBlock": since,
    }
    return Sighting(
        evidence=evidence,
        credits=credits_,
        senders=_senders(sender, credits_),
        document=_document(evidence, credits_, read.block) | told,
        balance=decided,
        current_balance=current,
        tx_hash=evidence.tx_hash,
    )


def _paid_since(payment: Payment, read: _Read) -> int | None:
    """Return the first block at which a deep read showed the whole sum, and every one since."""
    known = (payment.evidence or {}).get("paidAtBlock")
    return known if isinstance(known, int) else read.block


def _confirmations(payment: Payment, chain: Chain, read: _Read, since: int | None) -> int:
    """Return how deep the sum lies for all that is known: as deep as it was read, and what was mined on it since."""
    if not read.deep:
        return 0
    if chain.chain_type != "evm":
        return payment.confirmations_required  # only what is final is read there
    floor = min(chain.confirmation_threshold, READ_DEPTH)
    return floor if since is None or read.block is None else floor + max(0, read.block - since)


def _document(evidence: Evidence, credits_: Iterable[Credit], block: int | None) -> dict[str, Any]:
    return {
        "chainId": evidence.chain_id,
        "tokenAddress": evidence.token,
        "destination": evidence.destination,
        "amountReceivedBaseUnits": str(evidence.amount),
        "txHash": evidence.tx_hash,
        "blockNumber": block,
        "confirmations": evidence.confirmations,
        "sender": evidence.sender,
        "transfers": [
            {"txHash": c.tx_hash, "eventKey": c.event_key, "amountBaseUnits": str(c.amount), "sender": c.sender}
            for c in credits_
        ],
    }


def _senders(sender: str | None, credits_: Iterable[Credit]) -> tuple[str, ...]:
    named = [sender, *(credit.sender for credit in credits_)]
    return tuple(dict.fromkeys(name for name in named if name))


def _first(transfers: Iterable[EventTransfer | IntentTransfer]) -> str | None:
    return next((transfer.sender for transfer in transfers if transfer.sender), None)


def _text(amount: int | None) -> str | None:
    return None if amount is None else str(amount)
