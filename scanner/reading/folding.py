"""
What can never count is added up instead of stored one by one: pure decisions, no I/O.

Whoever knows an address can write thousands of worthless logs about it in one transaction, for less than a
cent. Of one intent they become a row a reason and transaction; of nobody, a row a token, destination and day.
Two tokens are never one sum, which would be a number of nothing: an amount is of the token of its row.
Which transfers a row stands for is remembered in a few characters each, so that whatever is read again, whole
or in part, is not added again.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import NamedTuple

from chains.types import Rail, Transfer
from scanner.model import WORTHLESS, Reason, StoredTransfer

MARK = "~"  # after the key of the first of nobody's, so that the row is never mistaken for that transfer itself
_DIGITS = 12  # of a member: of ten thousand in one transaction two are the same once in five million times


class Judged(NamedTuple):
    """A transfer, or several as one, with whom it concerns and why it does not count."""

    transfer: Transfer  # of several the first, with the sum of its token
    intent_id: str | None
    reason: Reason | None
    times: int = 1
    members: str | None = None  # of several


class Group(NamedTuple):
    """Several transfers of one transaction and kind."""

    first: Transfer
    times: int
    amount: int  # of the first one's token
    keys: Collection[str]  # of the transfers

    @property
    def members(self) -> frozenset[str]:
        """What they are remembered by."""
        return frozenset(map(member, self.keys))


class Known(NamedTuple):
    """A row of several that stands where it stood."""

    id: int
    event_key: str
    log_index: int | None
    times: int
    amount: int
    members: str | None
    token: str

    @property
    def set(self) -> frozenset[str]:
        """Which transfers it stands for."""
        return unpack(self.members, self.event_key)


class Grown(NamedTuple):
    """A row that stands for more than before."""

    id: int
    first: Transfer | None  # where what was the first is not the first any more
    times: int
    amount: int
    members: str


_as_group = functools.partial(tuple.__new__, Group)


def member(event_key: str) -> str:
    """Return the few characters a transfer is remembered by, within its transaction."""
    return hashlib.blake2b(event_key.encode(), digest_size=_DIGITS // 2).hexdigest()


def pack(members: Iterable[str]) -> str:
    """Return members as they are stored."""
    return "".join(sorted(members))


def unpack(members: str | None, event_key: str) -> frozenset[str]:
    """Return the members of a row; one that stands for a single transfer does not name it twice."""
    if members is None:
        return frozenset([member(event_key)])
    return frozenset(members[start : start + _DIGITS] for start in range(0, len(members), _DIGITS))


def order(transfer: Transfer | Known) -> tuple[int, str]:
    """Return where a transfer stands among those of its transaction."""
    return (transfer.log_index or 0, transfer.event_key)


def group_of(transfers: Iterable[Transfer]) -> Group | None:
    """Add up transfers of one transaction, of which some may be given twice; None when there is none."""
    given = list(transfers)
    if len(given) == 1:  # as most are: a page of a hundred thousand has no time for more
        (only,) = given
        return Group(only, 1, only.amount, (only.event_key,))
    by_key = {transfer.event_key: transfer for transfer in given}
    if not by_key:
        return None
    first = min(by_key.values(), key=order)
    amount = sum(transfer.amount for transfer in by_key.values() if transfer.token == first.token)
    return Group(first, len(by_key), amount, by_key.keys())


Place = tuple[str, str, str]  # transaction, intent, reason


class Folded(NamedTuple):
    """What becomes of a page's transfers of intents."""

    rows: list[Judged]  # new
    grown: dict[Place, Grown]
    fresh: dict[tuple[str, str], int]  # what there is to tell: how many transfers, by transaction and event key


def fold_owned(judged: Iterable[Judged], known: Mapping[Place, Known]) -> Folded:
    """Fold worthless transfers of intents by (intent, reason, transaction); `known` is what is stored of them."""
    folded = Folded([], {}, {})
    groups: dict[Place, list[Transfer]] = {}
    inline: list[Judged | Place] = []  # in the order seen
    for each in judged:
        if each.intent_id is None or each.reason not in WORTHLESS:
            inline.append(each)
            folded.fresh[each.transfer.tx_hash, each.transfer.event_key] = 1
            continue
        place = (each.transfer.tx_hash, each.intent_id, each.reason)
        if place not in groups:
            inline.append(place)
        groups.setdefault(place, []).append(each.transfer)
    for item in inline:
        if isinstance(item, Judged):
            folded.rows.append(item)
        else:
            _fold(item, groups[item], known.get(item), folded)
    return folded


def _fold(place: Place, transfers: list[Transfer], known: Known | None, folded: Folded) -> None:
    before = frozenset() if known is None else known.set
    unknown = [transfer for transfer in transfers if member(transfer.event_key) not in before]
    new = group_of(unknown)
    if new is None:
        return
    first = new.first.event_key
    if known is None:
        members = None if new.times == 1 else pack(new.members)
        row = new.first._replace(amount=new.amount)
        folded.rows.append(Judged(row, place[1], Reason(place[2]), new.times, members))
    else:
        # Its token stays what it is: the sum is of that one alone.
        alike = group_of(transfer for transfer in unknown if transfer.token == known.token)
        leader = alike.first if alike is not None and order(alike.first) < order(known) else None
        folded.grown[place] = Grown(
            known.id,
            leader,
            known.times + new.times,
            known.amount + (0 if alike is None else alike.amount),
            pack(before | new.members),
        )
        first = known.event_key if leader is None else leader.event_key
    folded.fresh[place[0], first] = new.times


