"""Build a file of unsigned transactions: what the ledger lets go, as far as the chain has it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import aiohttp
import orjson

from marketplace.catalog import Catalog, Chain, Token
from marketplace.errors import Refused, invalid
from marketplace.model import Actor, EscrowState
from marketplace.payments.deposit_addresses import DepositAddresses
from marketplace.payments.ledger import balances
from marketplace.payments.sweeps.evm_node import EvmNode
from marketplace.payments.sweeps.node import SweepNode
from marketplace.payments.sweeps.plan import AddressState, PlannedTransfer, Skipped, SweepPlan, Wanted, plan
from marketplace.payments.sweeps.ton_node import TonNode
from marketplace.payments.sweeps.tron_node import TronNode
from marketplace.store import ledger, payments, sweeps
from marketplace.store.database import Tx
from marketplace.store.sweeps import Cursor, Source, SweepTransfer
from marketplace.unit_of_work import UnitOfWorkFactory, new_id
from protocol.wire import rfc3339

log = logging.getLogger(__name__)

MAX_TRANSFERS = 200  # in one file
FORMAT = "amn-sweep-1"
DIGITS = 15  # of a time in a cursor
DERIVATION = "0/{}"  # under the account's key: m/44'/60'/0' and this


class Purpose(StrEnum):
    """Where money is moved."""

    INSTRUCTIONS = "instructions"
    TREASURY = "treasury"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepFile:
    """A file to be signed elsewhere; `checksum` is the SHA-256 of its text."""

    id: str
    chain_id: int
    purpose: Purpose
    count: int
    total: int
    text: str
    checksum: str
    skipped: Sequence[tuple[Source, Skipped]]
    next_cursor: str | None

    @property
    def name(self) -> str:
        return f"sweep-{self.chain_id}-{self.id[:8]}-{self.checksum[:16]}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What a file is built of."""

    id: str
    by: str
    chain: Chain
    token: Token
    purpose: Purpose
    treasury: str | None  # None: to the instructions
    after: Cursor | None


class Sweeps:
    """Use cases of derived addresses that are emptied."""

    def __init__(
        self,
        units: UnitOfWorkFactory,
        catalog: Catalog,
        destinations: DepositAddresses,
        session: aiohttp.ClientSession,
        *,
        rpc_urls: Mapping[str, str],
        treasuries: Mapping[int, str],
    ) -> None:
        self._units = units
        self._catalog = catalog
        self._destinations = destinations
        self._session = session
        self._rpc_urls = rpc_urls
        self._treasuries = treasuries

    async def build(
        self, actor: Actor, *, chain_id: int, token: str, purpose: Purpose, cursor: str | None = None
    ) -> SweepFile:
        """
        Build one file, of at most 200 transfers; `next_cursor` goes on behind it.

        Raises:
            Refused: something is not configured, or the chain's node cannot be used.
        """
        job = self._job(actor, chain_id, token, purpose, _read_cursor(cursor))
        node = self._node(job.chain)
        async with self._units.db.read() as tx:
            sources, wanted = await self._wanted(tx, job)
        await node.check_chain(chain_id)
        ours, skipped = self._ours(wanted)
        something = {source.subject for source, _, _ in wanted}
        skipped += [(each, Skipped.NOTHING) for each in sources if each.subject not in something]
        addresses = sorted({source.address for source, _, _ in ours})
        async with self._units.db.read() as tx:
            made = await sweeps.made(tx, chain_id, addresses)
        states = await node.states(job.token.address, addresses, made)
        await node.prepare()
        planned, built_at = await self._numbered(job, node, ours, states)
        told = await node.transactions(job.token.address, planned.transfers, built_at)
        skipped += planned.skipped
        entries: list[dict[str, Any]] = []
        for each, transaction in zip(planned.transfers, told, strict=True):
            if transaction is None:
                skipped.append((each.source, Skipped.FAILS))
            else:
                entries.append(_entry(job.chain, each, transaction))
        log.info("[sweeps] %s: %d transfers on chain %d, built by %s", job.id, len(entries), chain_id, actor.user_id)
        return _file(job, built_at, entries, node.coins(entries, states), skipped, _next(sources))

    async def _numbered(
        self, job: _Job, node: SweepNode, ours: Sequence[Wanted], states: Mapping[str, AddressState]
    ) -> tuple[SweepPlan, int]:
        """Give out numbers under one lock: two files built at the same time would give one to two purposes."""
        async with self._units.begin(f"sweeps of {job.chain.chain_id}") as work:
            _, still = await self._wanted(work.tx, job)
            due = {each[0].subject: each for each in still}
            now = [due[source.subject] for source, _, _ in ours if source.subject in due]
            made = await sweeps.made(work.tx, job.chain.chain_id, {source.address for source, _, _ in now})
            planned = plan(now, states, made)
            fixed = [replace(each, fixed=node.fixed(job.token.address, each, work.now)) for each in planned.transfers]
            stored = [_stored(each, job, work.now) for each in fixed]
            await sweeps.replace_all(work.tx, job.chain.chain_id, planned.gone, stored)
            return replace(planned, transfers=fixed), work.now

    def _job(self, actor: Actor, chain_id: int, token: str, purpose: Purpose, after: Cursor | None) -> _Job:
        chain = self._catalog.chains.get(chain_id)
        found = None if chain is None else self._catalog.token(chain_id, token)
        if chain is None or found is None:
            raise invalid("token", "is no token of a chain of the registry")
        treasury = self._treasury(chain) if purpose is Purpose.TREASURY else None
        return _Job(
            id=new_id(), by=actor.user_id, chain=chain, token=found, purpose=purpose, treasury=treasury, after=after
        )

    async def _wanted(self, tx: Tx, job: _Job) -> tuple[list[Source], list[Wanted]]:
        """Return what is looked at, and what of it may leave, to whom and how much."""
        chain_id, token = job.chain.chain_id, job.token.address
        if job.treasury is None:
            found = await sweeps.to_instructions(
                tx, chain_id=chain_id, token=token, after=job.after, limit=MAX_TRANSFERS
            )
            return found, [(each, each.to, each.amount) for each in found if each.to and each.amount]
        now = self._units.clock.now_ms()
        found = await sweeps.to_treasury(
            tx, chain_id=chain_id, token=token, now=now, after=job.after, limit=MAX_TRANSFERS
        )
        lines = await ledger.of_payments(tx, [each.payment_id for each in found])
        states = await payments.by_ids(tx, [each.payment_id for each in found])
        wanted: list[Wanted] = []
        for each in found:
            sums, escrow = balances(lines[each.payment_id]), states[each.payment_id].escrow_state
            amount = sums.releasable(escrow) if escrow is EscrowState.RELEASABLE else sums.fees
            if amount > 0:
                wanted.append((each, job.treasury, amount))
        return found, wanted

    def _ours(self, wanted: Sequence[Wanted]) -> tuple[list[Wanted], list[tuple[Source, Skipped]]]:
        """Leave out what the configured key does not give: nobody could sign for it, or somebody else could."""
        ours, others = [], []
        for each in wanted:
            source = each[0]
            if self._destinations.at(source.source, source.source_index) == source.address:
                ours.append(each)
            else:
                others.append((source, Skipped.NOT_OURS))
        return ours, others

    def _node(self, chain: Chain) -> SweepNode:
        url = self._rpc_urls.get(chain.rpc_env or "")
        if url is None:
            raise Refused("not_configured", f"set {chain.rpc_env or 'its rpcEnv'}: a node of your own is asked")
        match chain.chain_type:
            case "evm":
                return EvmNode(self._session, url)
            case "tron":
                return TronNode(self._session, url)
            case "ton":
                return TonNode(self._session, url, testnet=chain.testnet)
            case _:
                raise ValueError(f"there is no family {chain.chain_type}")

    def _treasury(self, chain: Chain) -> str:
        address = self._treasuries.get(chain.chain_id)
        if address is None:
            raise Refused("not_configured", f"set MARKETPLACE_TREASURY_ADDRESSES for {chain.name}")
        return address


