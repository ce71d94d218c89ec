"""Register intents: idempotent, and many at once in one durable transaction."""

from __future__ import annotations

import json
import operator
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import orjson

from chains.types import Rail
from kernel.clock import Clock
from kernel.errors import Collision
from kernel.sealing.secret_cipher import SecretCipher
from kernel.store.database import Database, Tx
from kernel.store.group_commit import GroupCommit
from scanner.errors import InvalidRequest
from scanner.model import ChainTime, EventType, Intent
from scanner.registration.reference import new_pay_token, new_salt, payment_reference, topic_ref
from scanner.registration.requests import CreateIntent
from scanner.registration.tokens import ResolvedToken
from scanner.secrets.rotation import signing_secrets
from scanner.store import intents, rotations
from scanner.store.errors import Conflict, StoreError

HOUR_MS = 3_600_000
REDRAWS = 8
COLLISIONS = 4  # with other processes

Reservation = tuple[int, str, str]  # chain, token, destination

_KEPT = tuple(name for name in CreateIntent.model_fields if name in Intent._fields)
_kept = operator.attrgetter(*_KEPT)
# What a replay may say in another way (a token has names, a depth two) or is compared by itself.
_SAID_OTHERWISE = {"intent_id", "token_address", "token", "token_symbol", "confirmations_required", "callback_secret"}


class _AskFirst(Exception):
    """Something of a batch is not decided by the store's rules alone."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a backend asked for, and what that means on its chain."""

    asked: CreateIntent
    _: KW_ONLY
    chain_type: str
    rail: Rail
    token: ResolvedToken
    destination_key: str
    fee_address: str
    receiver: str
    confirmations_required: int

    @property
    def intent_id(self) -> str:
        """Which intent."""
        return self.asked.intent_id

    @property
    def events(self) -> tuple[EventType, ...]:
        """What to tell of beside confirmations: each once, in one order."""
        return tuple(sorted(set(self.asked.events or ())))

    def request(self) -> dict[str, Any]:
        """Return what the caller chose, in the form a replay is compared by."""
        return self.asked.model_dump(mode="json", by_alias=True, exclude=_SAID_OTHERWISE) | {
            "rail": self.rail,
            "token": self.token.key,
            "destination": self.destination_key,
            "feeAmount": str(self.asked.fee_amount or 0),
            "feeAddress": self.fee_address,
            "confirmations": self.asked.depth,
            "events": list(self.events),
            "checkout": self.asked.shown(),
        }


