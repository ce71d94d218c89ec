"""Asks what the safety gate has to know about every sender, and lets it decide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from marketplace.catalog import Catalog, Chain
from marketplace.model import Offer, Payment, Rail
from marketplace.payments.observation import PaymentObservation
from marketplace.risk.contract_senders import SenderCheck
from marketplace.risk.policy import (
    Approve,
    Flags,
    Gate,
    Part,
    PaymentFacts,
    Reason,
    Review,
    SenderFacts,
    Weighed,
    gate,
    refusal,
    weigh,
)
from marketplace.risk.proof_decision import NotProven, ProofCheck, Proven, ProvenPlace
from marketplace.risk.screening import Screener, Unavailable, Verdict
from marketplace.store.inbox import Credit

MAX_ASKED = 64  # senders a node is asked about for one payment: a stranger chooses how many there are


@dataclass(frozen=True, slots=True)
class SetAside:
    """Money that came and is not credited, since of its sender; it waits for a person."""

    reason: Reason
    amount: int
    transfers: tuple[Credit, ...]


@dataclass(frozen=True, slots=True)
class RiskDecision:
    """
    The gate's decision.

    Attributes:
        may_change: asking again later may end otherwise.
        aside: what of it is not credited when it passes; None of it where every sender is accepted.
        judged: how many transfers were known when it was made.
        proven: where the transfers are in their blocks, where proofs are asked for.
    """

    decision: Gate
    may_change: bool = False
    aside: tuple[SetAside, ...] = ()
    judged: int | None = None
    proven: tuple[ProvenPlace, ...] = ()


class NoList:
    """Stands where no sanctions list is configured: nobody can be told clear."""

    async def screen(self, address: str, chain_type: str) -> Verdict:  # noqa: ARG002 - the Protocol's
        return Unavailable("no sanctions list is configured (OFAC_SDN_PATH or OFAC_SDN_URL)")


class RiskGate:
    """The safety gate with its sources. Waits for the network: never call it inside a transaction."""

    def __init__(
        self,
        catalog: Catalog,
        screener: Screener,
        senders: SenderCheck,
        *,
        require_eoa_sender: bool,
        proofs: ProofCheck | None = None,
    ) -> None:
        """`proofs` where a payment has to be proven."""
        self._catalog = catalog
        self._screener = screener
        self._senders = senders
        self._require_eoa = require_eoa_sender
        self._proofs = proofs

    async def judge(self, payment: Payment, offer: Offer, observed: PaymentObservation) -> RiskDecision:
        """Decide whether what was seen may be credited, or the part of it that clear senders paid."""
        found = await self._judge(payment, offer, observed)
        if self._proofs is None or not isinstance(found.decision, Approve):
            return found
        checked = await self._proofs.check(payment, self._catalog.chains[payment.chain_id], observed)
        if isinstance(checked, NotProven):
            return RiskDecision(checked.review, may_change=checked.may_change)
        return _with_proof(found, checked, payment.amount_base, observed)

    async def _judge(self, payment: Payment, offer: Offer, observed: PaymentObservation) -> RiskDecision:
        flags = Flags(
            aml_required=offer.require_aml_check,
            aml_block_on_failure=offer.aml_block_on_failure,
            require_eoa_sender=self._require_eoa,
        )
        chain = self._catalog.chains[payment.chain_id]
        facts = PaymentFacts(
            chain_id=payment.chain_id,
            chain_type=chain.chain_type,
            token=payment.token_address,
            destination=payment.paid_to,
            amount=payment.amount_base,
            confirmations_required=payment.confirmations_required,
            needs_tx_hash=payment.rail is not Rail.DIRECT_BALANCE,
        )
        if not flags.aml_required and not flags.require_eoa_sender:
            return RiskDecision(gate(facts, observed.evidence, None, None, flags))
        early = gate(facts, observed.evidence, None, None, Flags())
        if not isinstance(early, Approve):  # whoever sent it: it is not what was agreed, or not deep enough
            return RiskDecision(early)
        parts = _parts(observed)
        known = await self._ask(chain, parts, flags)
        found = weigh(parts, known, payment.amount_base, flags)
        return _decide(facts, observed, found, known, flags)

    async def _ask(self, chain: Chain, parts: Sequence[Part], flags: Flags) -> dict[str, SenderFacts]:
        """Find out about every sender; a node is asked about those who paid most, and only who is not listed."""
        known: dict[str, SenderFacts] = {}
        for part in parts:
            if part.sender is not None and flags.aml_required:
                verdict = await self._screener.screen(part.sender, chain.chain_type)
                known[part.sender] = SenderFacts(screening=verdict)
            elif part.sender is not None:
                known[part.sender] = SenderFacts()
        if flags.require_eoa_sender:
            most = sorted((part for part in parts if part.sender is not None), key=lambda part: -part.amount)
            for part in most[:MAX_ASKED]:
                sender = part.sender or ""
                known[sender] = replace(known[sender], contract=await self._senders.is_contract(chain, sender))
        return known


def _with_proof(found: RiskDecision, checked: Proven, price: int, observed: PaymentObservation) -> RiskDecision:
    """Leave aside what is not proven; what is credited has to reach the price by itself."""
    if not checked.unproven:
        return replace(found, proven=checked.places)
    refused = {(each.tx_hash, each.event_key) for part in found.aside for each in part.transfers}
    unproven = tuple(each for each in checked.unproven if (each.tx_hash, each.event_key) not in refused)
    apart = refused | {(each.tx_hash, each.event_key) for each in unproven}
    accepted = sum(each.amount for each in observed.credits if (each.tx_hash, each.event_key) not in apart)
    if accepted < price:
        return RiskDecision(Review(Reason.PROOF_MISSING, f"{accepted} of {price} base units are proven"))
    amount = sum(each.amount for each in unproven)
    aside = (*found.aside, SetAside(Reason.PROOF_MISSING, amount, unproven)) if unproven else found.aside
    return replace(found, proven=checked.places, aside=aside)


def _parts(observed: PaymentObservation) -> list[Part]:
    """Return what each sender paid, and what nobody is known to have paid."""
    sums: dict[str | None, int] = defaultdict(int)
    for credit in observed.credits:
        sums[credit.sender] += credit.amount
    if observed.unexplained:
        sums[None] += observed.unexplained
    return [Part(sender, amount) for sender, amount in sums.items()]


def _decide(
    facts: PaymentFacts, observed: PaymentObservation, found: Weighed, known: Mapping[str, SenderFacts], flags: Flags
) -> RiskDecision:
    about = found.facts
    enough = found.accepted >= facts.amount
    sender = observed.evidence.sender
    if enough or found.doubt is not Reason.NO_BUYER_ADDRESS_TO_SCREEN:
        sender = sender or next(iter(known), None)
    else:
        sender = None
    contract = False if found.doubt is Reason.AML_SANCTIONS else about.contract
    decision = gate(facts, replace(observed.evidence, sender=sender), about.screening, contract, flags)
    if not enough and isinstance(decision, Approve):  # no sender is to blame, and the sum of them is too little
        decision = Review(Reason.INSUFFICIENT_AMOUNT, f"{found.accepted} of {facts.amount} base units")
    if not isinstance(decision, Approve):
        return RiskDecision(decision, may_change=found.may_change)
    return RiskDecision(decision, aside=_aside(observed, found, known, flags))


def _aside(
    observed: PaymentObservation, found: Weighed, known: Mapping[str, SenderFacts], flags: Flags
) -> tuple[SetAside, ...]:
    """Return the money of senders that are not accepted, by the reason."""
    whose: dict[Reason, list[Credit]] = defaultdict(list)
    for credit in observed.credits:
        about = SenderFacts() if credit.sender is None else known[credit.sender]
        reason = refusal(credit.sender, about, flags)
        if reason is not None:
            whose[reason].append(credit)
    return tuple(SetAside(reason, amount, tuple(whose[reason])) for reason, amount in found.refused.items())
