"""Asks what the safety gate has to know, and lets it decide."""

from __future__ import annotations

from dataclasses import dataclass

from marketplace.catalog import Catalog
from marketplace.model import Offer, Payment, Rail
from marketplace.policy import Flags, Gate, Hold, PaymentFacts, gate
from marketplace.screening import Screener, Unavailable, Verdict, screen_all
from marketplace.senders import SenderCheck
from marketplace.sightings import Sighting


@dataclass(frozen=True, slots=True)
class Judgement:
    """The gate's decision; `may_change` says that asking again later may end otherwise."""

    decision: Gate
    may_change: bool = False


class NoList:
    """Stands where no sanctions list is configured: nobody can be told clear."""

    async def screen(self, address: str, chain_type: str) -> Verdict:  # noqa: ARG002 - the Protocol's
        return Unavailable("no sanctions list is configured (OFAC_SDN_PATH or OFAC_SDN_URL)")


class Gatekeeper:
    """The safety gate with its sources. Waits for the network: never call it inside a transaction."""

    def __init__(self, catalog: Catalog, screener: Screener, senders: SenderCheck, *, require_eoa_sender: bool) -> None:
        self._catalog = catalog
        self._screener = screener
        self._senders = senders
        self._require_eoa = require_eoa_sender

    async def judge(self, payment: Payment, offer: Offer, seen: Sighting) -> Judgement:
        """Decide whether what was seen may be credited."""
        flags = Flags(
            aml_required=offer.require_aml_check,
            aml_block_on_failure=offer.aml_block_on_failure,
            require_eoa_sender=self._require_eoa,
        )
        chain_type = self._catalog.chains[payment.chain_id].chain_type
        verdict: Verdict | None = None
        if flags.aml_required and seen.senders:
            verdict = await screen_all(self._screener, seen.senders, chain_type)
        contract = await self._any_contract(payment, seen) if flags.require_eoa_sender else None
        facts = PaymentFacts(
            chain_id=payment.chain_id,
            chain_type=chain_type,
            token=payment.token_address,
            destination=payment.destination,
            amount=payment.amount_base,
            confirmations_required=payment.confirmations_required,
            needs_tx_hash=payment.rail is not Rail.DIRECT_BALANCE,
        )
        decision = gate(facts, seen.evidence, verdict, contract, flags)
        unknown = isinstance(verdict, Unavailable) or (flags.require_eoa_sender and contract is None)
        return Judgement(decision, may_change=isinstance(decision, Hold) and unknown)

    async def _any_contract(self, payment: Payment, seen: Sighting) -> bool | None:
        """Return the worst answer over all senders; None when there is none, or one cannot be told."""
        chain = self._catalog.chains[payment.chain_id]
        answers = [await self._senders.is_contract(chain, sender) for sender in seen.senders]
        if any(answers):
            return True
        return False if answers and None not in answers else None
