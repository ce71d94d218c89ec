"""What the transactions that a provider named show of a payment, as the chain has them; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from marketplace.catalog import Catalog, Chain
from marketplace.model import Payment
from marketplace.payments.inspecting import is_older
from marketplace.payments.observation import PaymentObservation, from_transactions
from marketplace.payments.providers import Contradicted, InPart, NothingSeen, ProviderStatus, Seen
from marketplace.payments.spelling import normal_event_key
from marketplace.risk.policy import Reason
from marketplace.store.inbox import Credit
from protocol import codec
from protocol.answers import InspectedTransaction, InspectedTransfer
from protocol.wire import MAX_UINT256, Units

MAX_OTHERS = 20  # tokens that nobody asked for, of one transaction: whoever sends it chooses how many


@dataclass(frozen=True, slots=True)
class _Paying:
    """A transfer to the payment's address in its token, and how deep it is known to lie."""

    credit: Credit
    confirmations: int
    block: int | None


def evidence_of(
    payment: Payment,
    chain: Chain,
    catalog: Catalog,
    seen: Sequence[InspectedTransaction],
    *,
    overdue: Collection[str] = (),
    is_all: bool = True,
) -> ProviderStatus:
    """
    Say what of a payment is to be seen.

    What is deep enough is judged as soon as it reaches the price by itself: dust delays nothing, whenever it was sent.
    `overdue` are those that are for a person by now if they are not on the chain; `is_all` is false where more was
    named than was looked at: nobody is told then that something is missing, or wrong.
    """
    # What was there before anybody was told to pay is somebody else's money, whoever names it.
    older = [each for each in seen if is_older(each, payment)]
    timely = [each for each in seen if not is_older(each, payment)]
    paying = _paying(payment, chain, catalog, timely)
    deep = [each for each in paying if each.confirmations >= payment.confirmations_required]
    # Of a payment that is over nobody would be told that it was taken back: what is listed has to stay.
    counted = paying if payment.is_open else deep
    for part in (deep, counted):
        if sum(each.credit.amount for each in part) >= payment.amount_base:
            return Seen(_observed(payment, part))
    unseen = payment.is_open and not is_all
    if unseen or (paying and not counted):
        return NothingSeen(Reason.TRANSFER_NOT_FOUND, expected=unseen)
    if counted:
        return InPart(_observed(payment, counted))
    others = other_tokens(payment, chain, catalog, timely)
    if others:
        return Seen(others[0])
    if older and not timely:
        detail = f"{payment.provider} says {older[0].tx_hash} paid it, which happened before it was opened"
        return Contradicted(Reason.TRANSFER_NOT_FOUND, detail)
    return _nothing(payment, timely, overdue)


def _nothing(payment: Payment, seen: Sequence[InspectedTransaction], overdue: Collection[str]) -> ProviderStatus:
    """Say what follows from transactions of which none moved anything to the payment's address."""
    missing = [each.tx_hash for each in seen if not each.found]
    given_up = [each for each in missing if each in overdue]
    if missing and not given_up:
        return NothingSeen(Reason.TRANSFER_NOT_FOUND, expected=True)
    if given_up:
        detail = f"{payment.provider} says {given_up[0]} paid it, and the chain has no such transaction"
        return Contradicted(Reason.TRANSFER_NOT_FOUND, detail)
    if seen:
        why = "failed" if seen[0].success is False else f"moves nothing to {payment.paid_to}"
        return Contradicted(
            Reason.TRANSFER_NOT_FOUND, f"{payment.provider} says {seen[0].tx_hash} paid it, which {why}"
        )
    return NothingSeen(Reason.TRANSFER_NOT_FOUND)


def _paying(payment: Payment, chain: Chain, catalog: Catalog, seen: Iterable[InspectedTransaction]) -> list[_Paying]:
    found: dict[tuple[str, str], _Paying] = {}  # one transaction may be told under two spellings
    for one in seen:
        if not one.found or one.success is False:
            continue
        confirmations = _confirmations(payment, chain, one)
        for each in one.transfers:
            if _pays(payment, catalog, each):
                key = normal_event_key(each.event_key)
                credit = Credit(one.tx_hash, key, each.amount, each.sender, one.block_hash)
                found[one.tx_hash, key] = _Paying(credit, confirmations, one.block_number)
    return list(found.values())


def other_tokens(
    payment: Payment, chain: Chain, catalog: Catalog, seen: Iterable[InspectedTransaction]
) -> list[PaymentObservation]:
    """Return what came to a payment's address in tokens that nobody asked for, each of each transaction by itself."""
    return [
        from_transactions(
            payment,
            (),
            confirmations=_confirmations(payment, chain, one),
            block=one.block_number,
            other=(each.token, each.amount, one.tx_hash),
        )
        for one in seen
        if one.found and one.success is not False and not is_older(one, payment)
        for each in _others(payment, catalog, one)
    ]


def _others(payment: Payment, catalog: Catalog, seen: InspectedTransaction) -> list[InspectedTransfer]:
    """Return the other tokens that a transaction moved to the payment's address, all of each in one."""
    same = catalog.same_address
    found: dict[str, InspectedTransfer] = {}
    for each in seen.transfers:
        came = each.amount > 0 and not same(payment.chain_id, each.sender, each.destination)
        to_it = came and same(payment.chain_id, each.destination, payment.paid_to)
        if to_it and not same(payment.chain_id, each.token, payment.token_address):
            known = found.get(each.token)
            # A token says what it likes: two transfers may be more than there are numbers for.
            amount = each.amount if known is None else Units(min(known.amount + each.amount, MAX_UINT256))
            found[each.token] = codec.of(InspectedTransfer, known or each, amount=amount)
    return list(found.values())


def _pays(payment: Payment, catalog: Catalog, transfer: InspectedTransfer) -> bool:
    same = catalog.same_address
    return (
        transfer.amount > 0
        # Whoever has the address can send as much as they have to themselves.
        and not same(payment.chain_id, transfer.sender, transfer.destination)
        and same(payment.chain_id, payment.token_address, transfer.token)
        and same(payment.chain_id, payment.paid_to, transfer.destination)
    )


def about(payment: Payment, catalog: Catalog, seen: InspectedTransaction) -> InspectedTransaction:
    """Return what of a transaction has to do with a payment: whoever sends one chooses how much else it moves."""
    same = catalog.same_address
    to_it = [each for each in seen.transfers if same(payment.chain_id, each.destination, payment.paid_to)]
    paying = [each for each in to_it if same(payment.chain_id, each.token, payment.token_address)]
    others = _others(payment, catalog, seen)
    return codec.of(InspectedTransaction, seen, transfers=(*paying, *others[:MAX_OTHERS]))


def is_settled(payment: Payment, chain: Chain, seen: InspectedTransaction) -> bool:
    """Say whether a transaction is on the chain to stay, so that looking at it again would show the same."""
    failed = seen.success is False and seen.final
    return seen.found and (failed or _confirmations(payment, chain, seen) >= payment.confirmations_required)


def _confirmations(payment: Payment, chain: Chain, seen: InspectedTransaction) -> int:
    """Return how deep it lies; what may still be taken back is never deep enough."""
    required = payment.confirmations_required
    depth = (seen.depth or 0) if chain.chain_type == "evm" else required
    return depth if seen.success is True and seen.final else min(depth, required - 1)


def _observed(payment: Payment, part: Sequence[_Paying]) -> PaymentObservation:
    return from_transactions(
        payment,
        [each.credit for each in part],
        confirmations=min(each.confirmations for each in part),
        block=max((each.block for each in part if each.block is not None), default=None),
    )
