"""What a TonCenter holds, and what may be wrong with it: the state its index answers from."""

from __future__ import annotations

from typing import Any

from devnet.fault_server import FaultServer
from devnet.ton.ledger import Json, TonLedger

MAINNET = -239


class TonDefects(FaultServer):
    """A ledger as one endpoint shows it. Its attributes are its lasting defects."""

    def __init__(self, ledger: TonLedger) -> None:
        super().__init__()
        self.ledger = ledger
        self.heal()

    def heal(self) -> None:
        """Behave from now on; what hangs is let go."""
        self.network = MAINNET
        self.behind_s = 0  # the whole index stands this far below the chain, and says so
        self.frozen_at: int | None = None  # unix seconds of the newest block this index will ever hold
        self.begins_at = 0  # unix seconds of the oldest block this index has, and of the oldest transfer
        self.lt_ahead = 0  # added to the logical time of the newest block it claims
        self.headers: dict[str, str] = {}  # of every answer
        self.unknown: Json = {}  # put into every answer
        self.stale_s = 0  # transfers and transactions of the last seconds are missing though the blocks are there
        self.unlisted: set[str] = set()  # payments by `tx_hash` that are not in the index yet though later ones are
        self.late_rows: set[str] = set()  # payments by `tx_hash` without a row, whose transactions are there
        self.wrong_order = False  # `sort` is ignored: newest first
        self.repeats = False  # every row is answered twice
        self.spoilt: Json = {}  # put into every transfer row
        self.spoilt_rows: dict[str, Json] = {}  # put into the rows of payments by `tx_hash`
        self.spoilt_credits: dict[str, Json] = {}  # put into the receiving halves of payments by `tx_hash`
        self.strange_masters: dict[str, Json] = {}  # masters that answer get_wallet_address with this
        self.most_owners: int | None = None  # addresses of one question; more are refused with `refusal`
        self.refusal: tuple[int, Any] = (500, {"code": 500, "error": "context deadline exceeded"})
        self.cuts_long = False  # more are answered by cutting the connection instead
        self.unreadable_owners: set[str] = set()  # questions that name one of these are refused as well
        self.most_rows: int | None = None  # rows of one answer; more are refused
        self.hides_aborted = False  # as the newest indexer does
        self.max_url: int | None = None  # bytes; longer questions are refused
        self.too_long_status = 414
        self.ignored: set[str] = set()  # parameters this endpoint does not know
        self.wrong_wallets: dict[str, str] = {}  # owner: wallet a dishonest index claims the credit went to
        self.strangers: list[Json] = []  # rows of /jetton/wallets that contracts of strangers put there
        self.non_final = False  # transactions are shown before they are final
        self.clear_faults()
