"""A hosted provider: it says which transactions paid, and the scanner says what they did."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from addresses import InvalidAddress
from clients.python.amn_scanner_client import (
    BrokenAnswer,
    Conflict,
    NotFound,
    ScannerClient,
    ScannerRefused,
    ScannerUnavailable,
)
from marketplace.catalog import Catalog, Chain
from marketplace.model import Payment
from marketplace.payments import unapplied_funds
from marketplace.payments.hosted.evidence import about, evidence_of, is_settled, other_tokens
from marketplace.payments.hosted.upstream import Created, HostedWebhook, LongAnswer, Upstream
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
from marketplace.store import addresses, locks, payments, told_transactions
from marketplace.store.told_transactions import ToldTransaction
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory
from protocol import codec
from protocol.answers import InspectedTransaction

log = logging.getLogger(__name__)

MAX_LOOKED = 200  # transactions of one payment in one look; whoever pays chooses how many there are
MAX_LISTED = 500  # of those that are settled, written down in one go
TOGETHER = 8
MAX_FAILED = TOGETHER  # questions in one look that nobody answers, after which the others wait for the next one
PATIENCE_MS = 3_600_000  # after which what was named and is nowhere is for a person


@dataclass(frozen=True, slots=True)
class _Look:
    """What is known of what was named, and why some of it, or of the names, could not be had."""

    told: Sequence[ToldTransaction]
    failed: Sequence[Exception]


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
        named = await self._told(payment)
        looked = await self._look(payment, named.told)
        return self._judged(payment, _Look(looked.told, [*looked.failed, *named.failed]))

    def _judged(self, payment: Payment, look: _Look) -> ProviderStatus:
        """
        Say what is to be seen, of all that was ever named.

        Whatever else was named beside it, what pays the whole sum by itself is judged: a stranger who sends dust would
        otherwise say when somebody's payment counts.

        Raises:
            ScannerUnavailable, ScannerRefused, BrokenList: it is not enough by itself, and there is more.
        """
        found = evidence_of(
            payment,
            self._chain(payment),
            self._catalog,
            [codec.read(InspectedTransaction, each.seen) for each in look.told if each.seen is not None],
            overdue={each.tx_hash for each in look.told if self._is_overdue(each)},
            is_all=not look.failed and all(each.seen is not None or each.settled_at is not None for each in look.told),
        )
        if isinstance(found, Seen) or (isinstance(found, InPart) and not payment.is_open):
            return found
        self._raise_first(payment, look)
        return found

    def _raise_first(self, payment: Payment, look: _Look) -> None:
        """Raise what a person has to see, or else why nobody knows now."""
        if len(look.told) >= told_transactions.MAX_NAMED:
            raise BrokenList(f"{payment.provider} names {len(look.told)} transactions or more, and no more are kept")
        for each in look.told:
            if each.settled_at is not None and each.seen is None:
                name = self._chain(payment).name
                raise BrokenList(f"{each.tx_hash!r:.80} is no transaction of {name}, or too large to be looked at")
        for failure in sorted(look.failed, key=lambda each: not isinstance(each, (BrokenAnswer, BrokenList))):
            raise failure

    def _chain(self, payment: Payment) -> Chain:
        return self._catalog.chains[payment.chain_id]

    def _is_overdue(self, told: ToldTransaction) -> bool:
        return self._units.clock.now_ms() - told.told_at >= PATIENCE_MS

    async def _told(self, payment: Payment) -> _Look:
        """Return every transaction that was ever named: by webhooks, and by the provider when it is asked."""
        known = await self._known(payment)
        try:
            named = await self._named(payment)
        except LongAnswer:
            why = f"{payment.provider} names more transactions than are read: a person has to add them up"
            return _Look(known, [BrokenList(why)])
        except (ScannerUnavailable, ScannerRefused) as exc:
            if not known:
                raise
            log.debug("[%s] %s is judged by its webhooks: %s", payment.provider, payment.id, exc)
            return _Look(known, [])
        had = {each.tx_hash for each in known}
        new = [each for each in named if each not in had]
        if new:
            async with self._units.begin(locks.request_of_payment(payment.id)) as work:
                await self.keep(work, payment, new)
            known = await self._known(payment)
        return _Look(known, [])

    async def keep(self, work: UnitOfWork, payment: Payment, named: Sequence[str]) -> None:
        """Keep what was named of a payment, to be looked at; a person is told once of what is left out."""
        if not await told_transactions.add(work.tx, payment.id, named, work.now):
            why = f"{payment.provider} names more than the {told_transactions.MAX_NAMED} transactions that are kept"
            log.warning("[%s] %s: %s", payment.provider, payment.id, why)
            await unapplied_funds.record_unread(work, payment, why)

    async def _known(self, payment: Payment) -> list[ToldTransaction]:
        async with self._units.db.read() as tx:
            return await told_transactions.of_payment(tx, payment.id)

    async def _named(self, payment: Payment) -> list[str]:
        try:
            named = await self.upstream.transactions(payment)
        except NotFound:
            return []  # it made it and forgot it, or an empty store answers
        return [self.spelt(payment, each) for each in named]

    async def late_of(self, payment: Payment) -> tuple[list[ToldTransaction], list[str]]:
        """
        Ask what was named of a payment that is over, and look at what is not settled; what nobody can tell now waits.

        Return what is settled and was not written down before, and what is on no chain and not waited for any more.
        """
        await self._ask_again(payment)
        async with self._units.db.read() as tx:
            left = await told_transactions.left_of(tx, payment.id, self._units.clock.now_ms())
        look = await self._look(payment, left)
        gone = [each.tx_hash for each in look.told if each.settled_at is None and self._is_given_up(each)]
        async with self._units.db.read() as tx:
            return await told_transactions.settled_of(tx, payment.id, MAX_LISTED), gone

    async def _ask_again(self, payment: Payment) -> None:
        """Keep what its provider names by now of a payment that is over; a person is told when nobody reads it."""
        try:
            named = await self._told(payment)
        except (ScannerUnavailable, ScannerRefused) as exc:
            log.debug("[%s] %s cannot be asked about now: %s", payment.provider, payment.id, exc)
            return
        for unread in named.failed:
            async with self._units.begin(locks.request_of_payment(payment.id)) as work:
                await unapplied_funds.record_unread(work, payment, str(unread))

    async def list_others(self, work: UnitOfWork, payment: Payment, settled: Sequence[ToldTransaction]) -> None:
        """Write down what else than its own token came to a payment that is over."""
        seen = [codec.read(InspectedTransaction, each.seen) for each in settled if each.seen is not None]
        for observed in other_tokens(payment, self._chain(payment), self._catalog, seen):
            await unapplied_funds.record_other(work, payment, observed)

    @staticmethod
    def _is_given_up(told: ToldTransaction) -> bool:
        """Say whether it was on no chain when it was looked at long after it was told."""
        is_missing = told.seen is not None and told.seen.get("found") is False
        return is_missing and told.looked_at is not None and told.looked_at - told.told_at >= told_transactions.LATE_MS

    def spelt(self, payment: Payment, tx_hash: str) -> str:
        """Return a hash in its one spelling; what is none of the chain stays as it is, for a person to see."""
        return normal_tx_hash(tx_hash, self._catalog.chains[payment.chain_id].chain_type) or tx_hash

    async def _look(self, payment: Payment, told: Sequence[ToldTransaction]) -> _Look:
        """Look at what is not settled, longest unseen first, and keep what is seen: the next look goes on there."""
        places = asyncio.Semaphore(TOGETHER)
        looked: dict[str, ToldTransaction] = {}
        failed: list[Exception] = []

        async def one(each: ToldTransaction) -> None:
            async with places:
                if len(failed) >= MAX_FAILED:
                    return
                try:
                    looked[each.tx_hash] = await self._looked(payment, each)
                except (ScannerUnavailable, ScannerRefused) as exc:
                    failed.append(exc)
                    # It is the last in turn now: what one of them never tells would hide the others.
                    looked[each.tx_hash] = replace(each, looked_at=self._units.clock.now_ms())

        async with asyncio.TaskGroup() as group:
            for each in next_to_look_at(told):
                group.create_task(one(each), name=f"look at {each.tx_hash:.80}")
        if looked:
            async with self._units.begin(None) as work:
                await told_transactions.set_seen(work.tx, payment.id, looked.values())
        return _Look([looked.get(each.tx_hash, each) for each in told], failed)

    async def _looked(self, payment: Payment, told: ToldTransaction) -> ToldTransaction:
        """Return a transaction with what it shows now."""
        chain = self._chain(payment)
        now = self._units.clock.now_ms()
        if normal_tx_hash(told.tx_hash, chain.chain_type) is None:
            return replace(told, looked_at=now, settled_at=now)
        try:
            seen = await inspect(self._scanner, payment.chain_id, chain.chain_type, told.tx_hash)
        except ScannerRefused as exc:
            if exc.details.get("field") != "txHash":
                raise
            log.warning("[%s] %s: %s cannot be looked at: %s", payment.provider, payment.id, told.tx_hash, exc)
            return replace(told, looked_at=now, settled_at=now)
        settled = now if is_settled(payment, chain, seen) else None
        kept = codec.plain(about(payment, self._catalog, seen))
        return replace(told, looked_at=now, settled_at=settled, seen=kept)

    def verify_webhook(self, raw: bytes, headers: Mapping[str, str]) -> HostedWebhook:
        return self.upstream.read_webhook(raw, headers, self._units.clock.wall_ms() // 1000)

    async def cancel(self, payment: Payment) -> None:
        """
        Make sure that nothing is on its way: neither provider can be told to forget a payment.

        What comes later is told by a webhook, or asked for, and listed as late (`told_transactions.of_ended`).
        """
        if payment.registered_at is None:
            return
        try:
            status = await self.status(payment, thoroughly=True)
        except BrokenList as exc:
            status = Contradicted(Reason.BROKEN_ANSWER, str(exc))
        match status:
            case Seen() | OnItsWay() | Contradicted() | NothingSeen(expected=True):
                raise Conflict(HTTPStatus.CONFLICT, "conflict", f"{payment.provider} has seen a transfer", {})
            case InPart() | NothingSeen():
                return


def next_to_look_at(told: Sequence[ToldTransaction]) -> list[ToldTransaction]:
    """
    Return what is looked at now: what waits longest since it was told or looked at, in whatever order it was told.

    Nobody gets ahead of a payment by sending more: what is sent later is looked at later, and what is settled no more.
    """
    waiting = [each for each in told if each.settled_at is None]
    return sorted(waiting, key=lambda each: (each.looked_at or each.told_at, each.tx_hash))[:MAX_LOOKED]
