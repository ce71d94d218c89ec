"""
Ways to break the scanner on purpose, in the process of a simulation alone: how many seeds pass before one notices?

Each rewrites a few lines of a function as they stand in the source, and fails loudly where they stand there no more.
"""

from __future__ import annotations
import __future__

import inspect
import sqlite3
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chains.evm.logs.reader as log_reader
from chains.evm import scan
from chains.evm.logs import log_decoder
from chains.evm.proofs import encoding, proven_receipts
from chains.evm.verification import decisions, endpoint_verifier, verifier
from chains.rpc import jsonrpc
from kernel.store import leases, lock
from scanner import balance_watcher, confirmer, ingest, lifecycle, matching, settlement, worker
from scanner.reading import rail_reader
from scanner.upkeep import summaries
from tests import harness
from webhooks import dispatcher, http_sender


def rewrite(owner: Any, name: str, *changes: tuple[str, str]) -> None:
    """Replace text in a function, and the function wherever it was imported."""
    before = inspect.unwrap(getattr(owner, name))
    source = textwrap.dedent(inspect.getsource(before))
    for old, new in changes:
        if old not in source:
            raise LookupError(f"{name} does not say {old!r} any more: the sabotage has to follow the code")
        source = source.replace(old, new)
    known = before.__globals__
    made: dict[str, Any] = {}
    flags = __future__.annotations.compiler_flag
    exec(compile(source, f"<sabotaged {name}>", "exec", flags=flags), known, made)  # noqa: S102 - that is what it is for
    setattr(owner, name, made[name])
    for module in list(sys.modules.values()):
        for place, value in list(getattr(module, "__dict__", {}).items()):
            if value is before:
                setattr(module, place, made[name])


def expiry_by_wall_clock() -> None:
    rewrite(worker.ChainWorker, "_read_to", ("rail: held.time for", "rail: self._clock.wall_ms() // 1000 for"))


def identity_by_log_index() -> None:
    line = "first = dict(zip("
    numbered = "transfers = [t._replace(event_key=str(t.log_index)) for t in transfers]\n    "
    rewrite(log_decoder.LogDecoder, "_keep", (line, numbered + line))


