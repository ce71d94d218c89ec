"""Whether everything that settles nothing is shown: each unit once, for a reason that holds, in both services."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.facts import ChainTransfer, UnmatchedRow
from tests.chaos.judge import expected_state, of_coin, unexplained_rows
from tests.chaos.market_expected import ExpectedSettlement, ends, order_of
from tests.chaos.market_facts import MarketOutcome, MessageCount, OpenedPayment, RecoveryRow

# Why money is listed: what a reason may be said of.
OF_THE_END = frozenset({"cancelled", "late", "late_payment", "partial_payment"})
BEYOND = frozenset({"duplicate", "duplicate_payment"})
OTHER_TOKEN = frozenset({"wrong_token", "wrong_asset"})
LISTED = frozenset({"aml_sanctions"})
NOTHING = frozenset({"zero_amount"})
OF_COIN = "wrong_asset"
EACH = 20  # transfers, rows or events of one payment and reason; what comes beyond is added up
RESTS = 2  # rows that stand for all beyond: of the right token, and of the other one
Due = dict[
    frozenset[str], dict[tuple[str, int], list[ChainTransfer]]
]  # by the reasons that hold, transaction and amount


class Listing:
    """Compares money that settles nothing with what waits for a person at the marketplace."""

    def __init__(self, outcome: MarketOutcome, settlements: Mapping[str, ExpectedSettlement]) -> None:
        self.doubled: list[str] = []
        self.invented: list[str] = []
        self.unexplained: list[str] = [*_coins(outcome)]
        rows: dict[str, list[RecoveryRow]] = defaultdict(list)
        canonical = {transfer.tx for transfer in outcome.transfers}
        for row in outcome.recoveries:
            # What left the chain may be listed: it was there when it was seen, and a person looks it up.
            gone = row.tx is not None and row.tx in outcome.sent and row.tx not in canonical
            if not gone and not _of_coin(row):
                rows[row.payment_id].append(row)
        for opened in outcome.opened:
            self._compare(opened, settlements[opened.payment_id], rows.pop(opened.payment_id, []))
        self.unexplained += [f"{row} is about no payment" for left in rows.values() for row in left]

    def _compare(self, opened: OpenedPayment, settlement: ExpectedSettlement, rows: Sequence[RecoveryRow]) -> None:
        due = _due(settlement)
        left = self._take_named(opened, due, rows)
        credited = {m.tx for m in settlement.counted}
        if not opened.is_balance:
            for row in left:
                if row.tx in credited and row.reason not in LISTED:
                    self.invented.append(f"{row} is to be given back, and was credited ({opened.kind})")
            left = [row for row in left if row.tx not in credited or row.reason in LISTED]
        for reasons in {*due, *(_class_of(row.reason) for row in left)}:
            mine = [row for row in left if row.reason in reasons]
            self._add_up(opened, [m for found in due.get(reasons, {}).values() for m in found], mine)

    def _take_named(self, opened: OpenedPayment, due: Due, rows: Sequence[RecoveryRow]) -> list[RecoveryRow]:
        """Take off what a row of its own names; return the rows that name nothing alone."""
        known = {key for found in due.values() for key in found}
        left = []
        for row in rows:
            key = (row.tx or "", row.amount or 0)
            if row.count > 1 or key not in known:
                left.append(row)
                continue
            reasons, found = next(((r, f[key]) for r, f in due.items() if f.get(key)), (frozenset(), []))
            if not found:
                self.doubled.append(f"{row} is listed once more than it came ({opened.kind})")
                continue
            transfer = found.pop()
            if row.reason not in reasons:
                self.unexplained.append(f"{row} ({opened.kind}): the chain says another reason")
            if row.token not in {None, transfer.token}:
                self.unexplained.append(f"{row} ({opened.kind}): it was {transfer.token} that moved")
        return left

    def _add_up(self, opened: OpenedPayment, unnamed: Sequence[ChainTransfer], rows: Sequence[RecoveryRow]) -> None:
        """Compare what stands in no row of its own with the other rows: the sums, and of dust how many they were."""
        wanted = len(unnamed), sum(m.amount for m in unnamed)
        given = sum(row.count for row in rows), sum(row.amount or 0 for row in rows)
        named = not opened.is_balance and all(row.tx is not None for row in rows)  # else it is a sum: nobody counts it
        exactly = named and (any(row.count > 1 for row in rows) or bool(_several(unnamed)))
        if wanted[1] != given[1] or (exactly and wanted != given):
            where = f"{opened.payment_id} ({opened.kind}, {opened.rail})"
            lies, listed = (f"{count} transfers of {amount}" for count, amount in (wanted, given))
            self.unexplained.append(f"{where}: {lies} more lie there for nobody, {listed} are listed: {list(rows)}")


def _due(settlement: ExpectedSettlement) -> Due:
    """Return what has to be listed."""
    settled = settlement.received is not None
    found: Due = {}
    for reasons, transfers in (
        (BEYOND if settled else OF_THE_END, settlement.rest),
        (LISTED, settlement.aside),
        (NOTHING, settlement.nothing),
        (OTHER_TOKEN, settlement.foreign),
    ):
        for transfer in transfers:
            found.setdefault(reasons, {}).setdefault((transfer.tx, transfer.amount), []).append(transfer)
    return found


def _class_of(reason: str) -> frozenset[str]:
    known = (OF_THE_END, BEYOND, OTHER_TOKEN, LISTED, NOTHING)
    return next((reasons for reasons in known if reason in reasons), frozenset({reason}))


def _several(transfers: Sequence[ChainTransfer]) -> set[str]:
    """Return the transactions that moved several times."""
    return {tx for tx, times in Counter(m.tx for m in transfers).items() if times > 1}


def _of_coin(row: RecoveryRow) -> bool:
    """Say whether a row tells of coin: known from a balance alone, it has no transaction."""
    return row.reason == OF_COIN and row.tx is None


def _coins(outcome: MarketOutcome) -> Iterator[str]:
    """Compare coin that is listed with what came; whoever pays out of an address gives it coin first."""
    for opened in outcome.opened:
        if opened.destination in outcome.gassed or opened.is_balance:
            continue
        listed = sum(r.amount or 0 for r in outcome.recoveries if _of_coin(r) and r.payment_id == opened.payment_id)
        sent = 0 if opened.reference else sum(c.amount for c in outcome.coins if c.destination == opened.destination)
        if listed != sent:
            yield f"{opened.payment_id} ({opened.kind}): {listed} coin of {sent} is listed"


def not_listed(outcome: MarketOutcome) -> Iterator[str]:
    """Compare the transfers the scanner lists as unmatched with what the chain shows, of intents and of none."""
    intents = {each.payment_id: each for each in outcome.opened if not each.is_balance}
    ours = {each.destination for each in intents.values()}
    silent = {payment_id for payment_id, each in intents.items() if ends(each)}
    transfers = [m for m in outcome.transfers if m.destination in ours]
    rows_by_key = expected_state([order_of(each) for each in intents.values()], transfers).rows_by_key
    expected = {key: total for key, total in rows_by_key.items() if key.intent_id not in silent}
    rows = [row for row in outcome.unmatched if not of_coin(row) and row.intent_id not in silent]
    yield from unexplained_rows(expected, rows, {m.tx for m in transfers})


def unbounded(outcome: MarketOutcome) -> Iterator[str]:
    """Find messages and rows that a stranger can multiply: reported once and then hourly, twenty rows and what is left in one."""
    yield from _too_often(outcome.notices, 1 + outcome.hours)
    yield from _too_often(outcome.events, EACH + outcome.hours)
    recoveries = Counter((row.payment_id, row.reason) for row in outcome.recoveries)
    unmatched = Counter((row.intent_id, row.reason) for row in outcome.unmatched if row.intent_id is not None)
    for service, found, most in (("marketplace", recoveries, EACH + RESTS), ("scanner", unmatched, EACH + 1)):
        for (about, reason), rows in found.items():
            if rows > most:
                yield f"the {service} has {rows} rows of {reason} about {about}"


def _too_often(counts: Sequence[MessageCount], most: int) -> Iterator[str]:
    for counted in counts:
        if counted.times > most:
            yield f"{counted.who} received {counted.what} about {counted.about} {counted.times} times, at most {most} are allowed"


def rows_of(found: Sequence[Mapping[str, object]]) -> tuple[UnmatchedRow, ...]:
    """Read `GET /unmatched` of the scanner."""
    return tuple(UnmatchedRow.of(dict(row), str.lower) for row in found)
