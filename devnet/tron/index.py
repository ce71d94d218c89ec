"""The index of the TronGrid stand-in (`/v1`): histories and events in pages, with what goes wrong with them."""

from __future__ import annotations

import base64
from typing import Any

from aiohttp import web

from chains.tron.address import from_hex, to_hex
from devnet.fault_server import json_response
from devnet.tron.defects import TronDefects
from devnet.tron.ledger import APPROVAL, TRANSFER, Log, Tx

Json = dict[str, Any]
MOST_ROWS = 200


class Index:
    """Answers for a `TronGrid`, with its ledger and its defects."""

    def __init__(self, grid: TronDefects) -> None:
        self._grid = grid
        self._ledger = grid.ledger

    def account_rows(self, address: str, asked: Json) -> web.Response:
        if address in self._grid.unreadable_accounts:
            return web.Response(status=500, body=b'{"error":"the query took too long"}')
        rows = []
        for tx, log, _ in self._indexed():
            if log.topics[0] not in {TRANSFER, APPROVAL} or tx.failed:
                continue
            row = self._row(tx, log)
            to_us, from_us = row["to"] == address, row["from"] == address
            wanted = to_us if asked.get("only_to") == "true" else from_us if asked.get("only_from") == "true" else None
            if wanted if wanted is not None else to_us or from_us:
                rows.append(row)
        contract = asked.get("contract_address")
        return self._page([row for row in rows if contract in {None, row["token_info"]["address"]}], asked)

    def _row(self, tx: Tx, log: Log) -> Json:
        token = from_hex(log.address)
        facts = self._ledger.tokens.get(token)
        return {
            "transaction_id": tx.id,
            "token_info": {
                "symbol": facts.symbol if facts else "",
                "address": token,
                "decimals": facts.decimals if facts else 0,
                "name": facts.symbol if facts else "",
            },
            "block_timestamp": self._ledger.times[tx.block],
            "from": from_hex(log.topics[1][-40:]),
            "to": from_hex(log.topics[2][-40:]),
            "type": "Transfer" if log.topics[0] == TRANSFER else "Approval",
            "value": str(int(log.data or "0", 16)),
        }

    def contract_events(self, contract: str, asked: Json) -> web.Response:
        rows = [self._event(tx, log, index) for tx, log, index in self._indexed() if log.address == to_hex(contract)]
        name = asked.get("event_name")
        return self._page([row for row in rows if name in {None, row["event_name"]}], asked)

    def transaction_events(self, tx_id: str, asked: Json) -> web.Response:
        return self._page([self._event(*found) for found in self._indexed() if found[0].id == tx_id], asked)

    def _event(self, tx: Tx, log: Log, index: int) -> Json:
        source, to = ("0x" + text[-40:] for text in log.topics[1:3])
        value = str(int(log.data or "0", 16))
        contract = from_hex(log.address)
        row: Json = {
            "block_number": tx.block,
            "block_timestamp": self._ledger.times[tx.block],
            "caller_contract_address": contract,
            "contract_address": contract,
            "event_index": index + self._grid.renumbers,
            "event_name": "Transfer" if log.topics[0] == TRANSFER else "Approval",
            "event": "Transfer(address indexed from, address indexed to, uint256 value)",
            "result": {"0": source, "1": to, "2": value, "from": source, "to": to, "value": value},
            "result_type": {"from": "address", "to": "address", "value": "uint256"},
            "transaction_id": tx.id,
        }
        return row | ({"_unconfirmed": True} if tx.block > self._grid.top(solid=True) else {})

    def _indexed(self) -> list[tuple[Tx, Log, int]]:
        """Return the events the index holds, oldest first, with their places in their transactions."""
        last = self._grid.top(solid=False)
        if self._grid.stale_at is not None:
            last = self._ledger.number_at(self._grid.stale_at)
        found = [tx for tx in self._ledger.between(0, last) if tx.id not in self._grid.unlisted]
        return [(tx, log, n) for tx in found for n, log in enumerate(tx.logs) if len(log.topics) >= 3]

    def _page(self, rows: list[Json], asked: Json) -> web.Response:
        """Cut one page. Parameters nobody knows are ignored, as upstream; both kinds of rows are the default."""
        solid_ms = self._ledger.times[self._grid.top(solid=True)]
        if asked.get("only_confirmed") == "true" and not self._grid.ignores_confirmed:
            rows = [row for row in rows if row["block_timestamp"] <= solid_ms]
        elif asked.get("only_unconfirmed") == "true":
            rows = [row for row in rows if row["block_timestamp"] > solid_ms]
        first = int(asked.get("min_timestamp") or asked.get("min_block_timestamp") or 0)
        last = int(asked.get("max_timestamp") or asked.get("max_block_timestamp") or 2**62)
        rows = [row for row in rows if first <= row["block_timestamp"] <= last]
        if asked.get("order_by") != "block_timestamp,asc" or self._grid.reverses_rows:
            rows = rows[::-1]
        rows = rows[: self._grid.most_rows]  # of one window of time, and nothing says that there are more
        limit = min(MOST_ROWS, int(asked.get("limit", 20)))
        start = int(base64.b64decode(asked["fingerprint"])) if "fingerprint" in asked else 0
        page = rows[max(0, start - (1 if self._grid.repeats_rows else 0)) :][:limit]
        page = [row | self._grid.spoilt_rows.get(row["transaction_id"], {}) for row in page]
        meta: Json = {"at": self._ledger.times[-1], "page_size": len(page)}
        end = max(0, start - (1 if self._grid.repeats_rows else 0)) + len(page)
        if end < len(rows) and not self._grid.drops_fingerprint:
            meta["fingerprint"] = base64.b64encode(str(end).encode()).decode()
            meta["links"] = {"next": f"{self._grid.url}/?fingerprint={meta['fingerprint']}"}
        return json_response({"data": page, "success": True, "meta": meta})