def settled_row_moves() -> None:
    """Neither code nor store keep a settled transfer with its intent."""
    rewrite(ingest, "_judge", ("settles = known.settled.get(key)", "settles = None"))
    whole = harness.empty_store()

    def unguarded() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "store"
            path.write_bytes(whole)
            store = sqlite3.connect(path)
            for (trigger,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                if "settled" in trigger:
                    store.execute(f"DROP TRIGGER {trigger}")
            store.commit()
            store.close()
            return path.read_bytes()

    bare = unguarded()
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get("empty_store") is harness.empty_store and module is not harness:
            module.empty_store = lambda: bare  # type: ignore[attr-defined]


def rewind_to_a_page_end() -> None:
    """Whatever lies above the last known block is taken for gone."""
    old = "newest_first if nearest is None else newest_first[: newest_first.index(nearest)]"
    rewrite(rail_reader.RailReader, "_unwind", (old, "newest_first"))


def head_and_blocks_of_different_nodes() -> None:
    rewrite(
        decisions,
        "why_unfit",
        ("if not isinstance(block, Block):", "if False:"),
        ("if head.block_hash is not None and block.hash != head.block_hash:", "if False:"),
    )


def _nobody_is_left_alone() -> None:
    """Who lacks the block up to which is read is asked about everything else all the same."""
    rewrite(log_reader.LogReader, "_attempt", ("raise not_held(last)", "raise Behind('it is behind', time=None)"))


def and_who_lacks_the_head_is_not_left_alone() -> None:
    head_and_blocks_of_different_nodes()
    _nobody_is_left_alone()


def checkpoint_in_its_own_transaction() -> None:
    """It is moved first, and what lies below it is written afterwards."""
    old = "recorded = await self._record(tx, found, now, head)\n                    await self.unread.remember(tx, page.unread)\n                    await self._move("
    rewrite(
        rail_reader.RailReader,
        "_store",
        (old, "await self._move("),
        (
            "self.arrive(page, recorded)",
            (
                "async with self._db.write() as tx:\n"
                "        recorded = await self._record(tx, page.transfers, self._clock.now_ms(), head)\n"
                "        await self.unread.remember(tx, page.unread)\n"
                "    self.arrive(page, recorded)"
            ),
        ),
    )


def event_in_its_own_transaction() -> None:
    """An intent is confirmed, and its event is queued afterwards."""
    settlement.LATER = []  # type: ignore[attr-defined]
    rewrite(settlement, "settle", ("await outbox.add(tx, queue)", "LATER.extend(queue)"))
    confirmer.settlement = settlement  # type: ignore[attr-defined]
    rewrite(
        confirmer.Confirmer,
        "_apply",
        (
            "return recorded",
            (
                "later, settlement.LATER = settlement.LATER, []\n"
                "    async with self._db.write() as tx:\n"
                "        await settlement.outbox.add(tx, later)\n"
                "    return recorded"
            ),
        ),
    )


def outcome_twice() -> None:
    line = "await outbox.record(tx, records)"
    rewrite(dispatcher.WebhookDispatcher, "_record_once", (line, f"{line}; {line}"))


def finality_of_another_endpoint() -> None:
    rewrite(
        endpoint_verifier.EndpointVerifier,
        "_judged",
        ("limit = min(final.number, head.position) if isinstance(final, Block) else None", "limit = None"),
    )


# Our own.


def receipts_are_believed() -> None:
    """Whatever receipts are shown are taken for the block's."""
    rewrite(
        proven_receipts,
        "read_proven",
        ('if "0x" + tree.root.hex() != hash_text(raw.get("receiptsRoot")):', "if False:"),
    )


def headers_are_believed() -> None:
    """Whatever header is shown is taken for the block's."""
    rewrite(encoding, "encoded_header", ('if "0x" + keccak(header).hex() != block_hash:', "if False:"))


def withheld_logs_are_not_looked_for() -> None:
    rewrite(
        scan.PageScanner,
        "_compared",
        ("if self._withheld is not None and isinstance(page, ScanPage) and not log_filter.named:", "if False:"),
    )


def nothing_is_proven() -> None:
    rewrite(verifier.Verifier, "_group", ("return found if self._prover is None else", "return found if True else"))


def nothing_is_read_again() -> None:
    rewrite(rail_reader.RailReader, "_read_to_the_goal", ("reread_s=REREAD_S", "reread_s=0"))
    worker.REREAD_S = 0  # of what is asked for together with the head


def confirmed_unseen() -> None:
    """Whatever is deep is confirmed, whether it was looked at again or not."""
    seen = "if all(t.key in passed and t.verified for t in allocation.counted):"
    rewrite(settlement, "settle", (seen, "if allocation.counted:"))


def one_block_early() -> None:
    rewrite(
        lifecycle,
        "horizon",
        ("return Horizon(head.position, ANYTHING)", "return Horizon(head.position + 1, ANYTHING)"),
        ("return Horizon(head.position, final)", "return Horizon(head.position + 1, final)"),
    )


def no_grace() -> None:
    rewrite(matching, "is_late", ("intent.expires_at + GRACE_MS", "intent.expires_at"))


def cancelled_is_confirmed() -> None:
    rewrite(matching, "_ended_reason", ("intent.cancelled_at is not None", "False"))
    rewrite(lifecycle, "next_status", ("if intent.cancelled_at is not None:", "if False:"))


def no_answer_is_an_acknowledgement() -> None:
    rewrite(http_sender.HttpSender, "send", ("ok=error is None", "ok=error is None or status is None"))


def forks_are_not_noticed() -> None:
    rewrite(
        log_reader.LogReader,
        "_attempt",
        ("if below is not None and is_reorganised(below, request.after):", "if False:"),
    )


def a_second_payment_counts() -> None:
    rewrite(
        matching,
        "allocate",
        ("if completing_transfer is not None:", "if False:"),
        ("if received >= amount:", "if completing_transfer is None and received >= amount:"),
    )


def no_look_back() -> None:
    """What was paid before the scan knew of an order is not looked for."""
    rewrite(rail_reader.RailReader, "_catch_up", ("if new:", "if False:"))


def batches_are_never_smaller() -> None:
    """An endpoint that takes fewer calls at once is taken for one that does not serve."""
    fewer = "sizer.refused(len(part), exc.fewer(len(part)), unsure=exc.unsure)"
    rewrite(jsonrpc.JsonRpc, "call_batch", (fewer, "raise exc.why"))


def everything_is_told() -> None:
    """Of what a stranger may repeat without end each is told by itself."""
    rewrite(summaries, "choose", ("if after.told < most_each(told.reason):", "if True:"))


def balances_of_the_newest_block() -> None:
    rewrite(balance_watcher.BalanceWatcher, "_read", ("confirmed=True", "confirmed=False"))


def an_older_balance_is_news() -> None:
    old = "watch.last_position is not None and found.position < watch.last_position"
    rewrite(balance_watcher, "_is_old", (old, "False"))


def a_second_scanner_starts() -> None:
    rewrite(lock, "_take", ("fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass"))


def no_fence() -> None:
    """Of several scanners (`--chain cluster`): one that was stopped goes on as if it still led."""
    rewrite(leases.Leases, "fence", ("found.scalar_one_or_none() != term", "found is None"))


def every_scanner_leads() -> None:
    """Of several scanners: whoever looks takes what another one holds."""
    rewrite(leases.Leases, "_is_free", ("standing.leader(lease.name) is None", "True"))
    rewrite(leases.Leases, "take", ("and await self._is_alive(tx, holder)", "and False"))


def lanes_are_not_kept() -> None:
    """Of several scanners: what came of a delivery is written down by who holds its lane no more."""
    kept = "r.event.receiver in kept and kept[r.event.receiver] == r.event.lane"
    rewrite(dispatcher.WebhookDispatcher, "_record_once", (kept, "True"))


def an_hour_by_the_hosts_clock() -> None:
    """Of several scanners: each goes by its own host's clock."""
    rewrite(leases.Leases, "_follow", ("<= PROMPT_MS", "< 0"))


SABOTAGES: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        expiry_by_wall_clock,
        identity_by_log_index,
        settled_row_moves,
        rewind_to_a_page_end,
        head_and_blocks_of_different_nodes,
        and_who_lacks_the_head_is_not_left_alone,
        checkpoint_in_its_own_transaction,
        event_in_its_own_transaction,
        outcome_twice,
        finality_of_another_endpoint,
        receipts_are_believed,
        headers_are_believed,
        withheld_logs_are_not_looked_for,
        nothing_is_proven,
        nothing_is_read_again,
        confirmed_unseen,
        one_block_early,
        no_grace,
        cancelled_is_confirmed,
        no_answer_is_an_acknowledgement,
        forks_are_not_noticed,
        a_second_payment_counts,
        no_look_back,
        batches_are_never_smaller,
        everything_is_told,
        a_second_scanner_starts,
        balances_of_the_newest_block,
        an_older_balance_is_news,
        no_fence,
        every_scanner_leads,
        lanes_are_not_kept,
        an_hour_by_the_hosts_clock,
    )
}