class Registrations:
    """Takes drafts from many requests and stores them in group commits."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        *,
        ttl_hours: float,
        cipher: SecretCipher | None = None,
        chain_time: Callable[[int], ChainTime | None] = lambda _: None,
        count_blind: Callable[[Tx, Collection[int]], Awaitable[None]] | None = None,
    ) -> None:
        """
        `chain_time` tells what time it is on a chain, by a fresh head; None when none is known.

        `count_blind` remembers in which chains something was registered without it.
        """
        self._count_blind = count_blind
        self._chain_time = chain_time
        self._cipher = cipher or SecretCipher()
        self._db = db
        self._clock = clock
        self._ttl_ms = int(ttl_hours * HOUR_MS)
        self._commits: GroupCommit[Draft, Intent] = GroupCommit(self._store)

    async def run(self) -> None:
        """Store for ever: a named task of the daemon."""
        await self._commits.run()

    async def register(self, draft: Draft) -> Intent:
        """
        Store an intent, or return the stored one when the same was asked before.

        Raises:
            Conflict: the id is known with another parameter, which is named.
        """
        return await self._commits.submit(draft)

    async def _store(self, drafts: Sequence[Draft]) -> Sequence[Intent | Exception]:
        new = await self._store_new(drafts)
        if new is not None:
            return new
        for _ in range(COLLISIONS):
            try:
                return await self._store_once(drafts)
            except Collision:  # another process registered one of them meanwhile: it is known now
                continue
        return await self._store_once(drafts)

    async def _store_new(self, drafts: Sequence[Draft]) -> list[Intent] | None:
        """
        Store intents that are all new, in one statement; None, and nothing is stored, where one of them may not be.

        The unique indexes of ids, references and reserved destinations tell, for most batches without a question.
        """
        new: list[Intent] = []

        def rows() -> Mapping[str, Iterable[Any]]:
            now = self._clock.now_ms()
            new.extend(self._intent(draft, now) for draft in drafts)
            if any(self._past(draft, now) for draft in drafts) or self._blind(new):
                raise _AskFirst
            return intents.stored_columns(new)

        try:
            await self._db.run_alone(intents.ADD, rows)
        except (Collision, _AskFirst):
            return None
        return new

    def _blind(self, new: Iterable[Intent]) -> set[int]:
        """Return in which chains something is new whose time has to be asked for."""
        return set() if self._count_blind is None else {i.chain_id for i in new if i.chain_position is None}

    async def _store_once(self, drafts: Sequence[Draft]) -> Sequence[Intent | Exception]:
        async with self._db.write() as tx:
            now = self._clock.now_ms()
            known = await intents.get_many(tx, {draft.intent_id for draft in drafts})
            new = {d.intent_id: d for d in reversed(drafts) if d.intent_id not in known and not self._past(d, now)}
            held = await self._reservations(tx, new.values())
            new = {i: d for i, d in new.items() if _holder(d, held) in {None, i}}
            fresh = [self._intent(draft, now) for draft in new.values()]
            fresh = await self._unique(tx, fresh)
            await intents.add_many(tx, fresh)
            blind = self._blind(fresh)
            if blind and self._count_blind is not None:
                await self._count_blind(tx, blind)
            known |= {intent.intent_id: intent for intent in fresh}
            accepted = {i: await self._secrets(tx, intent, now) for i, intent in known.items()}
        return [_answer(draft, known.get(draft.intent_id), held, accepted) for draft in drafts]

    async def _secrets(self, tx: Tx, intent: Intent, now: int) -> set[str]:
        """Return the secrets a replay may come with: the one it is signed with, or was until lately."""
        newer = await rotations.get(tx, intent.callback_url) if intent.created_at != now else None
        return set(map(self._cipher.decrypt, signing_secrets(intent.callback_secret, intent.created_at, newer, now)))

    async def _unique(self, tx: Tx, fresh: list[Intent]) -> list[Intent]:
        """Draw again for those whose reference is taken, in the store or by an earlier one of the batch."""
        for _ in range(REDRAWS):
            taken = await intents.taken_references(tx, {(i.chain_id, i.topic_ref) for i in fresh})
            again = []
            for i, intent in enumerate(fresh):
                reference = (intent.chain_id, intent.topic_ref)
                again += [i] if reference in taken else []
                taken.add(reference)
            if not again:
                return fresh
            for i in again:
                fresh[i] = self._redrawn(fresh[i])
        raise StoreError("no free payment reference was found")

    @staticmethod
    async def _reservations(tx: Tx, drafts: Iterable[Draft]) -> dict[Reservation, str]:
        """Return who holds the direct destinations these drafts want; within a batch the first takes it."""
        direct = [draft for draft in drafts if draft.rail is Rail.DIRECT]
        if not direct:
            return {}
        held = await intents.reserved(tx, {_reservation(draft) for draft in direct})
        for draft in reversed(direct):
            held.setdefault(_reservation(draft), draft.intent_id)
        return held

    def _past(self, draft: Draft, now: int) -> bool:
        if draft.asked.expires_at is None:
            return False
        on_chain = self._chain_time(draft.asked.chain_id)
        return draft.asked.expires_at <= (now if on_chain is None else min(now, on_chain.ms))

    def _intent(self, draft: Draft, now: int) -> Intent:
        # A host clock that is ahead must not make payments look older than their intent, nor end it early.
        asked = draft.asked
        on_chain = self._chain_time(asked.chain_id)
        expires_at = asked.expires_at
        if expires_at is None and self._ttl_ms:
            expires_at = max(now, on_chain.ms if on_chain else now) + self._ttl_ms
        salt = new_salt()
        reference = payment_reference(asked.intent_id, salt, asked.destination)
        anew: dict[str, Any] = {
            "chain_type": draft.chain_type,
            "rail": draft.rail,
            "token_address": draft.token.address,
            "token_key": draft.token.key,
            "token_symbol": draft.token.symbol,
            "decimals": draft.token.decimals,
            "destination_key": draft.destination_key,
            "fee_amount": asked.fee_amount or 0,
            "fee_address": draft.fee_address,
            "payment_reference": reference,
            "topic_ref": topic_ref(reference),
            "salt": salt,
            "callback_secret": self._cipher.encrypt(asked.callback_secret),
            "receiver": draft.receiver,
            "events": draft.events,
            "request": orjson.dumps(draft.request()).decode(),
            "confirmations": 0,
            "confirmations_required": draft.confirmations_required,
            "expires_at": expires_at,
            "created_at": now,
            "chain_created_at": on_chain.ms if on_chain else now,
            "chain_position": on_chain.position if on_chain else None,
            "updated_at": now,
            "pay_token": new_pay_token(),
        }
        return Intent(**dict(zip(_KEPT, _kept(asked), strict=True)) | anew)

    @staticmethod
    def _redrawn(intent: Intent) -> Intent:
        salt = new_salt()
        reference = payment_reference(intent.intent_id, salt, intent.destination)
        return intent._replace(salt=salt, payment_reference=reference, topic_ref=topic_ref(reference))


def _reservation(draft: Draft) -> Reservation:
    return (draft.asked.chain_id, draft.token.key, draft.destination_key)


def _holder(draft: Draft, held: Mapping[Reservation, str]) -> str | None:
    """Return who holds the destination a draft wants for itself; through the proxy many may be paid at one."""
    return held.get(_reservation(draft)) if draft.rail is Rail.DIRECT else None


def _answer(
    draft: Draft, stored: Intent | None, held: Mapping[Reservation, str], accepted: Mapping[str, set[str]]
) -> Intent | Exception:
    """Return the stored intent when the draft asks for the very same, else say what differs."""
    holder = _holder(draft, held)
    if stored is None and holder is not None and holder != draft.intent_id:
        return Conflict(f"destination is reserved by the live intent {holder}", field="destination")
    if stored is None:  # only a new intent has to lie ahead: a replay is answered whenever it comes
        return InvalidRequest("expiresAt", "expiresAt must be in the future")
    before = json.loads(stored.request)
    for name, value in draft.request().items():
        if before.get(name) != value:
            return Conflict(f"intent {draft.intent_id} exists with another {name}", field=name)
    if draft.asked.callback_secret not in accepted[stored.intent_id]:
        return Conflict(f"intent {draft.intent_id} exists with another callbackSecret", field="callbackSecret")
    return stored
