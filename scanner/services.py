"""The use cases: what the front door can ask of the daemon."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chains.base import ChainAdapter
from chains.errors import ChainUnavailable
from chains.types import Checkout, Condition, Rail, RailWarning, Targets
from config.catalog import Catalog, Chain, Token
from kernel.clock import Clock
from kernel.sealing.secret_cipher import SecretCipher
from kernel.store.database import Database, Tx
from kernel.store.horizon import Horizon
from kernel.web.rate_limiter import RateLimiter
from protocol.answers import Proof
from scanner import ingest
from scanner.balances import BalanceChecks
from scanner.checkout.payments import Payments
from scanner.cluster import Alone, Cluster, NodeView, chain_lock
from scanner.console_sessions import ConsoleSessions
from scanner.deliveries import Deliveries, SampleSender
from scanner.errors import InvalidRequest
from scanner.inspections import Inspections
from scanner.lifecycle import with_depth
from scanner.matching import rejection_reason
from scanner.model import Intent, IntentStatus, Reason, StoredTransfer
from scanner.reading.folding import member, unpack
from scanner.redelivery import Redelivery
from scanner.registration.callbacks import CallbackPolicy
from scanner.registration.intents import Draft, Registrations
from scanner.registration.requests import CreateIntent
from scanner.registration.tokens import TokenResolver, parse_address
from scanner.registration.watches import Watches
from scanner.search import spellings
from scanner.secrets.callback_secrets import CallbackSecrets
from scanner.store import checkpoints, handled, intent_search, intents, outbox, proofs, samples, transfers, watches
from scanner.store.errors import Conflict, NotFound, StoreError
from scanner.store.handled import Handled
from scanner.store.intent_search import IntentFilter, IntentPage
from scanner.store.proofs import CountedTransfer
from scanner.store.samples import Sample
from scanner.upkeep.health import ChainHealth
from scanner.upkeep.metrics import Metrics
from scanner.upkeep.store_probe import StoreProbe
from scanner.version import VERSION
from scanner.worker import ChainWorker

RECHECK_S = 30.0
MAX_PROVEN = 1_000  # transfers in one proof: whoever pays an intent chooses in how many parts
MAX_PROVEN_BLOCKS = 200  # whoever checks it asks for the hash of each
MAX_PROOF_CHARACTERS = 60 * 2**20  # of one answer; clients take 64 million
SHOWN = 20  # transfers in one answer that is no page
SEEN_AT_MOST = 10_000  # of a transaction: a stranger chooses how many there are
_ROW_ID = re.compile(r"[0-9]{1,18}")
ZERO_ADDRESS = "0x" + "0" * 40


@dataclass(frozen=True, slots=True)
class IntentView:
    """An intent with its newest transfers and deliveries, and how many there are."""

    intent: Intent
    transfers: Sequence[StoredTransfer]
    transfer_count: int
    deliveries: Sequence[Mapping[str, Any]]
    delivery_count: int


@dataclass(frozen=True, slots=True)
class RecheckedTransfer:
    """One transfer a recheck saw, and what it means for the intent."""

    tx_hash: str
    event_key: str
    block_number: int
    amount: int
    counts: bool
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class UnmatchedView:
    """A row of the unmatched, and what was noted of it."""

    stored: StoredTransfer
    handled: Handled | None


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """One chain for the status page."""

    chain: Chain
    health: ChainHealth
    condition: Condition
    pending_intents: int
    counts: Mapping[IntentStatus, int]  # of intents
    active_watches: int
    backlog: outbox.Backlog | None
    tokens: tuple[Token, ...]
    leader: str | None  # which process reads it; None while none does


@dataclass(frozen=True, slots=True)
class ScannerStatus:
    """Every enabled chain, and every process."""

    chains: Sequence[ChainStatus]
    nodes: Sequence[NodeView]


class Services:
    """Everything the API does, one method a use case."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        workers: Mapping[int, ChainWorker],
        db: Database,
        clock: Clock,
        metrics: Metrics,
        registrations: Registrations,
        redelivery: Redelivery,
        callbacks: CallbackPolicy,
        late_watch_ms: int,
        on_events: Callable[[], None],
        on_watch: Callable[[int], None],
        cipher: SecretCipher,
        samples: SampleSender,
        cluster: Cluster | None = None,
        public_url: str | None = None,
    ) -> None:
        self._cluster = cluster or alone(db, clock, workers)
        self._numbers = {"intents": Horizon(db, "intents", "number"), "transfers": Horizon(db, "transfers", "id")}
        self._catalog = catalog
        self._tokens = TokenResolver(catalog)
        self.balances = BalanceChecks(self._tokens, self.worker, clock)
        self.inspections = Inspections(self.worker)
        self.watches = Watches(
            db=db,
            clock=clock,
            tokens=self._tokens,
            callbacks=callbacks,
            worker_of=self.worker,
            on_created=on_watch,
            cipher=cipher,
        )
        self.deliveries = Deliveries(db=db, clock=clock, callbacks=callbacks, sender=samples, on_events=on_events)
        self.sessions = ConsoleSessions(db, clock)
        self.secrets = CallbackSecrets(db, clock, cipher, callbacks)
        self.probe = StoreProbe(db, clock.now_ms)
        self._workers = workers
        self._db = db
        self._clock = clock
        self._metrics = metrics
        self._registrations = registrations
        self._housekeeping = redelivery
        self._callbacks = callbacks
        self._late_ms = late_watch_ms
        self._on_events = on_events
        self._public_url = public_url
        self.payments = Payments(db, clock, with_depths=self._with_depths, recheck=self.recheck)

    @property
    def limiters(self) -> tuple[RateLimiter, ...]:
        """What counts how often somebody asked."""
        return self.deliveries.limiter, self.sessions.limiter, self.payments.limiter

    # --- intents ---------------------------------------------------------------------------------

    async def register(self, request: CreateIntent) -> Intent:
        """
        Register an intent; the same request again returns what is stored.

        Raises:
            InvalidRequest: names the field. Nothing is stored.
            Conflict: the id is taken by a different request.
        """
        worker = self.worker(request.chain_id)
        adapter = worker.adapter
        rail = self._rail(request, adapter)
        receiver = self._callbacks.check_callback(request.callback_url, request.callback_secret)
        destination = parse_address(adapter, "destination", request.destination)
        fee_address = (
            ZERO_ADDRESS if request.fee_address is None else parse_address(adapter, "feeAddress", request.fee_address)
        )
        if request.fee_amount and request.fee_address is None:
            raise InvalidRequest("feeAddress", "feeAddress is required when feeAmount is not zero")
        token = await self._tokens.token(worker, request.token_names())
        self._check_destination(worker, destination, token.key)
        return await self._registrations.register(
            Draft(
                request,
                chain_type=worker.chain.chain_type,
                rail=rail,
                token=token,
                destination_key=destination,
                fee_address=fee_address,
                receiver=receiver,
                confirmations_required=max(worker.chain.confirmation_threshold, request.depth or 0),
            )
        )

    def worker(self, chain_id: int) -> ChainWorker:
        """Return the worker of an enabled chain."""
        worker = self._workers.get(chain_id)
        if worker is None:
            known = self._catalog.chain(chain_id)
            why = "is not enabled" if known else "is unknown"
            raise InvalidRequest("chainId", f"chainId {chain_id} {why}", code="unsupported_chain")
        return worker

    def _check_destination(self, worker: ChainWorker, destination: str, token: str) -> None:
        """Refuse contracts that hold money for nobody: what is paid to the proxy or to a token is lost."""
        chain, adapter = worker.chain, worker.adapter
        if destination == adapter.parse_address(chain.proxy_address):
            raise InvalidRequest("destination", "destination is the chain's proxy contract: the money would be lost")
        if destination == token or self._tokens.is_listed(adapter, chain.chain_id, destination):
            raise InvalidRequest("destination", "destination is a token contract: the money would be lost")

    @staticmethod
    def _rail(request: CreateIntent, adapter: ChainAdapter) -> Rail:
        rail = request.rail or adapter.rails[0]
        if rail not in adapter.rails:
            raise InvalidRequest("rail", f"rail {rail} is not available on chainId {request.chain_id}")
        return rail

    def chain(self, chain_id: int) -> Chain | None:
        """Return a chain of the registry."""
        return self._catalog.chain(chain_id)

    def chain_names(self) -> list[tuple[int, str]]:
        """Return the enabled chains with their names."""
        return [(chain_id, worker.chain.name) for chain_id, worker in self._workers.items()]

    def listed_token(self, chain_id: int, key: str) -> Token | None:
        """Return a token of the registry by its canonical address; None where it is another, or the chain is off."""
        worker = self._workers.get(chain_id)
        return None if worker is None else self._tokens.listed(worker.adapter, chain_id, key)

    def is_watched(self, chain_id: int) -> bool:
        """Say whether payments on a chain are seen: nobody should pay where they are not."""
        return chain_id in self._workers

    def checkout(self, intent: Intent, amount: int | None = None) -> Checkout:
        """Return what a wallet needs to pay an intent, or a part of it."""
        return self._workers[intent.chain_id].adapter.checkout(
            intent.rail,
            token=intent.token_key,
            destination=intent.destination_key,
            amount=intent.amount if amount is None else amount,
            reference=intent.payment_reference,
            fee_amount=intent.fee_amount,
            fee_address=intent.fee_address,
        )

    def payment_url(self, intent: Intent) -> str | None:
        """Return where a buyer pays an intent; None where buyers do not reach this service."""
        known = self._public_url is not None and intent.pay_token is not None
        return f"{self._public_url}/pay/{intent.pay_token}" if known else None

    def warnings(self, intent: Intent) -> list[RailWarning]:
        """Return what cannot be seen of an intent's rail with the endpoints there are."""
        # As the last poll left it: working it out anew took a seventh of a registration.
        condition = self._workers[intent.chain_id].health.condition
        return [warning for warning in condition.warnings if warning.rail is intent.rail]

    def proxy_address(self, chain_id: int) -> str | None:
        """Return the contract a buyer calls on this chain."""
        chain = self._catalog.chain(chain_id)
        return chain.proxy_address if chain else None

    def show_address(self, chain_id: int, canonical: str) -> str:
        """Return an address as people read it on that chain."""
        worker = self._workers.get(chain_id)
        return worker.adapter.show_address(canonical) if worker else canonical

    async def intent(self, intent_id: str) -> IntentView:
        """Return an intent with everything known about it."""
        async with self._db.read() as tx:
            intent = await intents.get(tx, intent_id)
            if intent is None:
                raise NotFound(f"intent {intent_id} does not exist")
            (intent,) = await self._with_depths(tx, [intent])
            return IntentView(
                intent,
                await transfers.newest(tx, intent_id, limit=SHOWN),
                await transfers.count_of(tx, intent_id),
                await outbox.history(tx, outbox.INTENT, intent_id),
                await outbox.count_of(tx, outbox.INTENT, intent_id),
            )

    async def transfers(self, intent_id: str, *, after: int, limit: int) -> list[StoredTransfer]:
        """Return a page of an intent's transfers, rejected ones included, in the order they were seen."""
        async with self._db.read() as tx:
            if await intents.get(tx, intent_id) is None:
                raise NotFound(f"intent {intent_id} does not exist")
            return await transfers.page(tx, intent_id, after=after, limit=limit)

    async def proof(self, intent_id: str) -> Proof:
        """
        Return what shows by hashes alone that an intent was paid.

        Where not all of it can be told, what pays most is, if it reaches the price: how many transfers there are, and
        in which blocks, strangers choose as well.

        Raises:
            NotFound: there is no such intent.
            InvalidRequest: nothing counts for it, or too little of it is proven.
        """
        async with self._db.read() as tx:
            intent = await intents.get(tx, intent_id)
            if intent is None:
                raise NotFound(f"intent {intent_id} does not exist")
            count = await proofs.count(tx, intent_id)
            if count == 0:
                raise InvalidRequest("intentId", f"no transfer counts for intent {intent_id}", code="not_paid")
            wanted = _provable(await proofs.largest(tx, intent_id, MAX_PROVEN))
            if len(wanted) < count and sum(each.amount for each in wanted) < intent.amount:
                why = f"what one proof tells of intent {intent_id} does not reach its price"
                if not wanted:
                    nothing = "its chain has no proofs, or they are not confirmed"
                    why = f"transfers of intent {intent_id} are not proven: {nothing}"
                raise InvalidRequest("intentId", why, code="no_proof")
            told = await proofs.told(tx, wanted)
        return Proof(chain_id=intent.chain_id, intent_id=intent_id, transfers=tuple(told))

    async def list_intents(
        self,
        wanted: IntentFilter | None = None,
        *,
        named: str | None = None,
        after: str | None = None,
        limit: int,
        newest_first: bool = False,
    ) -> IntentPage:
        """
        Return a page of intents in order of registration.

        `named` finds exactly: an intent's id or reference, a transaction, an address that is paid or pays.
        """
        last = await self._numbers["intents"].settled()
        wanted = wanted or IntentFilter()
        async with self._db.read() as tx:
            if named is None:
                page = await intent_search.page(
                    tx, wanted, after=after, limit=limit, last=last, newest_first=newest_first
                )
            else:
                page = await intent_search.find(
                    tx,
                    spellings(named, [worker.adapter for worker in self._workers.values()]),
                    wanted,
                    chains=self._catalog.chains.keys(),
                    after=after,
                    limit=limit,
                    last=last,
                    newest_first=newest_first,
                )
            return page._replace(intents=await self._with_depths(tx, page.intents))

    async def _with_depths(self, tx: Tx, found: Sequence[Intent]) -> list[Intent]:
        """Count how deep payments are, on chains that count blocks."""
        heads: dict[tuple[int, Rail], int | None] = {}
        for intent in found:
            if intent.status is IntentStatus.CONFIRMING and (intent.chain_id, intent.rail) not in heads:
                heads[intent.chain_id, intent.rail] = await self._head(tx, intent.chain_id, intent.rail)
        return [with_depth(intent, heads.get((intent.chain_id, intent.rail))) for intent in found]

    async def _head(self, tx: Tx, chain_id: int, rail: Rail) -> int | None:
        """Return the newest block known; None where positions are no blocks, or the chain is not watched."""
        worker = self._workers.get(chain_id)
        if worker is None or not worker.adapter.counts_blocks:
            return None
        known = None if self._cluster.leads(chain_id) else self._cluster.chain_time(chain_id)
        if known is not None:
            return known.position
        if worker.health.head is not None:
            return worker.health.head.position
        # Until the first poll: a payment is at least as deep as it was when its rail was last read.
        held = await checkpoints.get(tx, chain_id, rail)
        return None if held is None else held.cursor.position

    async def cancel(self, intent_id: str) -> Intent:
        """
        Cancel a pending intent; cancelling a cancelled one changes nothing.

        Raises:
            NotFound: there is no such intent.
            Conflict: it is past pending.
        """
        now = self._clock.now_ms()
        async with self._db.write() as tx:
            intent = await intents.get(tx, intent_id)
            if intent is None:
                raise NotFound(f"intent {intent_id} does not exist")
            # A page must not count a payment of what is cancelled meanwhile: whichever comes first, the other sees it.
            await self._db.lock(tx, chain_lock(intent.chain_id))
            intent = await intents.get(tx, intent_id) or intent
            if intent.cancelled_at is not None:
                return intent
            on_chain = self._cluster.chain_time(intent.chain_id) if intent.chain_id in self._workers else None
            ended = now if on_chain is None else on_chain.ms
            values: dict[str, Any] = {"status": IntentStatus.EXPIRED, "cancelled_at": now, "expired_at": ended}
            if not await intents.change(tx, intent_id, [IntentStatus.PENDING], now, **values):
                raise Conflict(f"intent {intent_id} is {intent.status} and cannot be cancelled", field="status")
        return intent._replace(updated_at=now, **values)

    async def recheck(self, intent_id: str, tx_hash: str | None) -> tuple[IntentView, list[RecheckedTransfer]]:
        """
        Look now, and say what was seen and why it does or does not settle the intent.

        With a transaction hash that transaction is read itself, so that a payment an endpoint kept
        from us is found; what is found is stored as if the scan had found it.

        Raises:
            ChainError: the chain could not be asked.
        """
        before = (await self.intent(intent_id)).intent
        worker = self.worker(before.chain_id)
        direct = before.rail is Rail.DIRECT
        here = frozenset({before.destination_key})
        targets = Targets(destinations=here) if direct else Targets(beneficiaries=here)
        seen = [] if tx_hash is None else await worker.adapter.inspect(tx_hash, targets)
        if seen:
            async with self._db.write() as tx:
                await self._db.lock(tx, chain_lock(before.chain_id))
                recorded = await ingest.record_page(
                    tx,
                    before.chain_id,
                    seen,
                    now=self._clock.now_ms(),
                    late_ms=self._late_ms,
                    moment=self._moment(worker),
                )
            worker.count(recorded)
        try:
            async with asyncio.timeout(RECHECK_S):
                await self._cluster.poll(before.chain_id)
        except TimeoutError as exc:
            raise ChainUnavailable("no endpoint answered in time") from exc
        self._on_events()
        view = await self.intent(intent_id)
        async with self._db.read() as tx:
            held = await transfers.newest(tx, intent_id, limit=SHOWN, tx_hash=seen[0].tx_hash if seen else tx_hash)
        sightings = [_rechecked(stored) for stored in held]
        mine_too = {key for stored in held for key in unpack(stored.members, stored.event_key)}
        for other in seen[:SEEN_AT_MOST]:  # transfers of that transaction that name somebody else
            if len(sightings) < SHOWN and member(other.event_key) not in mine_too:
                # A plain transfer names nobody: on the proxy rail it is nobody's, whatever it pays.
                mine = view.intent if other.reference == (None if direct else view.intent.topic_ref) else None
                reason = rejection_reason(other, mine, now=self._moment(worker), late_ms=self._late_ms)
                sightings.append(
                    RecheckedTransfer(
                        other.tx_hash, other.event_key, other.block_number, other.amount, counts=False, reason=reason
                    )
                )
        return view, sightings

    def _moment(self, worker: ChainWorker) -> int:
        """Return what time it is on a chain, in unix ms: how long ago an intent ended is not for the host's clock."""
        if self._cluster.leads(worker.chain.chain_id):
            head = worker.health.head
            return self._clock.now_ms() if head is None else head.time * 1000
        known = self._cluster.chain_time(worker.chain.chain_id)
        return self._clock.now_ms() if known is None else known.ms

    async def unmatched(
        self, *, chain_id: int | None, reason: Reason | None, after: int, limit: int
    ) -> list[UnmatchedView]:
        """Return transfers that settled nothing, in the order they were seen, and what was noted of them."""
        last = await self._numbers["transfers"].settled()
        async with self._db.read() as tx:
            found = await transfers.unmatched(tx, chain_id=chain_id, reason=reason, after=after, limit=limit, last=last)
            noted = await handled.of_transfers(tx, [stored.id for stored in found])
        return [UnmatchedView(stored, noted.get(stored.id)) for stored in found]

    async def handle_unmatched(self, row_id: str, note: str, *, by: str) -> UnmatchedView:
        """
        Note that somebody saw to a row of the unmatched; a note that was there is overwritten.

        Raises:
            NotFound: there is no such row.
        """
        seen_to = Handled(note, by, self._clock.now_ms())
        transfer_id = int(row_id) if _ROW_ID.fullmatch(row_id) else 0
        async with self._db.write() as tx:
            found = await transfers.unmatched(tx, chain_id=None, reason=None, after=transfer_id - 1, limit=1)
            if [stored.id for stored in found] != [transfer_id]:
                raise NotFound(f"unmatched {row_id} does not exist")
            await handled.note(tx, transfer_id, seen_to)
        return UnmatchedView(found[0], seen_to)

    # --- operations ------------------------------------------------------------------------------

    async def retry_webhooks(self) -> int:
        """Start a new round for everything given up; return how many intents that concerns."""
        return await self._housekeeping.retry_failed(failed_before=self._clock.now_ms())

    def now_ms(self) -> int:
        """Return the daemon's time."""
        return self._clock.now_ms()

    async def status(self) -> ScannerStatus:
        """Return every enabled chain's condition, as its leader sees it, and the processes."""
        view = await self._cluster.view()
        async with self._db.read() as tx:
            counts = await intents.count_by_status(tx)
            backlog = await outbox.backlog(tx)
            watching = await watches.count_active(tx)
        live = (IntentStatus.PENDING, IntentStatus.CONFIRMING)
        chains = []
        for chain_id, worker in self._workers.items():
            shown = view.published.get(chain_id)
            status = ChainStatus(
                worker.chain,
                worker.health if shown is None else shown.health,
                worker.adapter.condition() if shown is None else shown.condition,
                sum(counts.get((chain_id, status), 0) for status in live),
                {status: counts.get((chain_id, status), 0) for status in IntentStatus},
                watching.get(chain_id, 0),
                backlog.get(chain_id),
                self._catalog.tokens(chain_id),
                view.leaders.get(chain_id),
            )
            chains.append(status)
        return ScannerStatus(chains, view.nodes)

    async def stats(self, chain_id: int, hours: int) -> list[Sample]:
        """
        Return how a chain was doing in the last hours, the oldest first.

        Raises:
            InvalidRequest: the chain is not enabled.
        """
        self.worker(chain_id)
        async with self._db.read() as tx:
            return await samples.since(tx, chain_id, now=self._clock.now_ms(), hours=hours)

    async def not_ready(self) -> Collection[str]:
        """Return why the daemon is not ready to serve; empty when it is."""
        reasons = []
        for chain_id, worker in self._workers.items():
            if not self._cluster.leads(chain_id):  # it serves all the same; who leads it says how it is
                continue
            if not worker.health.polled:
                why = worker.health.last_error or worker.health.state
                reasons.append(f"chain {chain_id} has not been polled yet: {why}")
            elif worker.adapter.condition().stale:
                reasons.append(f"chain {chain_id} is stale: no endpoint knows a block that is new enough")
        try:
            async with self._db.read() as tx:
                await intents.get(tx, "")
        except StoreError as exc:
            return [*reasons, str(exc)]
        problem = await self.probe.problem()
        return reasons if problem is None else [*reasons, problem]

    async def metrics(self) -> bytes:
        """Return the metrics, with the gauges that live in the store brought up to date."""
        now = self._clock.now_ms()
        async with self._db.read() as tx:
            counts = await intents.count_by_status(tx)
            backlog = await outbox.backlog(tx)
        for chain_id, worker in self._workers.items():
            chain = str(chain_id)
            for status in IntentStatus:
                self._metrics.intents.labels(chain, status).set(counts.get((chain_id, status), 0))
            if worker.health.last_success_elapsed is not None:
                age = self._clock.elapsed_ms() - worker.health.last_success_elapsed
                self._metrics.success_age.labels(chain).set(age / 1000)
            self._metrics.leads.labels(chain).set(self._cluster.leads(chain_id))
            if self._cluster.leads(chain_id):
                self._metrics.lag_seconds.labels(chain).set(worker.health.lag_seconds or 0)
            for endpoint in worker.adapter.condition().endpoints:
                if endpoint.skew_s is not None:
                    self._metrics.clock_skew.labels(chain, endpoint.label).set(endpoint.skew_s)
        self._metrics.queue.labels("pending").set(sum(b.pending for b in backlog.values()))
        self._metrics.queue.labels("failed").set(sum(b.failed for b in backlog.values()))
        oldest = min((b.oldest_created_at for b in backlog.values()), default=now)
        self._metrics.oldest_age.set(max(0, now - oldest) / 1000)
        return self._metrics.render()


def alone(db: Database, clock: Clock, workers: Mapping[int, ChainWorker], node_id: str = "") -> Alone:
    """Return what one process that shares its store with nobody knows of itself."""
    cluster = Alone(db, clock, node_id, VERSION)
    cluster.workers = workers
    return cluster


def _rechecked(stored: StoredTransfer) -> RecheckedTransfer:
    return RecheckedTransfer(
        stored.tx_hash,
        stored.event_key,
        stored.block_number,
        stored.amount,
        counts=stored.counted,
        reason=stored.reason,
    )


def _provable(counted: Sequence[CountedTransfer]) -> list[CountedTransfer]:
    """Return as many of transfers as fit into one proof, those of most money, in the order they were seen."""
    wanted: list[CountedTransfer] = []
    blocks: set[str] = set()
    left = MAX_PROOF_CHARACTERS
    for each in counted:
        if each.block_hash is None or each.characters > left or len(blocks | {each.block_hash}) > MAX_PROVEN_BLOCKS:
            continue
        blocks.add(each.block_hash)
        left -= each.characters
        wanted.append(each)
    return sorted(wanted, key=lambda each: each.id)