# --- of nobody's -----------------------------------------------------------------------------------------------

StrayKey = tuple[str, str]  # transaction, kind

_DAY_S = 86_400
_RAILS = {rail.value: rail for rail in Rail}
_REASONS = {reason.value: reason for reason in Reason}


# A page holds ten thousands of transfers and few kinds: what is worked out once is not worked out for each.
@functools.lru_cache(maxsize=4096)
def _kind(token: str, destination: str, rail: Rail) -> str:
    return f"{Reason.UNKNOWN_REFERENCE}/{token}/{destination}/{rail}"


def kind_of(transfer: Transfer) -> str:
    """
    Return what a transfer of nobody's has in common with others, whenever they came.

    The rail is part of it: each is read by itself, and takes back by itself what left the chain.
    """
    return _kind(transfer.token, transfer.destination, Rail.DIRECT if transfer.reference is None else Rail.PROXY)


@functools.lru_cache(maxsize=4096)
def rail_of(kind: str) -> Rail:
    """Return the rail on which a kind is read."""
    return _RAILS[kind.rpartition("/")[2]]


def plain_kind(kind: str) -> str:
    """Return the kind of plain transfers of the same token to the same destination."""
    return f"{kind.rpartition('/')[0]}/{Rail.DIRECT}"


class Paid(NamedTuple):
    """What payments through the proxy moved in one transaction, of one token and to one destination."""

    amount: int
    times: int = 1


def moved_behind(
    plain: Iterable[Transfer], paid: Sequence[Paid], *, listed: frozenset[str], new: bool
) -> list[Transfer]:
    """
    Return which plain transfers are the token's side of payments through the proxy, all of one transaction and kind.

    One of just the amount of a payment is that payment. A token that keeps a fee moves less: what is left is behind
    what is left of the payments if it is no more. What is `listed` already stays, unless a payment is `new`: another
    reading may show a part of the transaction alone.
    """
    single = Counter(each.amount for each in paid if each.times == 1)
    behind: list[Transfer] = []
    rest: list[Transfer] = []
    given = {transfer.event_key: transfer for transfer in plain}.values()
    # Of several alike the one that is listed stays: another one at each reading would be told each time.
    for transfer in sorted(given, key=lambda each: (member(each.event_key) in listed, order(each))):
        is_one = single[transfer.amount] > 0
        single[transfer.amount] -= is_one
        (behind if is_one else rest).append(transfer)
    left = sum(single.elements()) + sum(each.amount for each in paid if each.times > 1)
    rest = rest if new else [transfer for transfer in rest if member(transfer.event_key) not in listed]
    return [*behind, *rest] if sum(transfer.amount for transfer in rest) <= left else behind


def fold_of(kind: str, transfer: Transfer, now: int) -> str:
    """
    Return the row a transfer of nobody's is added to: of its kind, and of the day of its block time in UTC.

    Where a scan has not read the block itself, `now` (unix ms) stands for its time.
    """
    moment = now // 1000 if transfer.block_time is None else transfer.block_time
    return _row_of_day(kind, moment // _DAY_S)


@functools.lru_cache(maxsize=4096)
def _row_of_day(kind: str, day: int) -> str:
    return f"{kind}/{datetime.fromtimestamp(day * _DAY_S, UTC).date().isoformat()}"


@functools.lru_cache(maxsize=4096)
def kind_of_fold(fold: str) -> str:
    """Return the kind: a transaction read again near midnight is still the same."""
    return fold.rpartition("/")[0]


def reason_of(kind: str) -> Reason:
    """Return the reason a kind or a fold begins with."""
    return _REASONS[kind.partition("/")[0]]


def by_stray_key(strays: Iterable[Transfer]) -> dict[StrayKey, list[Transfer]]:
    """Group transfers of nobody's by transaction and kind."""
    groups: dict[StrayKey, list[Transfer]] = {}
    for transfer in strays:
        groups.setdefault((transfer.tx_hash, kind_of(transfer)), []).append(transfer)
    return groups


def grouped(strays: Sequence[Transfer]) -> dict[StrayKey, Group]:
    """Add up transfers of nobody's by transaction and kind."""
    if not strays:
        return {}
    # Most transactions bring one: a page of ten thousands is worked through without a Python frame for each.
    columns = dict(zip(Transfer._fields, zip(*strays, strict=True), strict=True))
    rails = [Rail.DIRECT if reference is None else Rail.PROXY for reference in columns["reference"]]
    keys = zip(columns["tx_hash"], map(_kind, columns["token"], columns["destination"], rails), strict=True)
    singles = zip(strays, repeat(1), columns["amount"], zip(columns["event_key"], strict=True), strict=False)
    groups = dict(zip(keys, map(_as_group, singles), strict=True))
    if len(groups) == len(strays):
        return groups
    found = {key: group_of(transfers) for key, transfers in by_stray_key(strays).items()}
    return {key: group for key, group in found.items() if group is not None}


def first_key(stored: StoredTransfer) -> str:
    """Return the event key of the first transfer a row stands for."""
    return stored.event_key if stored.fold is None else stored.event_key.removesuffix(MARK)
