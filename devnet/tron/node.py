"""The node behind a TronGrid stand-in: blocks, receipts, contracts and accounts, with what goes wrong with them."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from addresses.base58 import decode_check
from chains.tron.address import from_hex
from devnet.fault_server import json_response
from devnet.tron.defects import TronDefects
from devnet.tron.ledger import Tx

Json = dict[str, Any]
_TRIGGER_ZERO = "0" * 64


class TronNode:
    """Answers for a `TronGrid`, with its ledger and its defects."""

    def __init__(self, grid: TronDefects) -> None:
        self._grid = grid
        self._ledger = grid.ledger

    def now(self, _name: str, _asked: Json, *, solid: bool) -> web.Response:
        return json_response(self.block(self._grid.top(solid=solid)))

    def block_or_header(self, _name: str, asked: Json, *, solid: bool) -> web.Response:
        number = int(asked["id_or_num"]) if "id_or_num" in asked else self._grid.top(solid=solid)
        block = self.block(number) if 0 <= number <= self._grid.top(solid=solid) and self._grid.holds(number) else {}
        if not asked.get("detail"):
            block.pop("transactions", None)
        return json_response(block)

    def block_by_number(self, _name: str, asked: Json, *, solid: bool) -> web.Response:
        number = int(asked["num"])
        return json_response(
            self.block(number) if 0 <= number <= self._grid.top(solid=solid) and self._grid.holds(number) else {}
        )

    def block(self, number: int) -> Json:
        ledger = self._ledger
        raw: Json = {
            "number": number,
            "txTrieRoot": "0" * 64,
            "witness_address": "41" + "27" * 20,
            "parentHash": ledger.block_id(number - 1) if number else "0" * 64,
            "version": 31,
            "timestamp": ledger.times[number],
        }
        if number == 0:
            del raw["number"]  # proto3 leaves zeros out
        block: Json = {"blockID": ledger.block_id(number), "block_header": {"raw_data": raw, "witness_signature": ""}}
        if number in ledger.by_block:
            block["transactions"] = [{"txID": tx.id} for tx in ledger.by_block[number]]
        return block

    def receipt(self, _name: str, asked: Json, *, solid: bool) -> web.Response:
        tx = self._ledger.by_id.get(str(asked["value"]))
        hidden = (
            tx is None
            or tx.id in self._grid.unindexed
            or self.lacks(tx)
            or not 0 <= tx.block <= self._grid.top(solid=solid)
        )
        hidden = hidden or (tx is not None and not self._grid.tells(tx.block))
        return json_response({} if hidden or tx is None else self.shown(tx))

    def receipts(self, _name: str, asked: Json, *, solid: bool) -> web.Response:
        number = int(asked["num"])
        if (
            number > self._grid.top(solid=solid)
            or number in self._grid.unindexed_blocks
            or not self._grid.tells(number)
        ):
            return json_response([])
        return json_response([self.shown(tx) for tx in self._ledger.by_block.get(number, []) if not self.lacks(tx)])

    def lacks(self, tx: Tx) -> bool:
        return self._grid.without_receipt is not None and self._grid.without_receipt(tx.id)

    def shown(self, tx: Tx) -> Any:
        """Return a receipt, or what this node makes of it."""
        if tx.id not in self._grid.strange_receipts:
            return self.info(tx)
        strange = self._grid.strange_receipts[tx.id]
        return self.info(tx) | strange if isinstance(strange, dict) and strange else strange

    def info(self, tx: Tx) -> Json:
        """Return a receipt; like every proto3 message, without what is empty."""
        info: Json = {
            "id": tx.id,
            "fee": 345_000,
            "blockNumber": tx.block,
            "blockTimeStamp": self._ledger.times[tx.block],
            "contractResult": ["" if tx.result is None else _TRIGGER_ZERO],
            "receipt": {"net_usage": 345},
        }
        if tx.result is not None:
            info["receipt"]["result"] = tx.result
        if tx.failed:
            info |= {"result": "FAILED", "resMessage": b"REVERT opcode executed".hex()}
        if tx.logs:
            info["log"] = [{"address": log.address, "topics": list(log.topics), "data": log.data} for log in tx.logs]
        return info

    def constant(self, _name: str, asked: Json, *, solid: bool) -> web.Response:
        token = _spelt(asked["contract_address"])
        if token not in self._ledger.tokens:
            text = b"Smart contract is not exist.".hex()
            return json_response({"result": {"code": "CONTRACT_VALIDATE_ERROR", "message": text}})
        selector, parameter = str(asked["function_selector"]), str(asked.get("parameter", ""))
        result = self.call(token, selector, parameter, at=self._grid.top(solid=solid))
        outcome: Json = {"result": True}
        if result is None:
            outcome["message"] = b"REVERT opcode executed".hex()
        return json_response({"result": outcome, "energy_used": 541, "constant_result": [result or ""]})

    def call(self, token: str, selector: str, parameter: str, *, at: int) -> str | None:
        """Return what a token contract answers; None when it reverts."""
        facts = self._ledger.tokens[token]
        match selector:
            case "decimals()":
                return f"{facts.decimals:064x}"
            case "symbol()":
                text = facts.symbol.encode()
                return f"{32:064x}{len(text):064x}" + text.hex().ljust(-(-len(text) // 32) * 64, "0")
            case "balanceOf(address)" if not facts.broken:
                return f"{self._ledger.balance(from_hex(parameter[-40:]), token, at):064x}"
        return None

    def account(self, _name: str, asked: Json, *, solid: bool) -> web.Response:
        address = _spelt(asked["address"])
        moves = [m for tx in self._ledger.between(0, self._grid.top(solid=solid)) for m in tx.moves if m.token is None]
        if not any(address in {move.source, move.to} for move in moves):
            return json_response({})  # never activated
        balance = self._ledger.balance(address, None, self._grid.top(solid=solid))
        return json_response(
            {"address": asked["address"], "create_time": 1} | ({"balance": balance} if balance else {})
        )


def _spelt(address: str) -> str:
    """Return an address of a request, in hex or base58, in base58."""
    return from_hex(address[2:]) if address.startswith("41") else from_hex(decode_check(address)[1:].hex())
