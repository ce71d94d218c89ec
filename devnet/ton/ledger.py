"""A TON ledger that tests drive: masterchain blocks, and jetton transfers as real contracts made them."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from devnet.ton.cells import Known, internal_transfer, wallet_address
from devnet.ton.transactions import transaction_cell

Json = dict[str, Any]

RECORDED = Path(__file__).parent / "recorded.json"
HISTORY_S = 2 * 24 * 3600
LT_A_BLOCK = 1_000_000
_LTS = {"lt", "created_lt", "transaction_lt", "prev_trans_lt"}
_TIMES = {"now", "created_at", "transaction_now"}
_HASHES = {"hash", "transaction_hash", "trace_id", "prev_trans_hash"}
_TRANSFER = "0x0f8a7ea5"
_CREDIT = "0x178d4519"


@dataclass(slots=True, eq=False)
class Payment:
    """One jetton transfer: the row of its sending half, and every transaction of its trace."""

    row: Json
    transactions: list[Json]
    wallet: str  # the destination's jetton wallet
    pending: bool = False  # only the sending half has happened so far
    cells: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)  # what makes a node's answers, by hash

    @property
    def tx_hash(self) -> str:
        """Hash of the sending transaction, as the scanner writes it."""
        return base64.b64decode(self.row["transaction_hash"]).hex()

    @property
    def happened(self) -> list[Json]:
        """Transactions that are on the chain by now."""
        if not self.pending:
            return self.transactions
        return [tx for tx in self.transactions if int(tx["lt"]) <= int(self.row["transaction_lt"])]

    @property
    def credited(self) -> int:
        """What the destination has received by now."""
        received = [tx for tx in self.happened if tx["in_msg"]["opcode"] == _CREDIT]
        return sum(int(self.row["amount"]) for tx in received if not tx["description"]["aborted"])


class TonLedger:
    """
    What has happened on the chain. Times are unix seconds of the newest masterchain block.

    `pay` repeats a recorded case with other parties, amounts and times; `replay` puts it in as recorded.
    """

    def __init__(self, now: int | None = None) -> None:
        self.recorded: Json = json.loads(RECORDED.read_text())
        self.now = int(time.time()) if now is None else now
        self.lt = LT_A_BLOCK
        self.blocks: list[tuple[int, int]] = []  # time and logical time of masterchain blocks, oldest first
        self.payments: list[Payment] = []
        self.coins: dict[str, int] = {}
        self.master: str = self.recorded["master"]
        self.masters: dict[str, Json] = {}
        self.own_way: set[str] = set()  # masters whose wallets are not where their code would put them
        code = self.recorded["wallet_code"]
        self._code = Known(base64.b64decode(code["hash"]), code["depth"])
        self._seal(self.now - HISTORY_S)
        self._seal(self.now)
        self.issue(self.master, "USD₮", 6)
        self.issue(self.recorded["other_master"], "FAKE", 9)

    @property
    def buyer(self) -> str:
        return str(self.recorded["buyer"])

    @property
    def shop(self) -> str:
        return str(self.recorded["shop"])

    def advance(self, seconds: int = 5) -> None:
        """Let time pass and produce a masterchain block."""
        self.now += seconds
        self._seal(self.now)

    def issue(self, master: str, symbol: str, decimals: int) -> None:
        """Deploy a jetton master."""
        self.masters[master] = {"symbol": symbol, "decimals": str(decimals)}

    def wallet(self, master: str, owner: str) -> str:
        """Return where an owner's jetton wallet is."""
        if master in self.own_way:
            return f"0:{hashlib.sha256(f'{master} {owner}'.encode()).hexdigest().upper()}"
        return wallet_address(self._code, master=master, owner=owner)

    def balance(self, master: str, owner: str) -> int | None:
        """Return what an owner holds of a jetton; None when there is no wallet. Whoever sends has enough."""
        ours = [p for p in self.payments if p.row["jetton_master"] == master and not p.row["transaction_aborted"]]
        got = [p.credited for p in ours if p.row["destination"] == owner]
        # A bounced amount comes back; one that is on its way has left.
        gave = sum(int(p.row["amount"]) for p in ours if p.row["source"] == owner and (p.pending or p.credited))
        return max(0, sum(got) - gave) if any(got) else None

    def owners(self) -> dict[str, set[str]]:
        """Return who was paid, by master."""
        paid: defaultdict[str, set[str]] = defaultdict(set)
        for payment in self.payments:
            paid[payment.row["jetton_master"]].add(payment.row["destination"])
        return paid

    def case(self, name: str) -> Json:
        """Return a recorded case."""
        found: Json = next(case for case in self.recorded["cases"] if case["name"] == name)
        return found

    def replay(self, name: str, *, pending: bool = False) -> Payment:
        """Put a case on the chain exactly as it was recorded; the next block is produced after it."""
        case = self.case(name)
        cells = {key: partial(base64.b64decode, boc) for key, boc in case["cells"].items()}
        payment = Payment(case["transfer"], case["transactions"], case["destination_wallet"], pending, cells)
        self.payments.append(payment)
        self.lt = max(self.lt, *(int(tx["lt"]) for tx in payment.transactions))
        self.now = max(self.now, payment.row["transaction_now"])
        self._seal(self.now)
        return payment

    def pay(
        self,
        owner: str,
        amount: int = 5_000_000,
        *,
        name: str = "success",
        master: str | None = None,
        sender: str | None = None,
        at: int | None = None,
        lt: int | None = None,
        pending: bool = False,
        with_: Payment | None = None,
    ) -> Payment:
        """
        Repeat a recorded case: the same transactions with these parties, this amount, now.

        `at` and `lt` are the unix time and the logical time of the sending transaction, when they matter.
        `with_` is a payment that the same message of the same wallet caused: both are of one trace.
        """
        case = self.case(name)
        master, sender = master or self.master, sender or self.buyer
        self.lt += LT_A_BLOCK
        wallet = self.wallet(master, owner)
        old = case["transfer"]
        copy = _Copy(
            addresses={
                old["destination"]: owner,
                case["destination_wallet"]: wallet,
                old["source"]: sender,
                old["source_wallet"]: self.wallet(master, sender),
                old["jetton_master"]: master,
            },
            lt=(self.lt if lt is None else lt) - int(old["transaction_lt"]),
            time=self.now if at is None else at,
            nonce=str(len(self.payments)),
        )
        credit = internal_transfer(query_id=int(old["query_id"]), amount=amount, sender=sender, forward=0)
        row = {**copy.of(old), "amount": str(amount)}
        if with_ is not None:
            row["trace_id"] = with_.row["trace_id"]
        transactions = [_with_credit(copy.of(tx), credit) for tx in case["transactions"]]
        payment = Payment(row, transactions, wallet, pending, _hashed(row, transactions, copy.nonce))
        self.payments.append(payment)
        self.lt = max(self.lt, *(int(tx["lt"]) for tx in transactions))
        return payment

    def _seal(self, at: int) -> None:
        self.lt += LT_A_BLOCK
        self.blocks.append((at, self.lt))


