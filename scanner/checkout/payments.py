"""What the holder of a pay token can ask for: the payment, what changes of it, and to look now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from addresses.families import canonical_tx_hash
from kernel.clock import Clock
from kernel.store.database import Database, Tx
from kernel.web.rate_limiter import Limit, RateLimiter
from protocol.words import PaymentState
from scanner.checkout.live import LivePayments
from scanner.checkout.state import Payment, state_of
from scanner.errors import InvalidRequest
from scanner.model import Intent, IntentStatus, Reason, StoredTransfer
from scanner.store import intents, transfers
from scanner.store.errors import NotFound

SHOWN = 5  # transactions on a page
READ_ANEW_MS = 30_000  # what changes nothing of an intent is seen within that: money for what was cancelled
READ = 20  # transfers among which they are looked for: a stranger may send dust by the thousand
# In this order: what the first refuses is not counted by the second.
LIMITS: Final[Mapping[str, Limit]] = {"pause": Limit(1, 10), "hour": Limit(20, 3600)}
BUSY_S = 5
# A buyer cares for what counts and for what came too late; what else a stranger sends there is not theirs.
CONCERNING = frozenset({Reason.LATE, Reason.CANCELLED})


def counted_by(intent_id: str) -> str:
    """Return what looks for a payment are counted by: the bare id may read as an address, and `a::1` as `a::2`."""
    return f"intent {intent_id}"


class TooOften(Exception):
    """It was asked for too often; `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the chain was asked for this payment a moment ago: try again in {retry_after} seconds")
        self.retry_after = retry_after


class Looked(NamedTuple):
    """What looking now has shown."""

    payment: Payment
    found: bool  # the transaction that was named concerns this payment
    counts: bool
    reason: Reason | None  # why it does not


class _Read(NamedTuple):
    """The transfers of a payment as they were read, and what it was like then."""

    intent: Intent
    came_late: bool
    until: int  # elapsed ms: then they are read again
    transfers: tuple[StoredTransfer, ...]


class Seen(Protocol):
    """One transfer, and what it means for the payment."""

    @property
    def counts(self) -> bool:
        """Whether it is part of what was paid."""

    @property
    def reason(self) -> Reason | None:
        """Why it is not."""


class Payments:
    """The use cases of the payment page."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        *,
        with_depths: Callable[[Tx, Sequence[Intent]], Awaitable[list[Intent]]],
        recheck: Callable[[str, str | None], Awaitable[tuple[Any, Sequence[Seen]]]],
    ) -> None:
        self._db = db
        self._clock = clock
        self._with_depths = with_depths
        self._recheck = recheck
        self.limiter = RateLimiter(LIMITS, clock.elapsed_ms)
        self._looking: set[int] = set()  # chains that are asked for somebody right now
        self._read: Mapping[str, _Read] = {}  # of those that are watched
        self.live = LivePayments(self.read)

    async def find(self, token: str) -> Payment:
        """
        Return the payment a token is for.

        Raises:
            NotFound: there is none.
        """
        async with self._db.read() as tx:
            intent = await intents.by_pay_token(tx, token)
            if intent is None:
                raise NotFound("there is no such payment")
            payments, _ = await self._payments(tx, [intent], {})
            return payments[intent.intent_id]

    async def read(self, ids: Collection[str]) -> Mapping[str, Payment]:
        """Return payments by intent; made for asking every second: of what is as it was no transfers are read anew."""
        async with self._db.read() as tx:
            found = list((await intents.get_many(tx, ids)).values())
            # A question a payment would be hundreds a second, as soon as a stranger opens pages of parts.
            known = {intent_id: each for intent_id, each in self._read.items() if each.until > self._clock.elapsed_ms()}
            payments, self._read = await self._payments(tx, found, known)
        return payments

    async def _payments(
        self, tx: Tx, found: Sequence[Intent], known: Mapping[str, _Read]
    ) -> tuple[dict[str, Payment], dict[str, _Read]]:
        now, until = self._clock.now_ms(), self._clock.elapsed_ms() + READ_ANEW_MS
        expired = {intent.intent_id for intent in found if intent.status is IntentStatus.EXPIRED}
        late = await transfers.having(tx, expired, Reason.LATE) if expired else set()
        payments: dict[str, Payment] = {}
        read: dict[str, _Read] = {}
        for stored, intent in zip(found, await self._with_depths(tx, found), strict=True):
            came_late = intent.intent_id in late
            held = known.get(intent.intent_id)
            if held is None or (held.intent, held.came_late) != (stored, came_late):
                held = _Read(stored, came_late, until, await self._concerning(tx, intent, came_late=came_late))
            read[intent.intent_id] = held
            state = state_of(intent, came_late=came_late, now_ms=now)
            payments[intent.intent_id] = Payment(intent, state, held.transfers)
        return payments, read

    @staticmethod
    async def _concerning(tx: Tx, intent: Intent, *, came_late: bool) -> tuple[StoredTransfer, ...]:
        if not intent.amount_received and not came_late and intent.cancelled_at is None:
            return ()
        newest = await transfers.newest(tx, intent.intent_id, limit=READ)
        mine = [each for each in newest if each.tx_hash and (each.counted or each.reason in CONCERNING)]
        return tuple(mine[-SHOWN:])

    async def look(self, token: str, tx_hash: str | None) -> Looked:
        """
        Look at the chain now, or at one transaction of it; what was judged already is not asked for again.

        Raises:
            NotFound: there is no such payment.
            InvalidRequest: that is no transaction hash of this chain.
            TooOften: it was asked for too often.
            ChainError: the chain could not be asked.
        """
        payment = await self.find(token)
        intent = payment.intent
        named = None if tx_hash is None else canonical_tx_hash(intent.chain_type, tx_hash.strip())
        if named is None and tx_hash is not None:
            raise InvalidRequest("txHash", "txHash is no transaction hash of this chain")
        known = [] if named is None else await self._judged(intent, named)
        if known or (named is None and payment.state is PaymentState.PAID):
            return _looked(payment, known)
        self._admit(intent)
        self._looking.add(intent.chain_id)
        try:
            _, seen = await self._recheck(intent.intent_id, named)
        finally:
            self._looking.discard(intent.chain_id)
        return _looked(await self.find(token), [] if named is None else seen)

    async def _judged(self, intent: Intent, tx_hash: str) -> list[_Stored]:
        """Return what is known of a transaction; one that left its block may be in another by now."""
        async with self._db.read() as tx:
            held = await transfers.newest(tx, intent.intent_id, limit=READ, tx_hash=tx_hash)
        return [_Stored(each.counted, each.reason) for each in held if each.reason is not Reason.REORGED]

    def _admit(self, intent: Intent) -> None:
        # Whoever has a token could have the chain asked for ever otherwise, at the price of everybody's polls.
        if intent.chain_id in self._looking:
            raise TooOften(BUSY_S)
        for name in LIMITS:
            if wait_s := self.limiter.take(name, counted_by(intent.intent_id)):
                raise TooOften(wait_s)


class _Stored(NamedTuple):
    counts: bool
    reason: Reason | None


def _looked(payment: Payment, seen: Sequence[Seen]) -> Looked:
    counts = any(each.counts for each in seen)
    reason = None if counts else next((each.reason for each in seen if each.reason is not None), None)
    return Looked(payment, bool(seen), counts, reason)
