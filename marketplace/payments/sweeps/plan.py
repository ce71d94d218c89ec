"""Which transaction stands for what: one number of an address for one purpose, so that nothing is sent twice. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from marketplace.store.sweeps import Source, SweepTransfer


class Skipped(StrEnum):
    """Why something is left out of a file."""

    SENT = "sent_already"  # the number of its transaction was used on chain
    NOT_OURS = "not_our_address"  # the configured key or list gives another address for this index
    SHORT = "too_little_there"
    FAILS = "would_fail"
    NOTHING = "nothing_releasable"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressState:
    """What a node says of an address."""

    nonce: int  # of the next transaction
    tokens: int
    coins: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTransfer:
    """One transfer that a file will hold."""

    source: Source
    to: str
    amount: int
    nonce: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """What a file will hold, what it leaves out, and which transactions made before are no longer wanted."""

    transfers: Sequence[PlannedTransfer]
    skipped: Sequence[tuple[Source, Skipped]]
    gone: Sequence[tuple[str, int]]


def plan(
    wanted: Sequence[tuple[Source, str, int]],
    states: Mapping[str, AddressState],
    made: Sequence[SweepTransfer],
) -> SweepPlan:
    """
    Give each of (what, to whom, how much) a number of its address.

    What has a transaction already keeps its number: signed twice it is sent once. What is not wanted any more, and
    was not sent, gives its number to what is: of the two only one can be sent.
    """
    by_address: Mapping[str, list[SweepTransfer]] = defaultdict(list)
    for each in made:
        by_address[each.from_address].append(each)
    transfers: list[PlannedTransfer] = []
    skipped: list[tuple[Source, Skipped]] = []
    gone: list[tuple[str, int]] = []
    grouped: Mapping[str, list[tuple[Source, str, int]]] = defaultdict(list)
    for each_wanted in wanted:
        grouped[each_wanted[0].address].append(each_wanted)
    for address, mine in grouped.items():
        state, before = states[address], by_address.get(address, [])
        sent = {each.subject for each in before if each.nonce < state.nonce}
        subjects = {source.subject for source, _, _ in mine}
        waiting = {each.subject: each.nonce for each in before if each.nonce >= state.nonce}
        kept = {subject: nonce for subject, nonce in waiting.items() if subject in subjects}
        gone += [(address, nonce) for nonce in waiting.values()]
        left = state.tokens
        for source, to, amount in mine:
            if source.subject in sent:
                skipped.append((source, Skipped.SENT))
            elif amount > left:
                skipped.append((source, Skipped.SHORT))
            else:
                nonce = kept.get(source.subject)
                if nonce is None:
                    nonce = _free(state.nonce, set(kept.values()))
                    kept[source.subject] = nonce
                left -= amount
                transfers.append(PlannedTransfer(source=source, to=to, amount=amount, nonce=nonce))
    return SweepPlan(transfers=transfers, skipped=skipped, gone=gone)


def _free(first: int, held: set[int]) -> int:
    nonce = first
    while nonce in held:
        nonce += 1
    return nonce