@dataclass(frozen=True, slots=True)
class _Copy:
    """Copies recorded rows: other parties, other times, other hashes, everything else as it was."""

    addresses: Mapping[str, str]
    lt: int  # added to every logical time
    time: int
    nonce: str

    def of(self, row: Json) -> Json:
        return {key: self._value(key, value) for key, value in row.items()}

    def _value(self, key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return self.of(value)
        if isinstance(value, list):
            return [self._value(key, item) for item in value]
        if isinstance(value, bool | None):
            return value
        return self._moved(key, value)

    def _moved(self, key: str, value: str | int) -> str | int:
        if key in _LTS:
            return str(max(0, int(value) + self.lt))
        if key in _TIMES:
            return self.time if isinstance(value, int) else str(self.time)
        if key in _HASHES:
            return base64.b64encode(hashlib.sha256(f"{value}{self.nonce}".encode()).digest()).decode()
        return self.addresses.get(value, value) if isinstance(value, str) else value


def _hashed(row: Json, transactions: list[Json], nonce: str) -> dict[str, Callable[[], bytes]]:
    """Give both halves of a transfer the hashes of their cells, and return the cells."""
    cells: dict[str, Callable[[], bytes]] = {}
    for transaction in transactions:
        if transaction["in_msg"]["opcode"] in {_TRANSFER, _CREDIT}:
            sends = transaction["hash"] == row["transaction_hash"]
            cell = transaction_cell(transaction, nonce=nonce)
            transaction["hash"] = base64.b64encode(cell.known.hash).decode()
            cells[transaction["hash"]] = cell.boc
            if sends:
                row["transaction_hash"] = transaction["hash"]
    return cells


def _with_credit(transaction: Json, body: str) -> Json:
    """Put the amount that is paid into the message between the wallets."""
    for message in [transaction["in_msg"], *transaction["out_msgs"]]:
        if message["opcode"] == _CREDIT:
            message["message_content"] = {**message["message_content"], "body": body}
    return transaction
