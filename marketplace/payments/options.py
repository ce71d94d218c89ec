"""With what a buyer can pay an accepted offer right now."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from clients.python.amn_scanner_client import ScannerError
from config.catalog import Proof
from marketplace.catalog import Catalog, Chain, Token
from marketplace.errors import Refused
from marketplace.goods.handover import refuse_out_of_stock
from marketplace.model import Actor, Offer, Provider, Rail
from marketplace.networks import Networks, is_watched
from marketplace.payments.checkout import payable
from marketplace.payments.choice import ProviderChoice, ProviderOption
from marketplace.payments.deposit_addresses import DepositAddresses
from marketplace.payments.money import to_decimal
from marketplace.pricing.quoting import Quoting
from marketplace.risk import thresholds
from marketplace.trade.requests import found_of_buyer
from marketplace.unit_of_work import UnitOfWorkFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentOption:
    """One token of one chain; `estimated_seconds` None where the registry does not say how long a block takes."""

    chain_id: int
    chain_name: str
    token: str
    token_address: str
    rails: tuple[Rail, ...]  # of the scanner
    providers: tuple[ProviderOption, ...]
    confirmations: int
    estimated_seconds: int | None
    amount: str


class PaymentOptions:
    """Finds what the scanner watches, addresses are left for, and the accepted price can be expressed in."""

    def __init__(
        self,
        units: UnitOfWorkFactory,
        catalog: Catalog,
        destinations: DepositAddresses,
        networks: Networks,
        choice: ProviderChoice,
        quoting: Quoting,
        *,
        own_nodes: Collection[str] | None = None,
    ) -> None:
        """`own_nodes` names the nodes by which payments are proven, where they have to be (`RPC_…`)."""
        self._units = units
        self._catalog = catalog
        self._destinations = destinations
        self._networks = networks
        self._choice = choice
        self._quoting = quoting
        self._own_nodes = own_nodes

    async def of_request(self, actor: Actor, request_id: str) -> list[PaymentOption]:
        """
        Return what can be used now, for the buyer's own request.

        Raises:
            Refused: there is nothing to pay, or nothing can be said now.
        """
        async with self._units.db.read() as tx:
            request = await found_of_buyer(tx, actor, request_id)
            offer = await payable(tx, request, self._units.clock.now_ms())
            await refuse_out_of_stock(tx, offer.id, self._units.clock.now_ms())
            needed = {each: await thresholds.required(tx, self._catalog, each) for each in self._catalog.chains}
        usable = await self.rails()
        watched = await self._watched()
        through = {
            token: self._choice.offered(token.chain_id, token.symbol, usable[token.chain_id]) for token in watched
        }
        tokens = [token for token in watched if through[token]]
        return [
            _option(self._catalog.chains[token.chain_id], token, through[token], needed[token.chain_id], amount)
            for token, amount in await self._amounts(offer, tokens)
        ]

    async def rails(self) -> dict[int, tuple[Rail, ...]]:
        """Return by chain on which rails a payment could be given an address now."""
        async with self._units.db.read() as tx:
            return {
                chain_id: self._creditable(chain, await self._destinations.rails(tx, chain))
                for chain_id, chain in self._catalog.chains.items()
            }

    def _creditable(self, chain: Chain, rails: Iterable[Rail]) -> tuple[Rail, ...]:
        """Leave out where payments have to be proven and nothing could prove one: it would be held for ever."""
        if self._own_nodes is None:
            return tuple(rails)
        if chain.proof is Proof.NONE or chain.rpc_env not in self._own_nodes:
            return ()
        return tuple(rail for rail in rails if rail is not Rail.DIRECT_BALANCE)

    async def _watched(self) -> list[Token]:
        """Return the tokens that the scanner knows as we do."""
        try:
            there = await self._networks.watched()
        except ScannerError as exc:
            raise Refused("scanner_unavailable", "the scanner cannot be asked now: try again", retryAfter=5) from exc
        chains = self._catalog.chains
        return [
            token
            for token in self._catalog.tokens
            if token.chain_id in there and is_watched(chains[token.chain_id], token, there[token.chain_id])
        ]

    async def _amounts(self, offer: Offer, tokens: list[Token]) -> list[tuple[Token, str]]:
        """Return the tokens in which the price can be paid now, each with what is paid."""
        found: list[tuple[Token, str]] = []
        unavailable: Refused | None = None
        for token in tokens:
            try:
                priced = await self._quoting.price(offer.price_amount, offer.price_currency, token)
            except Refused as exc:
                if exc.code == "quote_unavailable":
                    unavailable = exc
                continue
            found.append((token, to_decimal(priced.amount_base, token.decimals)))
        if not found and unavailable is not None:  # an empty list would say that there never is a way
            raise unavailable
        return found


def _option(
    chain: Chain, token: Token, providers: tuple[ProviderOption, ...], confirmations: int, amount: str
) -> PaymentOption:
    block_s = chain.block_time_sec
    return PaymentOption(
        chain_id=chain.chain_id,
        chain_name=chain.name,
        token=token.symbol,
        token_address=token.address,
        rails=next((each.rails for each in providers if each.name is Provider.SCANNER), ()),
        providers=providers,
        confirmations=confirmations,
        estimated_seconds=None if block_s is None else math.ceil(confirmations * block_s),
        amount=amount,
    )
