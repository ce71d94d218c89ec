"""Which transaction stands for what: one number of an address for one purpose, so that nothing is sent twice. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from marketplace.store.sweeps import Source, SweepTransfer


class Skipped(StrEnum):
    """Why something is left out of a file."""

    SENT = "sent_already"  # the number of its transaction was used on chain
    WAITS = "another_waits"  # a transaction for something else may still be sent from this address
    NOT_OURS = "not_our_address"  # the configured key or list gives another address for this index
    NOT_READY = "wallet_not_ready"  # on TON: not deployed, or of no known version
    SHORT = "too_little_there"
    FAILS = "would_fail"
    NOTHING = "nothing_releasable"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressState:
    """
    What a node says of an address.

    Attributes:
        nonce: the number of the next transaction.
        dead: transactions that were made for it and can be sent no more.
        more: what else a family needs.
    """

    nonce: int
    tokens: int
    coins: int
    is_ready: bool = True
    dead: frozenset[str] = frozenset()
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedTransaction:
    """A transaction that is given again as it is, as long as it may be sent."""

    tx_id: str
    raw: str
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTransfer:
    """One transfer that a file will hold; `fixed` is the transaction that was made for it before."""

    source: Source
    to: str
    amount: int
    nonce: int
    state: AddressState
    fixed: FixedTransaction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """What a file will hold, what it leaves out, and which transactions made before are no longer wanted."""

    transfers: Sequence[PlannedTransfer]
    skipped: Sequence[tuple[Source, Skipped]]
    gone: Sequence[tuple[str, int]]


Wanted = tuple[Source, str, int]


def plan(wanted: Sequence[Wanted], states: Mapping[str, AddressState], made: Sequence[SweepTransfer]) -> SweepPlan:
    """
    Give each of (what, to whom, how much) a number of its address.

    What has a transaction already keeps its number: signed twice it is sent once. What is not wanted any more, and
    was not sent, gives its number to what is: of the two only one can be sent. Where numbers guard nothing (Tron),
    the transaction itself is kept until it can be sent no more, and nothing else takes its place before.
    """
    before: Mapping[str, list[SweepTransfer]] = defaultdict(list)
    grouped: Mapping[str, list[Wanted]] = defaultdict(list)
    for each in made:
        before[each.from_address].append(each)
    for one in wanted:
        grouped[one[0].address].append(one)
    parts = [_of_address(mine, states[address], before.get(address, ())) for address, mine in grouped.items()]
    return SweepPlan(
        transfers=[each for part in parts for each in part.transfers],
        skipped=[each for part in parts for each in part.skipped],
        gone=[each for part in parts for each in part.gone],
    )


def _of_address(mine: Sequence[Wanted], state: AddressState, made: Sequence[SweepTransfer]) -> SweepPlan:
    transfers: list[PlannedTransfer] = []
    skipped: list[tuple[Source, Skipped]] = []
    waiting = [each for each in made if each.nonce >= state.nonce]
    sent = {each.subject for each in made if each.nonce < state.nonce}
    open_ = {each.subject: each for each in waiting if each.tx_id is not None and each.tx_id not in state.dead}
    subjects = {source.subject for source, _, _ in mine}
    kept = {each.subject: each.nonce for each in waiting if each.subject in subjects}
    left = state.tokens
    for source, to, amount in mine:
        why = _left_out(source.subject, amount, left, state, sent, open_)
        if why is not None:
            skipped.append((source, why))
            continue
        nonce = kept.setdefault(source.subject, _free(state.nonce, set(kept.values())))
        left -= amount
        fixed = _fixed(open_.get(source.subject))
        transfers.append(PlannedTransfer(source=source, to=to, amount=amount, nonce=nonce, state=state, fixed=fixed))
    written = {each.source.subject for each in transfers}
    # What may still be sent is remembered until it cannot.
    gone = [(each.from_address, each.nonce) for each in waiting if each.subject in written or each.subject not in open_]
    return SweepPlan(transfers=transfers, skipped=skipped, gone=gone)


def _left_out(
    subject: str,
    amount: int,
    left: int,
    state: AddressState,
    sent: set[str],
    open_: Mapping[str, SweepTransfer],
) -> Skipped | None:
    if subject in sent:
        return Skipped.SENT
    if not state.is_ready:
        return Skipped.NOT_READY
    if open_.keys() - {subject}:
        return Skipped.WAITS
    return Skipped.SHORT if amount > left else None


def _fixed(made: SweepTransfer | None) -> FixedTransaction | None:
    if made is None or made.tx_id is None or made.raw is None or made.expires_at is None:
        return None
    return FixedTransaction(tx_id=made.tx_id, raw=made.raw, expires_at=made.expires_at)


def _free(first: int, held: set[int]) -> int:
    nonce = first
    while nonce in held:
        nonce += 1
    return nonce
