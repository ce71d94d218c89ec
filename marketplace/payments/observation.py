"""What was seen of a payment, from whatever told it: a webhook, an intent, a balance. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from clients.python.amn_scanner_client import Balance, BalanceEvent, EventTransfer, Intent, IntentEvent, Transfer
from marketplace.catalog import Chain
from marketplace.model import Payment
from marketplace.payments.spelling import normal_event_key, normal_tx_hash
from marketplace.risk import policy
from marketplace.risk.policy import Account, DirectBalance, Evidence
from marketplace.store.inbox import Credit

SHOWN = 20  # transfers that are kept with a payment for people to see; all of them are judged
AMOUNT_MISMATCH = "amount_mismatch"
KEYLESS = "to:"  # how the keys of transfers start whose place in their transaction nobody told
READ_DEPTH = 64  # the scanner reads balances as deep as the chain's floor, and at most so many blocks under the head


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentObservation:
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
    document: Mapping[str, Any]
    balance: DirectBalance | None = None
    current_balance: int | None = None
    mismatch: str | None = None
    tx_hash: str | None = field(default=None)

    @property
    def received(self) -> int:
        return self.evidence.amount

    @property
    def unexplained(self) -> int:
        """How much of what came no transfer that is known accounts for: nobody knows who sent it."""
        return max(0, self.received - sum(credit.amount for credit in self.credits))


class BrokenList(Exception):
    """A list of transfers that cannot be: no hash of the family, or sums that contradict each other."""


def is_whole(event: IntentEvent) -> bool:
    """
    Say whether a confirmation names every transfer behind it, so that their senders can be judged.

    Webhooks carry the newest twenty: twenty dust transfers would otherwise hide who paid (docs/rules.md, whole lists).
    """
    named = event.transfers or ()
    received = event.amount if event.amount_received is None else event.amount_received
    told = event.transfer_count
    every = told is None or told == len(named)
    identified = all(each.tx_hash and each.event_key for each in named)
    return bool(named) and every and identified and sum(each.amount for each in named) == received


def from_event(payment: Payment, event: IntentEvent, chain: Chain) -> PaymentObservation:
    """
    Read a `payment.confirmed` whose list is whole.

    Raises:
        BrokenList: a transaction of it cannot be one of this chain.
    """
    transfers = event.transfers or ()
    received = event.amount if event.amount_received is None else event.amount_received
    evidence = Evidence(
        chain_id=event.chain_id,
        token=event.token,
        destination=event.destination or payment.paid_to,
        amount=received,
        confirmations=event.confirmations or 0,
        tx_hash=event.tx_hash or next((each.tx_hash for each in transfers if each.tx_hash), None),
        sender=event.sender or _first(transfers),
    )
    return _of_transfers(
        payment, evidence, _identified(transfers, chain), agreed=event.amount, block=event.block_number
    )


def from_intent(payment: Payment, intent: Intent, transfers: Sequence[Transfer], chain: Chain) -> PaymentObservation:
    """
    Read an intent that the scanner has confirmed, with every transfer of it.

    Raises:
        BrokenList: the list contradicts the sum, or names what is no transaction of this chain.
    """
    counted = tuple(transfer for transfer in transfers if transfer.counted)
    if sum(each.amount for each in counted) != intent.amount_received:
        raise BrokenList(f"{len(counted)} transfers do not add up to {intent.amount_received}")
    evidence = Evidence(
        chain_id=intent.chain_id,
        token=intent.token_address,
        destination=intent.destination,
        amount=intent.amount_received,
        confirmations=intent.confirmations,
        tx_hash=intent.tx_hash or next((each.tx_hash for each in counted if each.tx_hash), None),
        sender=intent.sender or _first(counted),
    )
    return _of_transfers(
        payment, evidence, _identified(counted, chain), agreed=intent.amount, block=intent.block_number
    )


def from_transactions(
    payment: Payment,
    credits_: Sequence[Credit],
    *,
    confirmations: int,
    block: int | None,
    other: tuple[str, int, str] | None = None,
) -> PaymentObservation:
    """
    Read transactions that a provider named, as the scanner sees them on the chain.

    `other` is what came in their place: the token, how much of it, and in which transaction.
    """
    token, amount, tx_hash = other or (payment.token_address, sum(credit.amount for credit in credits_), None)
    evidence = Evidence(
        chain_id=payment.chain_id,
        token=token,
        destination=payment.paid_to,
        amount=amount,
        confirmations=confirmations,
        tx_hash=credits_[-1].tx_hash if credits_ else tx_hash,
        sender=next((credit.sender for credit in credits_ if credit.sender), None),
    )
    document = _document(evidence, credits_, block) | {"provider": payment.provider}
    return PaymentObservation(evidence=evidence, credits=tuple(credits_), document=document, tx_hash=evidence.tx_hash)


def _identified(transfers: Iterable[EventTransfer | Transfer], chain: Chain) -> tuple[Credit, ...]:
    """Return each transfer once, under its one spelling."""
    found: dict[tuple[str, str], Credit] = {}
    for each in transfers:
        tx_hash = normal_tx_hash(each.tx_hash or "", chain.chain_type)
        if tx_hash is None or not each.event_key:
            raise BrokenList(f"{each.tx_hash!r:.80} is no transaction of {chain.name}")
        key = normal_event_key(each.event_key)
        if (tx_hash, key) in found:
            raise BrokenList(f"{tx_hash} is named twice")  # one transfer counted twice
        found[tx_hash, key] = Credit(tx_hash, key, each.amount, each.sender, each.block_hash)
    return tuple(found.values())


def _of_transfers(
    payment: Payment, evidence: Evidence, credits_: tuple[Credit, ...], *, agreed: int, block: int | None
) -> PaymentObservation:
    return PaymentObservation(
        evidence=evidence,
        credits=credits_,
        document=_document(evidence, credits_, block),
        # Too little is the gate's to name; the right sum for a wrong registration is not.
        mismatch=None if agreed == payment.amount_base or evidence.amount < payment.amount_base else AMOUNT_MISMATCH,
        tx_hash=evidence.tx_hash,
    )


def behind_balance(payment: Payment, event: BalanceEvent, chain: Chain) -> tuple[Credit, ...]:
    """
    Return the transfers a balance event tells, each under its one spelling.

    A balance knows no places in a transaction: what is alike in one transaction is counted through instead.

    Raises:
        BrokenList: one of them cannot be a transaction of this chain.
    """
    alike: Counter[str] = Counter()
    found = []
    for each in event.transfers or ():
        tx_hash = None if each.tx_hash is None else normal_tx_hash(each.tx_hash, chain.chain_type)
        if tx_hash is None:
            if each.tx_hash is None:
                continue  # coin, which knows no transaction
            raise BrokenList(f"{each.tx_hash!r:.80} is no transaction of {chain.name}")
        key = f"{KEYLESS}{payment.paid_to.lower()}:{each.amount}"
        alike[f"{tx_hash}/{key}"] += 1
        found.append(Credit(tx_hash, f"{key}:{alike[f'{tx_hash}/{key}']}", each.amount, each.sender, None))
    return tuple(found)


def is_about_it(payment: Payment, event: BalanceEvent, chain: Chain) -> bool:
    """Say whether a balance event is about the account and the token of the payment."""
    observed = Account(chain_id=event.chain_id, token=event.token_address, address=event.address)
    return policy.same_account(_agreed(payment), observed, chain.chain_type)


def from_balance_event(
    payment: Payment, event: BalanceEvent, chain: Chain, known: Iterable[Credit] = ()
) -> PaymentObservation:
    """Read `balance_changed` together with the transfers that are `known` by now: it does not say at which block."""
    observed = Account(chain_id=event.chain_id, token=event.token_address, address=event.address)
    return _of_balance(payment, observed, event.current_balance, chain, tuple(known), _Read(None, deep=True))


def from_balance(
    payment: Payment, balance: Balance, chain: Chain, known: Iterable[Credit] = (), *, deep: bool
) -> PaymentObservation:
    """Read a balance that was asked for, `deep` under the head or at it, with the transfers that are `known`."""
    observed = Account(chain_id=balance.chain_id, token=balance.token_address, address=balance.address)
    return _of_balance(payment, observed, balance.balance, chain, tuple(known), _Read(balance.block_number, deep))


def _agreed(payment: Payment) -> Account:
    return Account(chain_id=payment.chain_id, token=payment.token_address, address=payment.paid_to)


class _Read(NamedTuple):
    """Where a balance was read."""

    block: int | None  # None: somewhere deep
    deep: bool


def _of_balance(
    payment: Payment, observed: Account, current: int, chain: Chain, credits_: tuple[Credit, ...], read: _Read
) -> PaymentObservation:
    decided = policy.direct_balance(
        _agreed(payment),
        observed,
        chain.chain_type,
        baseline=payment.baseline_balance,
        current=current,
        expected=payment.amount_base,
    )
    since = _paid_since(payment, read) if decided.paid and read.deep else None
    sender = next((credit.sender for credit in credits_ if credit.sender), None)
    evidence = Evidence(
        chain_id=observed.chain_id,
        token=observed.token,
        destination=observed.address,
        amount=max(0, decided.delta),
        confirmations=_confirmations(payment, chain, read, since),
        tx_hash=credits_[-1].tx_hash if credits_ else None,
        sender=sender,
    )
    told = {
        "baselineBalanceBaseUnits": _text(payment.baseline_balance),
        "currentBalanceBaseUnits": str(current),
        "paidAtBlock": since,
    }
    return PaymentObservation(
        evidence=evidence,
        credits=credits_,
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


def _document(evidence: Evidence, credits_: Sequence[Credit], block: int | None) -> dict[str, Any]:
    """Return what is kept for people: the newest transfers, and how many there are."""
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
            {
                "txHash": c.tx_hash,
                "eventKey": c.event_key,
                "blockHash": c.block_hash,
                "amountBaseUnits": str(c.amount),
                "sender": c.sender,
            }
            for c in credits_[-SHOWN:]
        ],
        "transferCount": len(credits_),
    }


def _first(transfers: Iterable[EventTransfer | Transfer]) -> str | None:
    return next((transfer.sender for transfer in transfers if transfer.sender), None)


def _text(amount: int | None) -> str | None:
    return None if amount is None else str(amount)
