"""What a TonCenter stand-in knows: blocks, transfers, transactions and states, as the index shows them."""

from __future__ import annotations

import base64

from multidict import MultiMapping

from devnet.ton.cells import Bits, address_of, first_bits
from devnet.ton.defects import TonDefects
from devnet.ton.ledger import Json, Payment

MOST_ROWS = 1_000
MOST_ADDRESSES = 1_000
DEFAULT_ROWS = 10

Query = MultiMapping[str]


class QueryRefused(Exception):
    """What the service answers instead of rows."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class TonIndex:
    """Answers for a `TonCenter`, with its ledger and its defects."""

    def __init__(self, center: TonDefects) -> None:
        self._center = center
        self._ledger = center.ledger

    # --- blocks ----------------------------------------------------------------------------------

    def _newest(self) -> int:
        return min(
            self._ledger.now - self._center.behind_s,
            self._ledger.now if self._center.frozen_at is None else self._center.frozen_at,
        )

    def _known_blocks(self) -> list[tuple[int, int]]:
        newest = self._newest()
        return [b for b in self._ledger.blocks if self._center.begins_at <= b[0] <= newest] or self._ledger.blocks[:1]

    def info(self, _: Query) -> Json:
        return {"first": self._block(*self._known_blocks()[0]), "last": self._last_block()}

    def _last_block(self) -> Json:
        time, lt = self._known_blocks()[-1]
        return self._block(time, lt + self._center.lt_ahead)

    def _block(self, time: int, lt: int) -> Json:
        return {
            "workchain": -1,
            "shard": "8000000000000000",
            "seqno": lt // 1_000_000,
            "global_id": self._center.network,
            "gen_utime": str(time),
            "start_lt": str(lt),
            "end_lt": str(lt + 4),
        }

    def blocks(self, query: Query) -> list[Json]:
        found = [
            self._block(time, lt)
            for time, lt in self._known_blocks()
            if time <= _int(query, "end_utime", time) and time >= _int(query, "start_utime", 0)
        ]
        return _page(found if query.get("sort") == "asc" else found[::-1], query)

    # --- transfers -------------------------------------------------------------------------------

    def _indexed(self) -> list[Payment]:
        newest = self._newest() - self._center.stale_s
        reported = (payment for payment in self._ledger.payments if payment.tx_hash not in self._center.unlisted)
        return [payment for payment in reported if self._center.begins_at <= payment.row["transaction_now"] <= newest]

    def transfers(self, query: Query) -> list[Json]:
        rows = [payment.row for payment in self._indexed() if payment.tx_hash not in self._center.late_rows]
        if self._center.hides_aborted:
            rows = [row for row in rows if not row["transaction_aborted"]]
        owners = _addresses(query, "owner_address")
        if owners:
            sides = {"in": ["destination"], "out": ["source"]}.get(
                query.get("direction", ""), ["source", "destination"]
            )
            rows = [row for row in rows if any(row[side] in owners for side in sides)]
        masters = _addresses(query, "jetton_master")
        rows = [row for row in rows if not masters or row["jetton_master"] in masters]
        by_time = "start_utime" in query or "end_utime" in query
        rows = [row for row in rows if _within(query, "utime", row["transaction_now"])]
        rows = [row for row in rows if _within(query, "lt", int(row["transaction_lt"]))]
        # Sorting by time has no tie-break upstream, and rows of one second come in any order.
        rows.sort(key=lambda row: row["transaction_now"] if by_time else int(row["transaction_lt"]))
        if query.get("sort", "desc") == "desc" or self._center.wrong_order:
            rows.reverse()
        spoilt = {base64.b64encode(bytes.fromhex(key)).decode(): how for key, how in self._center.spoilt_rows.items()}
        page = [{**row, **self._center.spoilt, **spoilt.get(row["transaction_hash"], {})} for row in _page(rows, query)]
        return [row for row in page for _ in range(2)][: max(len(page), MOST_ROWS)] if self._center.repeats else page

    # --- transactions ----------------------------------------------------------------------------

    def _happened(self) -> list[Json]:
        return [self._shown(tx, payment) for payment in self._indexed() for tx in payment.happened]

    def _shown(self, transaction: Json, payment: Payment) -> Json:
        claimed = self._center.wrong_wallets.get(payment.row["destination"])
        row = {**transaction, "finality": "pending"} if self._center.non_final else transaction
        if transaction["account"] != payment.wallet:
            return row
        row = {**row, **self._center.spoilt_credits.get(payment.tx_hash, {})}
        return row if claimed is None else {**row, "account": claimed}

    def transactions(self, query: Query) -> list[Json]:
        accounts = _addresses(query, "account")
        rows = [tx for tx in self._happened() if not accounts or tx["account"] in accounts]
        if "hash" in query:
            rows = [tx for tx in rows if _same_hash(tx["hash"], query["hash"])]
        rows = [tx for tx in rows if _within(query, "lt", int(tx["lt"]))]
        rows.sort(key=lambda tx: int(tx["lt"]), reverse=query.get("sort", "desc") == "desc")
        return _page(rows, query)

    def adjacent(self, query: Query) -> list[Json]:
        rows = self._happened()
        asked = next((tx for tx in rows if _same_hash(tx["hash"], query.get("hash", ""))), None)
        if asked is None:
            raise QueryRefused(404, "transaction not found")
        sent = {message["hash"] for message in asked["out_msgs"]}
        if query.get("direction", "out") == "out":
            found = [tx for tx in rows if tx["in_msg"]["hash"] in sent]
        else:
            found = [tx for tx in rows if asked["in_msg"]["hash"] in {message["hash"] for message in tx["out_msgs"]}]
        if not found:
            raise QueryRefused(404, "adjacent transactions not found")
        return found

    def traces(self, query: Query) -> list[Json]:
        wanted, ids = query.getall("tx_hash", []), query.getall("trace_id", [])
        traces: dict[str, list[Payment]] = {}
        for payment in self._indexed():
            traces.setdefault(payment.row["trace_id"], []).append(payment)
        found = []
        for trace_id, payments in traces.items():
            rows = [tx for payment in payments for tx in payment.happened]
            hit = any(_same_hash(tx["hash"], text) for tx in rows for text in wanted)
            if hit or any(_same_hash(trace_id, text) for text in ids):
                lts = [int(tx["lt"]) for tx in rows]
                found.append(
                    {
                        "trace_id": trace_id,
                        "start_lt": str(min(lts)),
                        "end_lt": str(max(lts)),
                        "is_incomplete": any(payment.pending for payment in payments),
                        "transactions": {tx["hash"]: tx for tx in rows},
                    }
                )
        return _page(found, query)

    def actions(self, query: Query) -> list[Json]:
        """Like the real one, `trace_id` switches every other filter off and keeps the default limit."""
        ids = query.getall("trace_id", [])
        found = [
            {
                "trace_id": payment.row["trace_id"],
                "type": "jetton_transfer",
                "success": payment.credited > 0,
                "transactions": [tx["hash"] for tx in payment.happened],
            }
            for payment in self._indexed()
            if any(_same_hash(payment.row["trace_id"], text) for text in ids)
        ]
        return _page(found, query)

    # --- states ----------------------------------------------------------------------------------

    def wallets(self, query: Query) -> list[Json]:
        owners, masters = _addresses(query, "owner_address"), _addresses(query, "jetton_address")
        found = [
            {"address": self._ledger.wallet(master, owner), "owner": owner, "jetton": master, "balance": str(balance)}
            for master, paid in self._ledger.owners().items()
            for owner in sorted(paid)
            if (balance := self._ledger.balance(master, owner)) is not None
        ]
        rows = [row for row in [*self._center.strangers, *found] if not owners or row["owner"] in owners]
        return _page([row for row in rows if not masters or row["jetton"] in masters], query)

    def masters(self, query: Query) -> Json:
        wanted = _addresses(query, "address")
        reported = {a: content for a, content in self._ledger.masters.items() if not wanted or a in wanted}
        # As for USDT: decimals are on chain, the symbol is in a file the indexer has fetched.
        rows = [
            {"address": address, "mintable": True, "jetton_content": {"decimals": content["decimals"]}}
            for address, content in reported.items()
        ]
        about = {
            address: {"is_indexed": True, "token_info": [{"type": "jetton_masters", "symbol": content["symbol"]}]}
            for address, content in reported.items()
        }
        return {"jetton_masters": _page(rows, query), "address_book": {}, "metadata": about}

    def accounts(self, query: Query) -> list[Json]:
        wanted = _addresses(query, "address")
        if not wanted:
            raise QueryRefused(422, "address of account is required")
        coins = {address: amount for address, amount in self._ledger.coins.items() if address in wanted}
        return _page([{"address": a, "balance": str(n), "status": "active"} for a, n in coins.items()], query)

    def run(self, question: Json) -> Json:
        master, method = str(question["address"]).upper(), question["method"]
        if master not in self._ledger.masters:
            return {"gas_used": 0, "exit_code": -13, "stack": []}
        if method == "get_wallet_address":
            if master in self._center.strange_masters:
                return self._center.strange_masters[master]
            owner = address_of(first_bits(question["stack"][0]["value"]))
            boc = Bits().address(self._ledger.wallet(master, owner)).boc()
            return {"gas_used": 1500, "exit_code": 0, "stack": [{"type": "cell", "value": boc}]}
        if method == "get_jetton_data":
            numbers = [{"type": "num", "value": "0x0"}, {"type": "num", "value": "-0x1"}]
            empty = {"type": "cell", "value": Bits().boc()}
            code = {"type": "cell", "value": self._ledger.recorded["wallet_code"]["boc"]}
            return {"gas_used": 900, "exit_code": 0, "stack": [*numbers, empty, empty, code]}
        return {"gas_used": 0, "exit_code": 11, "stack": []}


def _page(rows: list[Json], query: Query) -> list[Json]:
    limit, offset = _int(query, "limit", DEFAULT_ROWS), _int(query, "offset", 0)
    if limit > MOST_ROWS:
        raise QueryRefused(422, f"limit is not allowed: {limit} > {MOST_ROWS}")
    return rows[offset : offset + limit]


def _int(query: Query, name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError as exc:
        raise QueryRefused(422, f"{name}: {text} is not a number") from exc


def _within(query: Query, kind: str, value: int) -> bool:
    """Both ends are included, whatever the documentation says."""
    return _int(query, f"start_{kind}", value) <= value <= _int(query, f"end_{kind}", value)


def _addresses(query: Query, name: str) -> set[str]:
    texts = query.getall(name, [])
    if len(texts) > MOST_ADDRESSES:
        raise QueryRefused(422, f"{name}: at most {MOST_ADDRESSES} values are allowed")
    return {_raw(text) for text in texts}


def _raw(text: str) -> str:
    """Read an address in any form, as the real service does."""
    if ":" in text:
        return text.upper()
    data = base64.b64decode(text, altchars=b"-_")
    return f"{int.from_bytes(data[1:2], 'big', signed=True)}:{data[2:34].hex().upper()}"


def _same_hash(stored: str, text: str) -> bool:
    return text == stored or text.lower() == base64.b64decode(stored).hex()