def _entry(chain: Chain, transfer: PlannedTransfer, transaction: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file says of one transfer: what a person can check beside what is signed."""
    source = transfer.source
    return {
        "from": source.address,
        "path": DERIVATION.format(source.source_index) if chain.chain_type == "evm" else None,
        "for": source.subject,
        "to": transfer.to,
        "amount": str(transfer.amount),
        "transaction": transaction,
    }


def _stored(each: PlannedTransfer, job: _Job, now: int) -> SweepTransfer:
    return SweepTransfer(
        subject=each.source.subject,
        batch_id=job.id,
        chain_id=job.chain.chain_id,
        from_address=each.source.address,
        nonce=each.nonce,
        to_address=each.to,
        amount=each.amount,
        built_by=job.by,
        tx_id=None if each.fixed is None else each.fixed.tx_id,
        raw=None if each.fixed is None else each.fixed.raw,
        expires_at=None if each.fixed is None else each.fixed.expires_at,
        built_at=now,
    )


def _file(
    job: _Job,
    built_at: int,
    entries: Sequence[Mapping[str, Any]],
    coins: Sequence[Mapping[str, str]],
    skipped: Sequence[tuple[Source, Skipped]],
    next_cursor: str | None,
) -> SweepFile:
    total = sum(int(each["amount"]) for each in entries)
    document = {
        "format": FORMAT,
        "id": job.id,
        "family": job.chain.chain_type,
        "chainId": job.chain.chain_id,
        "tokenAddress": job.token.address,
        "tokenSymbol": job.token.symbol,
        "decimals": job.token.decimals,
        "purpose": job.purpose,
        "builtAt": rfc3339(built_at),
        "count": len(entries),
        "total": str(total),
        "transfers": entries,
        "coins": coins,
    }
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
    return SweepFile(
        id=job.id,
        chain_id=job.chain.chain_id,
        purpose=job.purpose,
        count=len(entries),
        total=total,
        text=text,
        checksum=hashlib.sha256(text.encode()).hexdigest(),
        skipped=skipped,
        next_cursor=next_cursor,
    )


def _next(sources: Sequence[Source]) -> str | None:
    if len(sources) < MAX_TRANSFERS:
        return None
    return f"{sources[-1].created_at}.{sources[-1].subject}"


def _read_cursor(cursor: str | None) -> Cursor | None:
    if cursor is None:
        return None
    at, _, row_id = cursor.partition(".")
    if not (at.isascii() and at.isdigit() and len(at) <= DIGITS and row_id):
        raise invalid("cursor", "is not one that was answered")
    return int(at), row_id
