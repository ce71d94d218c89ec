"""A hosted provider: it says which transactions paid, and the scanner says what they did."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus

from addresses import InvalidAddress
from clients.python.amn_scanner_client import Conflict, NotFound, ScannerClient, ScannerRefused, ScannerUnavailable
from marketplace.catalog import Catalog
from marketplace.model import Payment
from marketplace.payments.hosted.evidence import evidence_of, is_told
from marketplace.payments.hosted.upstream import Created, HostedWebhook, Upstream
from marketplace.payments.inspecting import inspect
from marketplace.payments.observation import BrokenList
from marketplace.payments.providers import (
    Contradicted,
    CreationRefused,
    InPart,
    NothingSeen,
    OnItsWay,
    ProviderStatus,
    Seen,
)
from marketplace.payments.spelling import normal_tx_hash
from marketplace.risk.policy import Reason
from marketplace.store import addresses, payments, told_transactions
from marketplace.store.told_transactions import ToldTransaction
from marketplace.unit_of_work import UnitOfWorkFactory
from protocol.answers import InspectedTransaction

log = logging.getLogger(__name__)

MAX_TOLD = 200  # transactions of one payment that are looked at; whoever pays chooses how many there are
TOGETHER = 8
PATIENCE_MS = 3_600_000  # after which what was named and is nowhere is for a person


class HostedProvider:
    """One hosted provider beside the scanner as the witness of what it says."""

    def __init__(
        self,
        units: UnitOfWorkFactory,
        upstream: Upstream,
        scanner: ScannerClient,
        catalog: Catalog,
        escrow: Mapping[int, Collection[str]],
    ) -> None:
        self.upstream = upstream
        self._units = units
        self._scanner = scanner
        self._catalog = catalog
        self._escrow = escrow

    async def create(self, payment: Payment) -> Mapping[str, object]:
        created = await self.upstream.create(payment)
        kept: dict[str, object] = {"provider_payment_id": created.provider_payment_id}
        if created.payment_url is not None:
            kept["payment_url"] = created.payment_url
        if self.upstream.gives_address:
            kept["destination"] = await self._given_address(payment, created)
        return kept

    async def _given_address(self, payment: Payment, created: Created) -> str:
        """Return the address a provider gave, unless money that comes there is, or could be, somebody else's."""
        try:
            form = self._catalog.payee(payment.chain_id, created.destination or "")
        except InvalidAddress as exc:
            raise CreationRefused(f"{payment.provider} gave an address that cannot be paid: {exc}") from exc
        escrow = self._escrow.get(payment.chain_id, ())
        ours = any(self._catalog.same_address(payment.chain_id, form, each) for each in escrow)
        async with self._units.db.read() as tx:
            ours = ours or await addresses.was_used(tx, form)
            ours = ours or await payments.is_paid_elsewhere_at(tx, payment.chain_id, form, but=payment.id)
        if ours:
            raise CreationRefused(f"{payment.provider} gave an address that is paid for something else")
        return form

    async def status(self, payment: Payment, *, thoroughly: bool) -> ProviderStatus:  # noqa: ARG002 - the Protocol's
        if payment.registered_at is None:
            return NothingSeen(Reason.TRANSFER_NOT_FOUND)
        told = await self._told(payment)
        if len(told) > MAX_TOLD:
            raise BrokenList(f"more than {MAX_TOLD} transactions are said to pay it: a person has to add them up")
        chain = self._catalog.chains[payment.chain_id]
        for each in told:
            if normal_tx_hash(each.tx_hash, chain.chain_type) is None:
                raise BrokenList(f"{each.tx_hash!r:.80} is no transaction of {chain.name}")
        seen = await self._inspected(payment, chain.chain_type, [each.tx_hash for each in told])
        waited = bool(told) and self._units.clock.now_ms() - told[0].told_at >= PATIENCE_MS
        return evidence_of(payment, chain, self._catalog, seen, waited_enough=waited)

    async def _told(self, payment: Payment) -> list[ToldTransaction]:
        """Return every transaction that was ever named: by webhooks, and by the provider when it is asked."""
        async with self._units.db.read() as tx:
            known = await told_transactions.of_payment(tx, payment.id, MAX_TOLD + 1)
        try:
            named = await self._named(payment)
        except (ScannerUnavailable, ScannerRefused) as exc:
            if not known:
                raise
            log.debug("[%s] %s is judged by its webhooks: %s", payment.provider, payment.id, exc)
            return known
        new = set(named) - {each.tx_hash for each in known}
        if new:
            async with self._units.begin(None) as work:
                await told_transactions.add(work.tx, payment.id, sorted(new)[: MAX_TOLD + 1], work.now)
            async with self._units.db.read() as tx:
                known = await told_transactions.of_payment(tx, payment.id, MAX_TOLD + 1)
        return known

    async def _named(self, payment: Payment) -> list[str]:
        try:
            named = await self.upstream.transactions(payment)
        except NotFound:
            return []  # it made it and forgot it, or an empty store answers
        return [self.spelt(payment, each) for each in named]

    async def found_of(self, payment: Payment) -> list[str]:
        """
        Return which of the transactions that were named, and not found before, are on the chain to stay.

        Raises:
            ScannerUnavailable, ScannerRefused: nothing was learned.
        """
        chain = self._catalog.chains[payment.chain_id]
        async with self._units.db.read() as tx:
            waiting = await told_transactions.unfound(tx, payment.id, MAX_TOLD)
        ours = [each for each in waiting if normal_tx_hash(each, chain.chain_type) is not None]
        seen = await self._inspected(payment, chain.chain_type, ours)
        # What is not deep yet is left out where what is deep reaches the price by itself.
        return [tx_hash for tx_hash, each in zip(ours, seen, strict=True) if is_told(payment, chain, each)]

    def spelt(self, payment: Payment, tx_hash: str) -> str:
        """Return a hash in its one spelling; what is none of the chain stays as it is, for a person to see."""
        return normal_tx_hash(tx_hash, self._catalog.chains[payment.chain_id].chain_type) or tx_hash

    async def _inspected(self, payment: Payment, family: str, hashes: Sequence[str]) -> list[InspectedTransaction]:
        places = asyncio.Semaphore(TOGETHER)

        async def one(tx_hash: str) -> InspectedTransaction:
            async with places:
                return await inspect(self._scanner, payment.chain_id, family, tx_hash)

        return list(await asyncio.gather(*(one(each) for each in hashes)))

    def verify_webhook(self, raw: bytes, headers: Mapping[str, str]) -> HostedWebhook:
        return self.upstream.read_webhook(raw, headers, self._units.clock.wall_ms() // 1000)

    async def cancel(self, payment: Payment) -> None:
        """
        Make sure that nothing is on its way: neither provider can be told to forget a payment.

        What comes later is told by a webhook, and listed as late (`told_transactions.of_ended`).
        """
        if payment.registered_at is None:
            return
        match await self.status(payment, thoroughly=True):
            case Seen() | OnItsWay() | Contradicted() | NothingSeen(expected=True):
                raise Conflict(HTTPStatus.CONFLICT, "conflict", f"{payment.provider} has seen a transfer", {})
            case InPart() | NothingSeen():
                return
