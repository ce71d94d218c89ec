"""What one receipt proves: read once, slice by slice, however many transfers are asked about."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from msgspec import Raw

from chains.errors import ChainProtocolError
from chains.evm.blocks import Block
from chains.evm.event_keys import first_key, nth_key
from chains.evm.events import (
    TRANSFER_TOPIC,
    ProxyEvent,
    first_topic,
    is_proxy_event,
    is_well_formed,
    proxy_event,
    transfer_log,
)
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.evm.rpc.client import RawResult
from chains.evm.rpc.structs import RawReceipt, ReceiptLog, parse_receipt
from chains.evm.values import address_text, hash_text
from chains.evm.verification.event_matching import EventMatch, EventMatcher, TokenMovement
from chains.rpc.jsonrpc_messages import Call
from chains.rpc.quantities import quantity_or_none
from chains.types import Transfer, Verification, VerificationOutcome

LOGS_PER_SLICE = 500  # of a receipt, before others have their turn
UNREADABLE = "a log in its receipt cannot be read"

_STATUSES: Mapping[int | None, bool] = {0: False, 1: True}


class PaidEvent(NamedTuple):
    """A proxy event, and what the token says of it."""

    event: ProxyEvent
    match: EventMatch
    log_index: int | None


class PlainTransfer(NamedTuple):
    """A `Transfer` log of any token."""

    move: TokenMovement
    log_index: int | None


Log = TypeVar("Log", PaidEvent, PlainTransfer)


@dataclass(slots=True)
class Receipt:
    """Everything one transaction's receipt proves, by event key."""

    tx_hash: str
    block_number: int | None
    block_hash: str
    succeeded: bool
    sender: str | None
    events: dict[str, PaidEvent] = field(default_factory=dict)  # of our proxy, in log order
    plain: dict[str, PlainTransfer] = field(default_factory=dict)  # in log order
    size: int = 0  # logs
    unread: str | None = None  # why one of the logs that every transfer may depend on cannot be read
    unread_of: dict[str, str] = field(default_factory=dict)  # the same of logs only one token's depend on, by token


async def read_receipt(raw: Raw, *, tx_hash: str, proxy: str) -> Receipt | None:
    """
    Read a receipt, and let others run between its slices; None when the node does not hold it.

    Only what is used is looked at: the place of a log is its place in the list, which the block's hash covers,
    and not the number a node gives it.

    Raises:
        ChainProtocolError: unreadable, or of another transaction.
    """
    sent, malformed = parse_receipt(raw)
    if sent is None:
        return None
    if hash_text(sent.transactionHash) != tx_hash:
        raise ChainProtocolError("the receipt is of another transaction")
    receipt = _facts(sent, tx_hash)
    reading = _ReceiptReader(receipt, proxy)
    for start in range(0, len(sent.logs), LOGS_PER_SLICE):
        # All in one go, two thousand dust transfers in one transaction stopped the whole process for a minute.
        await asyncio.sleep(0)
        reading.feed(sent.logs[start : start + LOGS_PER_SLICE])
    for log in malformed:
        reading.note_unreadable(log.address, log.topics, log.why)
    return receipt


def receipt_call(tx_hash: str) -> Call:
    """Return the call for a receipt."""
    return "eth_getTransactionReceipt", (tx_hash,)


async def receipt_or_why(answer: RawResult, *, tx_hash: str, proxy: str) -> Receipt | str | None:
    """Return a receipt, None where there is none, or why it cannot be read."""
    if answer.error is not None:
        return f"no receipt: {answer.error}"
    try:
        return await read_receipt(answer.raw, tx_hash=tx_hash, proxy=proxy)
    except ChainProtocolError as exc:
        return f"its receipt is unreadable: {exc}"


def _facts(sent: RawReceipt, tx_hash: str) -> Receipt:
    return Receipt(
        tx_hash=tx_hash,
        block_number=quantity_or_none(sent.blockNumber),
        block_hash=hash_text(sent.blockHash),
        succeeded=_succeeded(sent.status),
        sender=address_text(sent.sender),
        size=len(sent.logs),
    )


def _succeeded(status: object) -> bool:
    succeeded = _STATUSES.get(quantity_or_none(status))
    if succeeded is None:  # whoever pruned it says null, and nobody has to guess what 2 means
        raise ChainProtocolError(f"its status is {repr(status)[:60]}")
    return succeeded


