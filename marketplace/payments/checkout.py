"""Opening a payment: what has to be paid, where, and that the scanner knows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from clients.python.amn_scanner_client import ScannerRefused, ScannerUnavailable
from kernel.clock import HOUR_MS
from marketplace.catalog import Catalog, Chain, Token
from marketplace.errors import Refused, conflict, invalid
from marketplace.goods.handover import refuse_out_of_stock
from marketplace.model import (
    Actor,
    CommandKind,
    Direction,
    Mode,
    Offer,
    Payment,
    PaymentStatus,
    Provider,
    PurchaseRequest,
    Rail,
    RequestStatus,
)
from marketplace.payments.choice import ProviderChoice
from marketplace.payments.deposit_addresses import DepositAddresses, key
from marketplace.payments.money import to_decimal
from marketplace.payments.scanner_outbox import CommandDispatcher
from marketplace.pricing.quoting import Priced, Quoting, kept
from marketplace.risk import thresholds
from marketplace.store import addresses, locks, negotiation, outbox, payments, quotes
from marketplace.store.database import Tx
from marketplace.store.quotes import PaymentQuote
from marketplace.trade.offers import found_offer
from marketplace.trade.requests import found_of_buyer
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory, new_id

PATIENCE_MS = 15_000  # the first attempt belongs to the request itself; afterwards the outbox takes over


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentDraft:
    """How a buyer wants to pay; how much is not for the buyer to say."""

    purchase_request_id: str
    rail: Rail
    mode: Mode | None
    chain_id: int
    token: str
    provider: Provider = Provider.SCANNER


class Expiry(Protocol):
    """Ends payments whose time is up."""

    async def look(self, payment: Payment) -> None:
        """
        Look at a payment, and end it when its time is up and nothing is on its way.

        Raises:
            ScannerUnavailable, ScannerRefused: nothing was learned.
        """


class Checkout:
    """Use cases of opening payments."""

    def __init__(
        self,
        units: UnitOfWorkFactory,
        catalog: Catalog,
        destinations: DepositAddresses,
        commands: CommandDispatcher,
        choice: ProviderChoice,
        quoting: Quoting,
        expiry: Expiry,
        *,
        ttl_h: float,
    ) -> None:
        self._units = units
        self._catalog = catalog
        self._destinations = destinations
        self._commands = commands
        self._choice = choice
        self._quoting = quoting
        self._expiry = expiry
        self._ttl_ms = int(ttl_h * HOUR_MS)

    async def open_payment(self, actor: Actor, draft: IntentDraft) -> tuple[Payment, bool]:
        """Open the one pay-in of a request, or return the one that is open; say whether it is new."""
        chain, token = self._known(draft)
        priced = await self._priced(actor, draft.purchase_request_id, token)  # no transaction waits for a source
        async with self._units.begin(locks.request(draft.purchase_request_id)) as work:
            request = await found_of_buyer(work.tx, actor, draft.purchase_request_id)
            payment = await payments.pay_in(work.tx, request.id)
            new = payment is None
            if payment is None:
                payment = await self._create(work, request, draft, chain, token, priced)
            elif not _same(payment, draft, token):
                raise _taken(payment)
        if payment.registered_at is None:
            await self._commands.register_now(payment.id)
        return await self._after(payment.id), new

    async def check_payable(self, draft: IntentDraft, amount: str, currency: str) -> None:
        """
        Refuse a way to pay in which a price could not be paid, before anything is made of it.

        Raises:
            Refused: the chain, the rail or the token is none, or the price cannot be told in the token.
        """
        _, token = self._known(draft)
        await self._quoting.price(amount, currency, token)

    async def quote(self, payment_id: str) -> PaymentQuote | None:
        """Return what the amount of a payment was quoted by; None where its price is in its token."""
        async with self._units.db.read() as tx:
            return await quotes.of_payment(tx, payment_id)

    async def _priced(self, actor: Actor, request_id: str, token: Token) -> _PricedOffer | None:
        """Return what the accepted offer costs in a token; None where there is a pay-in already."""
        standing = await self._standing(actor, request_id)
        if isinstance(standing, Payment) and self._is_late(standing):
            await self._end(standing)
            standing = await self._standing(actor, request_id)
        if isinstance(standing, Payment):
            return None
        return _PricedOffer(standing, await self._quoting.price(standing.price_amount, standing.price_currency, token))

    async def _standing(self, actor: Actor, request_id: str) -> Payment | Offer:
        """Return the pay-in of a request, or the offer that is to be paid where there is none."""
        async with self._units.db.read() as tx:
            request = await found_of_buyer(tx, actor, request_id)
            payment = await payments.pay_in(tx, request_id)
            return await payable(tx, request, self._units.clock.now_ms()) if payment is None else payment

    def _is_late(self, payment: Payment) -> bool:
        ends = payment.expires_at
        return payment.is_open and ends is not None and ends <= self._units.clock.now_ms()

    async def _end(self, payment: Payment) -> None:
        """
        End a pay-in whose time, and with it whose quote, is over, so that a new one can be drawn.

        What was paid, or is on its way, keeps the payment and its quote as they are.
        """
        try:
            await self._expiry.look(payment)
        except (ScannerUnavailable, ScannerRefused) as exc:
            # Nobody can say that it was not paid, and two amounts for one request would be asked for.
            message = "the time of the last payment is up, and the scanner cannot say whether it was paid: try again"
            raise Refused("scanner_unavailable", message, retryAfter=5) from exc

    def _known(self, draft: IntentDraft) -> tuple[Chain, Token]:
        chain = self._catalog.chains.get(draft.chain_id)
        if chain is None:
            raise invalid("chainId", f"{draft.chain_id} is not a chain of the registry")
        if draft.rail is Rail.PROXY and chain.chain_type != "evm":
            raise invalid("rail", f"proxy does not exist on {chain.name}: use direct")
        token = self._catalog.token(draft.chain_id, draft.token)
        if token is None:
            raise invalid("token", f"{draft.token} is not a token of {chain.name}")
        self._choice.check(draft.provider, chain.chain_id, token.symbol, draft.rail, draft.mode)
        return chain, token

    async def _create(
        self,
        work: UnitOfWork,
        request: PurchaseRequest,
        draft: IntentDraft,
        chain: Chain,
        token: Token,
        priced: _PricedOffer | None,
    ) -> Payment:
        offer = await payable(work.tx, request, work.now)
        if priced is None or priced.terms != _terms(offer):
            raise conflict("the request changed at the same time: try again", status=request.status)
        await refuse_out_of_stock(work.tx, offer.id, work.now)
        destination: str | None = None
        source: str | None = None
        index = 0
        if not self._choice.gives_address(draft.provider):
            destination, source, index = await self._destinations.take(work.tx, chain, draft.rail)
        required = await thresholds.required(work.tx, self._catalog, chain.chain_id)
        payment = self._payment(work, offer, request, draft, token, priced.price, destination, required)
        await payments.add(work.tx, payment)
        if priced.price.quote is not None:
            ends = payment.expires_at or work.now + self._ttl_ms
            await quotes.add(work.tx, kept(priced.price.quote, payment.id, token, ends))
        if destination is not None and source is not None:
            await addresses.reserve(
                work.tx,
                chain_id=chain.chain_id,
                token=key(token.address, chain.chain_type),
                destination=key(destination, chain.chain_type),
                source=source,
                index=index,
                payment_id=payment.id,
                now=work.now,
            )
        await outbox.add(work.tx, CommandKind.REGISTER, payment.id, now=work.now, due=work.now + PATIENCE_MS)
        title = f"Pay {payment.amount} {payment.token_symbol} for {offer.title}"
        work.notify_of_payment([payment.buyer_id], payment, "pending_payment", title)
        return payment

    def _payment(
        self,
        work: UnitOfWork,
        offer: Offer,
        request: PurchaseRequest,
        draft: IntentDraft,
        token: Token,
        price: Priced,
        destination: str | None,
        required: int,
    ) -> Payment:
        payment_id = new_id()
        mode = (draft.mode or Mode.CHECK) if draft.rail is Rail.DIRECT_BALANCE else None
        return Payment(
            id=payment_id,
            purchase_request_id=request.id,
            seller_offer_id=offer.id,
            buyer_id=request.buyer_id,
            seller_id=offer.seller_id,
            provider=draft.provider,
            provider_payment_id=_provider_id(payment_id, draft, mode, token),
            direction=Direction.IN,
            rail=draft.rail,
            mode=mode,
            chain_id=token.chain_id,
            token_address=token.address,
            token_symbol=token.symbol,
            decimals=token.decimals,
            amount_base=price.amount_base,
            amount=to_decimal(price.amount_base, token.decimals),
            destination=destination,
            status=PaymentStatus.PENDING,
            escrow_state=None,
            confirmations_required=required,
            registered_at=None,
            checkout=None,
            payment_url=None,
            baseline_balance=None,
            current_balance=None,
            next_check_at=None,
            stop_reason=None,
            watch_stopped_at=None,
            hold_reason=None,
            evidence=None,
            tx_hash=None,
            hold_until=None,
            reorged_at=None,
            ordered=None,
            settles_payment_id=None,
            reason=None,
            expires_at=self._ends(price, work.now),
            looked_at=None,
            created_at=work.now,
            updated_at=work.now,
        )

    def _ends(self, price: Priced, now: int) -> int:
        """Return when a payment ends: with its quote, since nobody keeps a price for longer than it is good for."""
        ends = now + self._ttl_ms
        quoted = None if price.quote is None else price.quote.expires_at
        return ends if quoted is None else min(ends, quoted)

    async def _after(self, payment_id: str) -> Payment:
        async with self._units.db.read() as tx:
            payment = await payments.get(tx, payment_id)
        if payment is None:
            raise LookupError(f"payment {payment_id} is gone")
        if payment.status is PaymentStatus.FAILED:
            who = "the scanner" if payment.provider is Provider.SCANNER else payment.provider
            raise Refused("rail_unavailable", f"{who} does not accept this payment: {payment.reason}")
        return payment


@dataclass(frozen=True, slots=True)
class _PricedOffer:
    """What an offer costs, and the offer that was."""

    offer: Offer
    price: Priced

    @property
    def terms(self) -> tuple[str, str, str]:
        return _terms(self.offer)


def _terms(offer: Offer) -> tuple[str, str, str]:
    return offer.id, offer.price_amount, offer.price_currency


async def payable(tx: Tx, request: PurchaseRequest, now: int) -> Offer:
    """Return the accepted offer of a request that is to be paid now."""
    if request.status is not RequestStatus.PAYMENT or request.selected_offer_id is None:
        raise conflict(f"the request is {request.status}: choose an offer first", status=request.status)
    if await negotiation.pending(tx, request.selected_offer_id, now) is not None:
        raise conflict("a counter-offer waits for an answer")
    return await found_offer(tx, request.selected_offer_id)


def _provider_id(payment_id: str, draft: IntentDraft, mode: Mode | None, token: Token) -> str | None:
    """Name the payment beforehand where we can, so that its webhook finds it whatever we lived to hear."""
    if draft.provider is Provider.REQUEST_NETWORK:
        return None  # it names its requests itself
    if draft.rail is not Rail.DIRECT_BALANCE:
        return payment_id
    return f"{payment_id}-balance-c{token.chain_id}-{token.symbol.upper()}" if mode is Mode.WATCH else None


def _same(payment: Payment, draft: IntentDraft, token: Token) -> bool:
    how = (payment.rail, payment.chain_id, payment.token_address)
    mode = (draft.mode or Mode.CHECK) if draft.rail is Rail.DIRECT_BALANCE else None
    same = how == (draft.rail, draft.chain_id, token.address) and payment.mode == mode
    return payment.is_open and same and payment.provider == draft.provider


def _taken(payment: Payment) -> Refused:
    state = "paid already" if not payment.is_open else "being paid in another way: cancel that payment first"
    return conflict(
        f"this request is {state}",
        paymentId=payment.id,
        status=payment.status,
        rail=payment.rail,
        chainId=payment.chain_id,
        token=payment.token_symbol,
        provider=payment.provider,
    )


async def found_payment(tx: Tx, payment_id: str) -> Payment:
    """Return a payment that has to be there."""
    payment = await payments.get(tx, payment_id)
    if payment is None:
        raise Refused("not_found", "there is no such payment")
    return payment
