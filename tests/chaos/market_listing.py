"""Whether everything that settles nothing is shown: each unit once, for a reason that holds, in both services."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.facts import Movement, Row
from tests.chaos.judge import of_coin, truth, unexplained_rows
from tests.chaos.market_facts import Bought, MarketOutcome, News, Recovery
from tests.chaos.market_truth import Owed, ends, order_of

# Why money is listed: what a reason may be said of.
OF_THE_END = frozenset({"cancelled", "late", "late_payment", "partial_payment"})
BEYOND = frozenset({"duplicate", "duplicate_payment"})
OTHER_TOKEN = frozenset({"wrong_token", "wrong_asset"})
LISTED = frozenset({"aml_sanctions"})
NOTHING = frozenset({"zero_amount"})
OF_COIN = "wrong_asset"
EACH = 20  # transfers, rows or events of one payment and reason; what comes beyond is added up
RESTS = 2  # rows that stand for all beyond: of the right token, and of the other one
Due = dict[frozenset[str], dict[tuple[str, int], list[Movement]]]  # by the reasons that hold, transaction and amount


class Listing:
    """Compares money that settles nothing with what waits for a person at the marketplace."""

    def __init__(self, outcome: MarketOutcome, truths: Mapping[str, Owed]) -> None:
        self.doubled: list[str] = []
        self.invented: list[str] = []
        self.unexplained: list[str] = [*_coins(outcome)]
        rows: dict[str, list[Recovery]] = defaultdict(list)
        canonical = {movement.tx for movement in outcome.movements}
        for row in outcome.recoveries:
            # What left the chain may be listed: it was there when it was seen, and a person looks it up.
            gone = row.tx is not None and row.tx in outcome.sent and row.tx not in canonical
            if not gone and not _of_coin(row):
                rows[row.payment_id].append(row)
        for bought in outcome.bought:
            self._compare(bought, truths[bought.payment_id], rows.pop(bought.payment_id, []))
        self.unexplained += [f"{row} is about no payment" for left in rows.values() for row in left]

    def _compare(self, bought: Bought, truth: Owed, rows: Sequence[Recovery]) -> None:
        due = _due(truth)
        left = self._take_named(bought, due, rows)
        credited = {m.tx for m in truth.counted}
        if not bought.is_balance:
            for row in left:
                if row.tx in credited and row.reason not in LISTED:
                    self.invented.append(f"{row} is to be given back, and was credited ({bought.kind})")
            left = [row for row in left if row.tx not in credited or row.reason in LISTED]
        for reasons in {*due, *(_class_of(row.reason) for row in left)}:
            mine = [row for row in left if row.reason in reasons]
            self._add_up(bought, [m for found in due.get(reasons, {}).values() for m in found], mine)

    def _take_named(self, bought: Bought, due: Due, rows: Sequence[Recovery]) -> list[Recovery]:
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
                self.doubled.append(f"{row} is listed once more than it came ({bought.kind})")
                continue
            movement = found.pop()
            if row.reason not in reasons:
                self.unexplained.append(f"{row} ({bought.kind}): the chain says another reason")
            if row.token not in {None, movement.token}:
                self.unexplained.append(f"{row} ({bought.kind}): it was {movement.token} that moved")
        return left

    def _add_up(self, bought: Bought, unnamed: Sequence[Movement], rows: Sequence[Recovery]) -> None:
        """Compare what stands in no row of its own with the other rows: the sums, and of crumbs how many they were."""
        wanted = len(unnamed), sum(m.amount for m in unnamed)
        given = sum(row.count for row in rows), sum(row.amount or 0 for row in rows)
        named = not bought.is_balance and all(row.tx is not None for row in rows)  # else it is a sum: nobody counts it
        exactly = named and (any(row.count > 1 for row in rows) or bool(_several(unnamed)))
        if wanted[1] != given[1] or (exactly and wanted != given):
            where = f"{bought.payment_id} ({bought.kind}, {bought.rail})"
            lies, listed = (f"{count} transfers of {amount}" for count, amount in (wanted, given))
            self.unexplained.append(f"{where}: {lies} more lie there for nobody, {listed} are listed: {list(rows)}")


def _due(truth: Owed) -> Due:
    """Return what has to be listed."""
    settled = truth.received is not None
    found: Due = {}
    for reasons, movements in (
        (BEYOND if settled else OF_THE_END, truth.rest),
        (LISTED, truth.aside),
        (NOTHING, truth.nothing),
        (OTHER_TOKEN, truth.foreign),
    ):
        for movement in movements:
            found.setdefault(reasons, {}).setdefault((movement.tx, movement.amount), []).append(movement)
    return found


def _class_of(reason: str) -> frozenset[str]:
    known = (OF_THE_END, BEYOND, OTHER_TOKEN, LISTED, NOTHING)
    return next((reasons for reasons in known if reason in reasons), frozenset({reason}))


def _several(movements: Sequence[Movement]) -> set[str]:
    """Return the transactions that moved several times."""
    return {tx for tx, times in Counter(m.tx for m in movements).items() if times > 1}


def _of_coin(row: Recovery) -> bool:
    """Say whether a row tells of coin: known from a balance alone, it has no transaction."""
    return row.reason == OF_COIN and row.tx is None


def _coins(outcome: MarketOutcome) -> Iterator[str]:
    """Compare coin that is listed with what came; whoever pays out of an address gives it coin first."""
    for bought in outcome.bought:
        if bought.destination in outcome.gassed or bought.is_balance:
            continue
        told = sum(r.amount or 0 for r in outcome.recoveries if _of_coin(r) and r.payment_id == bought.payment_id)
        sent = 0 if bought.reference else sum(c.amount for c in outcome.coins if c.destination == bought.destination)
        if told != sent:
            yield f"{bought.payment_id} ({bought.kind}): {told} coin of {sent} is listed"


def not_listed(outcome: MarketOutcome) -> Iterator[str]:
    """Compare what the scanner lists as settling nothing with what the chain shows, about intents and about nobody."""
    intents = {each.payment_id: each for each in outcome.bought if not each.is_balance}
    ours = {each.destination for each in intents.values()}
    silent = {payment_id for payment_id, each in intents.items() if ends(each)}
    movements = [m for m in outcome.movements if m.destination in ours]
    piles = truth([order_of(each) for each in intents.values()], movements).piles
    expected = {pile: heap for pile, heap in piles.items() if pile.intent_id not in silent}
    rows = [row for row in outcome.unmatched if not of_coin(row) and row.intent_id not in silent]
    yield from unexplained_rows(expected, rows, {m.tx for m in movements})


def unbounded(outcome: MarketOutcome) -> Iterator[str]:
    """Find what a stranger made too many of: told once and then hourly, twenty rows and what is left in one."""
    yield from _too_often(outcome.notices, 1 + outcome.hours)
    yield from _too_often(outcome.events, EACH + outcome.hours)
    recoveries = Counter((row.payment_id, row.reason) for row in outcome.recoveries)
    unmatched = Counter((row.intent_id, row.reason) for row in outcome.unmatched if row.intent_id is not None)
    for service, found, most in (("marketplace", recoveries, EACH + RESTS), ("scanner", unmatched, EACH + 1)):
        for (about, reason), rows in found.items():
            if rows > most:
                yield f"the {service} has {rows} rows of {reason} about {about}"


def _too_often(told: Sequence[News], most: int) -> Iterator[str]:
    for news in told:
        if news.times > most:
            yield f"{news.who} was told {news.what} about {news.about} {news.times} times, at most {most} are allowed"


def rows_of(found: Sequence[Mapping[str, object]]) -> tuple[Row, ...]:
    """Read `GET /unmatched` of the scanner."""
    return tuple(Row.of(dict(row), str.lower) for row in found)