class _ReceiptReader:
    """Takes the logs of one receipt in order."""

    def __init__(self, receipt: Receipt, proxy: str) -> None:
        self._receipt = receipt
        self._proxy = proxy
        self._matcher = EventMatcher()
        self._equals: Counter[str] = Counter()
        self._read = 0

    def feed(self, logs: Sequence[ReceiptLog]) -> None:
        for position, log in enumerate(logs, self._read):
            if is_proxy_event(log.address, log.topics, self._proxy):
                try:
                    event = proxy_event(log.topics, log.data)
                except ChainProtocolError as exc:
                    self.note_unreadable(log.address, log.topics, str(exc))
                    continue
                paid = PaidEvent(event, self._matcher.event(event), quantity_or_none(log.logIndex))
                self._receipt.events[self._key(log)] = paid
            elif (moved := transfer_log(log.address, log.topics, log.data)) is not None:
                self._receipt.plain[self._key(log)] = PlainTransfer(
                    self._matcher.move(moved, position), quantity_or_none(log.logIndex)
                )
            elif not is_well_formed(log.address, log.topics, log.data):
                self.note_unreadable(log.address, log.topics, "not of the form any contract can give a log")
        self._read += len(logs)

    def note_unreadable(self, address: object, topics: object, why: str) -> None:
        """Note a log that cannot be read: what it may have said of others is not known."""
        contract, event = address_text(address), first_topic(topics)
        if event not in {None, EVENT_TOPIC, TRANSFER_TOPIC}:
            return
        if contract is None or (contract == self._proxy and event != TRANSFER_TOPIC):
            self._receipt.unread = why
        elif event != EVENT_TOPIC:
            self._receipt.unread_of[contract] = why

    def _key(self, log: ReceiptLog) -> str:
        first = first_key(log.address, log.topics, log.data)
        place = self._equals[first]
        self._equals[first] += 1
        return first if place == 0 else nth_key(first, place)


def verify_transfer(transfer: Transfer, receipt: Receipt, block: Block) -> Verification | None:
    """Say what a receipt of a block of the canonical chain proves of a transfer; None when it does not show it."""
    seen = transfer._replace(block_time=block.time, sender=receipt.sender)
    if not receipt.succeeded:
        return Verification(seen, VerificationOutcome.REVERTED, 0)
    unread = receipt.unread or receipt.unread_of.get(transfer.token)
    if unread is not None:  # which movement stands behind which event depends on every log of the token
        return Verification(transfer, VerificationOutcome.NOT_YET, 0, why=f"{UNREADABLE}: {unread}")
    if transfer.reference is None:
        plain = receipt.plain.get(transfer.event_key) or _numbered(receipt.plain, transfer)
        if plain is None or _moved(plain, transfer) != transfer:
            return None
        log = plain.move.log
        return Verification(
            seen._replace(sender=log.source),
            VerificationOutcome.CREDITED,
            log.value,
            event_reference=plain.move.event_reference,
            log_position=plain.move.position,
        )
    paid = receipt.events.get(transfer.event_key) or _numbered(receipt.events, transfer)
    if paid is None or _paid(paid, transfer) != transfer:
        return None
    outcome, credited, sender, position = paid.match
    return Verification(seen._replace(sender=sender or receipt.sender), outcome, credited, log_position=position)


def _numbered(logs: Mapping[str, Log], transfer: Transfer) -> Log | None:
    """Return the log that a transfer of an earlier version means: those were stored under the number a node gave."""
    if transfer.event_key != str(transfer.log_index):
        return None
    return next((log for log in logs.values() if log.log_index == transfer.log_index), None)


def transfers_in(
    receipt: Receipt, block: Block, *, chain_id: int, destinations: Collection[str], beneficiaries: Collection[str]
) -> list[Transfer]:
    """
    Return one transaction's proxy events and plain transfers into ours.

    What moves behind a proxy event to a beneficiary is that payment: it is told once, as the event.
    """
    place = _place(receipt, block, chain_id)
    events = [
        _paid(paid, place)._replace(event_key=key, log_index=paid.log_index, sender=paid.match.sender or receipt.sender)
        for key, paid in receipt.events.items()
    ]
    plain = [
        _told(key, each, place)
        for key, each in receipt.plain.items()
        if each.move.log.destination in destinations
        or (each.move.event_reference is None and each.move.log.destination in beneficiaries)
    ]
    return [*events, *plain]


def movements_in(receipt: Receipt, block: Block, *, chain_id: int) -> tuple[Transfer, ...]:
    """Return every movement of a token in one transaction, as the token itself reports it, in log order."""
    place = _place(receipt, block, chain_id)
    return tuple(_told(key, each, place) for key, each in receipt.plain.items())


def _place(receipt: Receipt, block: Block, chain_id: int) -> Transfer:
    return Transfer(
        chain_id, receipt.tx_hash, "", None, block.number, block.hash, block.time, token="", destination="", amount=0
    )


def _told(key: str, plain: PlainTransfer, at: Transfer) -> Transfer:
    moved = _moved(plain, at)
    return moved._replace(event_key=key, log_index=plain.log_index, sender=plain.move.log.source)


def _paid(paid: PaidEvent, at: Transfer) -> Transfer:
    """Return a transfer with what an event claims in the place of what it says itself."""
    return at._replace(**paid.event._asdict())


def _moved(plain: PlainTransfer, at: Transfer) -> Transfer:
    """Return a transfer with what a token moved in the place of what it says itself."""
    log = plain.move.log
    return at._replace(
        token=log.token, destination=log.destination, amount=log.value, reference=None, fee_amount=0, fee_address=None
    )
