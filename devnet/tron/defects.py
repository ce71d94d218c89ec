"""What a TronGrid holds, and what may be wrong with it: the state its node, its JSON-RPC and its index answer from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from devnet.fault_server import FaultServer
from devnet.tron.ledger import TronLedger

Json = dict[str, Any]
MOST_BLOCKS = 5_000  # of one eth_getLogs


class TronDefects(FaultServer):
    """A ledger as one endpoint shows it. Its attributes are its lasting defects."""

    def __init__(self, ledger: TronLedger) -> None:
        super().__init__()
        self.ledger = ledger
        self.heal()

    def heal(self) -> None:
        """Behave from now on; what hangs is let go."""
        self.jsonrpc = True  # False: the route is not there
        self.most_blocks = MOST_BLOCKS
        self.batches = True  # False: a batch is answered with one error
        self.blind_below: int | None = None  # filtered logs of blocks below are silently missing (section bloom)
        self.behind = 0  # blocks the JSON-RPC node lags behind the rest
        self.logs_behind = 0  # blocks its index of logs lags behind its own tip, without a word
        self.unlogged: set[str] = set()  # transactions eth_getLogs never shows
        self.most_topics: int | None = None  # values of one position of eth_getLogs; more are refused
        self.most_logs: int | None = None  # rows of one eth_getLogs; more are refused
        self.most_calls: int | None = None  # of one batch; more are refused
        self.rpc_refusals: dict[str, tuple[int, Any]] = {}  # status and body for `topics`, `logs`, `calls`, `blocks`
        self.frozen_at: int | None = None  # the number of the newest block this node will ever hold
        self.keeps: int | None = None  # newest blocks; older ones but the first of all are gone, logs and receipts too
        self.told_from = 0  # number of the oldest block with receipts and logs, as after a start from a snapshot
        self.shows_genesis = True
        self.solid_behind = 0  # blocks its irreversible side lags behind what the producers have made so
        self.headers: dict[str, str] = {}  # of every answer
        self.unknown: Json = {}  # put into every answer that is an object
        self.claims_chain: int | None = None  # the chain JSON-RPC claims to be
        self.drops_fingerprint = False
        self.ignores_confirmed = False  # unconfirmed rows, whatever is asked
        self.reverses_rows = False  # newest first, whatever is asked
        self.repeats_rows = False  # every further page begins with the last row of the one before
        self.most_rows: int | None = None  # rows of one window of time, however many pages are asked for
        self.stale_at: int | None = None  # ms: rows of younger blocks are not in the v1 index yet
        self.unlisted: set[str] = set()  # transactions the v1 index does not show yet
        self.unreadable_accounts: set[str] = set()  # whose histories are answered with an error
        self.unindexed: set[str] = set()  # transactions whose receipts are not there yet
        self.unindexed_blocks: set[int] = set()
        self.without_receipt: Callable[[str], bool] | None = None  # transactions whose receipts it has nowhere
        self.strange_receipts: dict[str, Any] = {}  # transactions whose receipt is this, or has this put into it
        self.spoilt_rows: dict[str, Json] = {}  # put into the rows of histories about these transactions
        self.spoilt_logs: Json = {}  # put into every log of eth_getLogs
        self.logs_answer: bytes | None = None  # eth_getLogs for several destinations or blocks answers this
        self.renumbers = 0  # added to every `logIndex` and `event_index`: nodes count differently
        self.clear_faults()

    def top(self, *, solid: bool) -> int:
        """Return the newest block one side of the node holds."""
        head = self.ledger.head if self.frozen_at is None else min(self.ledger.head, self.frozen_at)
        if not solid:
            return head
        return max(0, min(self.ledger.solid, head - self.ledger.solid_depth) - self.solid_behind)

    def holds(self, number: int) -> bool:
        """Say whether this node has a block."""
        if number == 0:
            return self.shows_genesis
        return self.keeps is None or number > self.top(solid=False) - self.keeps

    def tells(self, number: int) -> bool:
        """Say whether this node has the receipts of a block, and its logs."""
        return self.holds(number) and number >= self.told_from
