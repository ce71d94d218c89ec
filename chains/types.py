"""Facts a chain adapter reports: frozen values, no behaviour, no chain library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from protocol.words import EndpointState as EndpointState
from protocol.words import Rail as Rail
from protocol.words import SocketState as SocketState


class Cursor(NamedTuple):
    """The last position that was fully read, and how to tell whether it is still canonical."""

    position: int  # block number on EVM, block time in ms on Tron, in unix seconds on TON
    block_hash: str | None = None  # hash of the block at `position`; None where the family has no reorgs


class Head(NamedTuple):
    """The newest position one endpoint can see."""

    position: int
    block_hash: str | None
    time: int  # unix seconds of the block at `position`
    finalized: int | None = None  # newest irreversible position, when it was asked for


class Transfer(NamedTuple):
    """
    One token transfer that touched a proxy or a destination of ours.

    Addresses are in the family's canonical form (lower-case hex on EVM), amounts in base units.
    A NamedTuple rather than a dataclass: a page holds ten thousand of them.
    """

    chain_id: int
    tx_hash: str
    event_key: str  # unique inside the transaction and never empty
    log_index: int | None
    block_number: int
    block_hash: str | None
    block_time: int | None  # unix seconds; None until the block itself was read
    token: str
    destination: str
    amount: int
    sender: str | None = None  # None until the receipt was read
    reference: str | None = None  # 0x + 64 hex, keccak256 of the payment reference; None on the direct rail
    fee_amount: int = 0
    fee_address: str | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """
    What the scanner is waiting for on one chain, in canonical addresses.

    The proxy rail reads every event of the chain's proxy.
    """

    destinations: frozenset[str] = frozenset()  # of direct intents that live or ended not long ago
    beneficiaries: frozenset[str] = frozenset()  # of such proxy intents: a plain transfer to them counts for nothing
    tokens: frozenset[str] = frozenset()  # the registry's and theirs, for who refuses logs without an address


@dataclass(frozen=True, slots=True)
class Transaction:
    """What one transaction did, whomever it concerns; a failed one moved nothing."""

    tx_hash: str  # canonical
    succeeded: bool | None  # None: the chain does not say
    block_number: int  # a position, as of a transfer
    block_hash: str | None
    transfers: tuple[Transfer, ...]  # each movement of a token once, in the order of the chain
    head: Head  # of the chain it was seen on, by the endpoint that showed it
    is_complete: bool = True  # False while something it caused has not happened yet, or cannot be judged
    block_time: int | None = None  # unix seconds, by the chain's own clock

    @property
    def facts(self) -> tuple[bool | None, int, str | None, tuple[Transfer, ...]]:
        """What two endpoints must say alike; where a log stands in its block is a number a node chose."""
        moved = tuple(transfer._replace(log_index=None) for transfer in self.transfers)
        return self.succeeded, self.block_number, self.block_hash, moved


class UnreadableLog(NamedTuple):
    """A log that may be a payment and that no endpoint showed in a way that can be read."""

    position: int
    tx_hash: str | None  # None where that cannot be read either
    why: str


@dataclass(frozen=True, slots=True)
class ScanPage:
    """Everything that happened after one cursor, up to and including the next, but for what is in `unread`."""

    transfers: list[Transfer]
    cursor: Cursor
    time: int  # unix seconds of the block at `cursor`: all chain time up to it has been read
    rows_read: int  # log rows the endpoint answered with, before any filtering
    unread: tuple[UnreadableLog, ...] = ()  # whoever stores the cursor remembers these, and reads them again


class PageAhead(NamedTuple):
    """A page that may be asked for beside the next head: an earlier answer has shown the block it goes up to."""

    rail: Rail
    targets: Targets
    after: Cursor
    head: Head
    reread_s: int


@dataclass(frozen=True, slots=True)
class Fork:
    """The block a scan wanted to build on is no longer canonical."""

    at: Cursor  # the cursor that was found orphaned


class VerificationOutcome(StrEnum):
    """What verifying a transfer found."""

    CREDITED = "credited"  # canonical, successful, and the token itself credited the full amount
    SHORT = "short"  # the token credited less than the event claims
    NO_TRANSFER_LOG = "no_transfer_log"  # the token credited nothing
    REVERTED = "reverted"
    GONE = "gone"  # the chain no longer holds it in that block
    NOT_YET = "not_yet"  # the chain cannot tell yet: nothing changes, it is verified again later


class TransferProof(NamedTuple):
    """What shows by hashes alone that a token moved: the block's header, the receipt, and its way in their tree."""

    block_number: int
    block_hash: str
    header: bytes
    transaction_index: int
    receipt: bytes
    nodes: tuple[bytes, ...]  # from the root down
    log_position: int  # of the token's log, in the receipt


