"""What becomes of each row of a Go scanner's store (pure): rows that this scanner can take over, or why it cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import ValidationError

from addresses import InvalidAddress, parse
from chains.types import Rail
from config.catalog import Catalog, Chain, ChainType
from scanner.model import LIVE, NATIVE, Intent, IntentStatus, Watch, WatchStatus
from scanner.registration.intents import Draft
from scanner.registration.reference import new_pay_token, new_salt, payment_reference, topic_ref
from scanner.registration.requests import CreateIntent, unix_ms
from scanner.registration.tokens import ResolvedToken
from scanner.store.go_scanner import GoStore, Row
from webhooks.signing import check_secret

MOST_DIGITS = 15
SECONDS_BELOW = 10**11  # a larger number of seconds is a year nobody plans for: it is milliseconds
NO_FEE = "0x0000000000000000000000000000000000000000"
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d+)?) ?(Z|[+-]\d\d:?\d\d)?(?: [A-Z]{1,5})?(?: m=.*)?",
    re.ASCII,
)
_REFERENCE = re.compile(r"0x[0-9a-f]{16}")
_SETTLED_THERE = "confirmed"
_STATUSES = {
    "pending": IntentStatus.PENDING,
    # Their transfers are not in that store in a form that can be judged: they are found again, and verified again.
    "confirming": IntentStatus.PENDING,
    "webhook_failed": IntentStatus.PENDING,
    "expired": IntentStatus.EXPIRED,
    "cancelled": IntentStatus.EXPIRED,
}


class Refused(Exception):
    """A row that cannot be taken over; the message says why."""


class Refusal(NamedTuple):
    """Which row, and why not."""

    what: str
    why: str


class NewCheckpoint(NamedTuple):
    """From where a rail is read on."""

    chain_id: int
    rail: Rail
    position: int


@dataclass(slots=True)
class Plan:
    """What would be written, secrets still as they are there, and what would not."""

    intents: list[Intent] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    checkpoints: list[NewCheckpoint] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    settled_there: int = 0  # and told: their backends know, and nothing of them is left to do
    untold: list[tuple[str, str]] = field(default_factory=list)  # confirmed there and acknowledged by nobody; by what
    ended_watches: int = 0
    unread: set[int] = field(default_factory=set)  # chains that something waits on, and that were read to nowhere


class Planner:
    """Makes a plan by the registry, the callback policy and the times of this scanner."""

    def __init__(self, catalog: Catalog, check_url: Callable[[str], str], *, ttl_ms: int, now: int) -> None:
        self._catalog = catalog
        self._check_url = check_url
        self._ttl_ms = ttl_ms
        self._now = now

    def plan(self, store: GoStore) -> Plan:
        """Return what becomes of every row."""
        plan, taken = Plan(), set[tuple[Any, ...]]()
        for row in store.intents:
            if row["status"] == _SETTLED_THERE:
                plan.settled_there += 1
                continue
            try:
                intent = self.intent(row)
                _claim(intent, taken)
            except Refused as exc:
                plan.refused.append(Refusal(f"intent {row['intent_id']}", str(exc)))
            else:
                plan.intents.append(intent)
                plan.untold += [(intent.intent_id, str(row["tx_hash"]))] if row["status"] == "webhook_failed" else []
        for row in store.watches:
            if row["status"] != WatchStatus.WATCHING:
                plan.ended_watches += 1
                continue
            try:
                plan.watches.append(self.watch(row))
            except Refused as exc:
                plan.refused.append(Refusal(f"watch {row['watch_id']}", str(exc)))
        plan.checkpoints = self._checkpoints(store)
        read = {each.chain_id for each in plan.checkpoints}
        plan.unread = {intent.chain_id for intent in plan.intents if intent.status in LIVE} - read
        return plan

    def intent(self, row: Row) -> Intent:
        """
        Return the intent of a row.

        Raises:
            Refused: it could not be settled here, or not told.
        """
        chain, status = self._chain(row), _STATUSES.get(row["status"])
        if status is None:
            raise Refused(f"its status {row['status']!r} is unknown")
        receiver, asked = self._receiver(row), _asked(row, chain)
        rail = Rail.PROXY if chain.chain_type is ChainType.EVM and row["payment_reference"] else Rail.DIRECT
        draft = Draft(
            asked,
            chain_type=chain.chain_type,
            rail=rail,
            token=self._token(chain, asked.token_address or ""),
            destination_key=_address(chain, "destination", asked.destination),
            fee_address=NO_FEE,
            receiver=receiver,
            confirmations_required=max(chain.confirmation_threshold, row["confirmations_required"] or 0),
        )
        return _intent(row, draft, status, ttl_ms=self._ttl_ms)

    def watch(self, row: Row) -> Watch:
        """
        Return the watch of a row.

        Raises:
            Refused: it could not be read here, or not told.
        """
        chain, token = self._chain(row), "" if row["token_address"] == NATIVE else row["token_address"]
        created, expires = _ms(row, "created_at"), _ms(row, "expires_at")
        return Watch(
            watch_id=row["watch_id"],
            chain_id=chain.chain_id,
            chain_type=chain.chain_type,
            token_address=token or None,
            token_key=_address(chain, "token_address", token) if token else None,
            token_symbol=row["token_symbol"],
            decimals=row["decimals"],
            address=row["address"],
            address_key=_address(chain, "address", row["address"]),
            baseline_balance=_units(row, "baseline_balance"),
            current_balance=_units(row, "current_balance"),
            status=WatchStatus.WATCHING,
            callback_url=row["callback_url"],
            callback_secret=row["callback_secret"],
            receiver=self._receiver(row),
            last_checked_at=None,
            next_check_at=self._now,  # at once: what happened meanwhile is told
            last_position=None,
            change_count=row["change_count"] or 0,
            last_notified_at=_ms(row, "last_notified_at") if row["last_notified_at"] else None,
            expires_at=expires,
            created_at=created,
            updated_at=_ms(row, "updated_at"),
        )

    def _checkpoints(self, store: GoStore) -> list[NewCheckpoint]:
        """Return from where each chain is read on: below every payment that was seen and not confirmed."""
        seen: dict[int, int] = {}
        for row in store.intents:
            if row["status"] == "confirming" and row["block_number"]:
                seen[row["chain_id"]] = min(row["block_number"], seen.get(row["chain_id"], row["block_number"]))
        found = []
        for row in store.checkpoints:
            chain = self._catalog.chain(row["chain_id"])
            if chain is not None:
                rail = Rail.PROXY if chain.chain_type is ChainType.EVM else Rail.DIRECT
                below = seen.get(chain.chain_id, row["last_scanned_block"] + 1) - 1
                found.append(NewCheckpoint(chain.chain_id, rail, max(0, min(row["last_scanned_block"], below))))
        return found

    def _chain(self, row: Row) -> Chain:
        chain = self._catalog.chain(row["chain_id"])
        if chain is None:
            raise Refused(f"chain {row['chain_id']} is not in the registry")
        if chain.chain_type != row["chain_type"]:
            raise Refused(
                f"chain {chain.chain_id} is {chain.chain_type} in the registry, and {row['chain_type']} there"
            )
        return chain

    def _receiver(self, row: Row) -> str:
        try:
            check_secret(row["callback_secret"] or "")
        except ValueError as exc:
            raise Refused(f"callback_secret {exc}") from exc
        try:
            return self._check_url(row["callback_url"])
        except ValueError as exc:  # `BlockedTarget` is one
            raise Refused(f"callback_url {exc}") from exc

    def _token(self, chain: Chain, address: str) -> ResolvedToken:
        key = _address(chain, "token_address", address)
        for listed in self._catalog.tokens(chain.chain_id):
            if _address(chain, "token_address", listed.address) == key:
                return ResolvedToken(listed.address, key, listed.symbol, listed.decimals)
        return ResolvedToken(address, key, None, None)


def _asked(row: Row, chain: Chain) -> CreateIntent:
    """Return the request the backend made, so that it may make it again and is answered the same."""
    depth = row["confirmations_required"]
    body = {
        "intentId": row["intent_id"],
        "chainId": chain.chain_id,
        "tokenAddress": row["token_address"],
        "destination": row["destination"],
        "amount": str(row["amount"]),
        "callbackUrl": row["callback_url"],
        "callbackSecret": row["callback_secret"],
        # A depth that is the chain's own was most likely not asked for.
        **({} if depth in (None, chain.confirmation_threshold) else {"confirmations": depth}),
    }
    try:
        return CreateIntent.model_validate(body)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        raise Refused(f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}") from None


def _intent(row: Row, draft: Draft, status: IntentStatus, *, ttl_ms: int) -> Intent:
    created, updated = _ms(row, "created_at"), _ms(row, "updated_at")
    salt, reference = _reference(row, draft)
    asked = draft.asked
    return Intent(
        intent_id=asked.intent_id,
        chain_id=asked.chain_id,
        chain_type=draft.chain_type,
        rail=draft.rail,
        token_address=draft.token.address,
        token_key=draft.token.key,
        token_symbol=draft.token.symbol,
        decimals=draft.token.decimals,
        destination=asked.destination,
        destination_key=draft.destination_key,
        amount=asked.amount,
        fee_amount=0,
        fee_address=draft.fee_address,
        payment_reference=reference,
        topic_ref=topic_ref(reference),
        salt=salt,
        callback_url=asked.callback_url,
        callback_secret=asked.callback_secret,
        receiver=draft.receiver,
        events=(),
        request=json.dumps(draft.request()),
        confirmations_required=draft.confirmations_required,
        expires_at=created + ttl_ms if ttl_ms else None,
        created_at=created,
        chain_created_at=created,
        chain_position=None,
        updated_at=updated,
        status=status,
        expired_at=updated if status is IntentStatus.EXPIRED else None,
        cancelled_at=updated if row["status"] == "cancelled" else None,
        pay_token=new_pay_token(),
    )


def _reference(row: Row, draft: Draft) -> tuple[str, str]:
    """Return salt and reference; what buyers were shown has to be the one that is looked for."""
    if draft.rail is Rail.DIRECT and not row["payment_reference"]:
        salt = row["salt"] or new_salt()
        return salt, payment_reference(draft.asked.intent_id, salt, draft.asked.destination)
    reference = f"0x{str(row['payment_reference']).lower().removeprefix('0x')}"
    if _REFERENCE.fullmatch(reference) is None:
        raise Refused("payment_reference is not 8 bytes of hex")
    if (row["topic_ref"] or "").lower().removeprefix("0x") != topic_ref(reference)[2:]:
        raise Refused("topic_ref is not the hash of payment_reference: its payment would not be found")
    return row["salt"] or new_salt(), reference


def _claim(intent: Intent, taken: set[tuple[Any, ...]]) -> None:
    """Refuse what the store would: a reference of two, and two live intents at one address."""
    keys: list[tuple[Any, ...]] = [("reference", intent.chain_id, intent.topic_ref)]
    if intent.rail is Rail.DIRECT and intent.status in LIVE:
        keys.append(("address", intent.chain_id, intent.token_key, intent.destination_key))
    for key in keys:
        if key in taken:
            raise Refused(f"another intent has the same {key[0]}: nobody could tell whose a payment is")
    taken.update(keys)


def _address(chain: Chain, name: str, text: str) -> str:
    try:
        return parse(chain.chain_type, text, testnet=chain.testnet)
    except InvalidAddress as exc:
        raise Refused(f"{name}: {exc}") from exc


def _units(row: Row, name: str) -> int:
    text = str(row[name] if row[name] is not None else 0)
    if not (text.isascii() and text.isdigit()):
        raise Refused(f"{name} is no whole number of base units")
    return int(text)


def _ms(row: Row, name: str) -> int:
    """Return a time in unix milliseconds, however it was written."""
    value = row[name]
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:MOST_DIGITS])
    if isinstance(value, int) and value >= 0:
        return value * 1000 if value < SECONDS_BELOW else value
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    try:
        if found is not None:
            moment = datetime.fromisoformat(f"{found[1]}T{found[2]}{found[3] or ''}")
            return unix_ms(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except ValueError as exc:
        raise Refused(f"{name} is no time that can be read") from exc
    raise Refused(f"{name} is no time that can be read")