class ReceivingTransaction(NamedTuple):
    """Which transaction credited a transfer, where that is another one than the transfer's own (TON)."""

    account: str
    lt: int
    hash: str | None  # None: the endpoint names none that can be read


@dataclass(frozen=True, slots=True)
class Verification:
    """One transfer, verified on the canonical chain."""

    transfer: Transfer  # with `block_time` and `sender` filled in, unless it is gone
    outcome: VerificationOutcome
    credited: int  # base units the destination really received
    why: str | None = None  # for NOT_YET: what could not be read or judged
    event_reference: str | None = None  # of the proxy event whose token movement this plain transfer is
    log_position: int | None = None  # of the token's log in its receipt; None where no one log shows it
    proof: TransferProof | None = None  # where the chain asks for one
    received: ReceivingTransaction | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RescanResult:
    """What reading a period once more found, from another source than the running scan."""

    transfers: list[Transfer]
    unread: Mapping[str, str]  # destination: why it could not be read
    unread_logs: tuple[UnreadableLog, ...] = ()
    read_to: int | None = None  # unix seconds: up to when all destinations were read, where reading broke off


@dataclass(frozen=True, slots=True)
class TokenMeta:
    """What a token contract says of itself. Labels, not identity: only the address identifies a token."""

    symbol: str | None  # None: nothing readable
    decimals: int | None


class BalanceKey(NamedTuple):
    """Whose balance of what: canonical addresses; `token` None is the chain's own coin."""

    holder: str
    token: str | None


class TokenReceipt(NamedTuple):
    """One `Transfer` of a token to an address, as the token itself reports it."""

    token: str
    destination: str
    sender: str
    amount: int
    tx_hash: str
    block_number: int


@dataclass(frozen=True, slots=True)
class Balances:
    """Balances at one position, in base units, in the order asked; None where one could not be read."""

    position: int
    time: int  # unix seconds
    amounts: list[int | None]


@dataclass(frozen=True, slots=True)
class Checkout:
    """What a wallet needs to pay one intent."""

    payment_uri: str | None  # None where no plain URI can express the payment
    calldata: str | None  # 0x hex of the proxy call; None off the proxy rail


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """The most one endpoint accepts in one question, as learnt from its refusals; None: nothing was refused."""

    batch: int | None = None  # calls
    blocks: int | None = None
    topics: int | None = None  # values in one position
    addresses: int | None = None
    owners: int | None = None
    addressless_logs: bool | None = None  # whether it serves logs without `address`
    block_receipts: bool | None = None  # whether it serves all receipts of a block at once


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """What is known of one endpoint, for people."""

    label: str  # without secrets
    state: EndpointState = EndpointState.OK
    head: int | None = None
    head_time: int | None = None  # unix seconds
    latency_ms: int | None = None
    last_error: str | None = None
    skew_s: float | None = None  # positive: this host's clock is ahead; None: not known
    limits: EndpointLimits = EndpointLimits()


@dataclass(frozen=True, slots=True)
class SocketReport:
    """What is known of one socket for new heads, for people."""

    label: str  # without secrets
    state: SocketState = SocketState.CONNECTING
    head: int | None = None  # the newest block it announced
    last_error: str | None = None


class SocketEvent(StrEnum):
    """What is counted of sockets."""

    HEAD = "head"  # it announced a block
    WAKE = "wake"  # a poll began for it
    FAILURE = "failure"  # it was given up for a while


class RailWarning(NamedTuple):
    """Something that cannot be seen on a rail with the endpoints there are."""

    rail: Rail
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Condition:
    """How up to date and how trustworthy what a chain tells us is."""

    stale: bool = False  # no endpoint knows a block that is new enough
    unproven: bool = False  # stale by the host's clock alone, which may be what is wrong: seen for too short a time
    newest_position: int | None = None  # of the newest block any endpoint knows, final or not
    newest_time: int | None = None  # unix seconds of that block
    lag_s: int | None = None  # from that block to now, corrected for skew, less one usual interval
    skew_s: float | None = None  # positive: this host's clock is ahead; None: not known
    problems: tuple[str, ...] = ()  # sentences an operator can act on
    endpoints: tuple[EndpointReport, ...] = ()
    warnings: tuple[RailWarning, ...] = ()
    sockets: tuple[SocketReport, ...] = ()
