"""A node of an EVM chain, as far as a sweep asks one: what it holds is what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from devnet.fault_server import serving
from marketplace.payments.sweeps.evm import BALANCE_OF

GWEI = 10**9


class EvmNodeStub:
    """Balances and numbers by address, in small letters."""

    def __init__(self) -> None:
        self.url = ""
        self.chain_id = 97
        self.nonces: dict[str, int] = {}
        self.tokens: dict[str, int] = {}
        self.coins: dict[str, int] = {}
        self.fails: set[str] = set()
        self.lies: dict[str, Any] = {}  # by method
        self.batches = True
        self.asked: list[int] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.Response:
        calls = await request.json()
        self.asked.append(len(calls))
        if not self.batches:
            return web.json_response({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no batches"}})
        return web.json_response([self._answer(each) for each in reversed(calls)])  # in any order

    def _answer(self, call: dict[str, Any]) -> dict[str, Any]:
        told = {"jsonrpc": "2.0", "id": call["id"]}
        if call["method"] in self.lies:
            return {**told, "result": self.lies[call["method"]]}
        found = self._result(call["method"], call["params"])
        if found is None:
            return {**told, "error": {"code": 3, "message": "execution reverted"}}
        return {**told, "result": found}

    def _result(self, method: str, params: list[Any]) -> Any:
        address = params[0].lower() if params and isinstance(params[0], str) else ""
        return {
            "eth_chainId": lambda: hex(self.chain_id),
            "eth_getTransactionCount": lambda: hex(self.nonces.get(address, 0)),
            "eth_getBalance": lambda: hex(self.coins.get(address, 0)),
            "eth_call": lambda: self._balance(params[0]["data"]),
            "eth_getBlockByNumber": lambda: {"baseFeePerGas": hex(5 * GWEI)},
            "eth_maxPriorityFeePerGas": lambda: hex(GWEI),
            "eth_estimateGas": lambda: None if params[0]["from"].lower() in self.fails else hex(50_000),
        }[method]()

    def _balance(self, data: str) -> str:
        assert data.startswith(f"0x{BALANCE_OF}")
        return f"0x{self.tokens.get('0x' + data[-40:], 0):064x}"


@asynccontextmanager
async def run_evm_node() -> AsyncIterator[EvmNodeStub]:
    """Run one on a free port until the block ends."""
    node = EvmNodeStub()
    async with serving(node.app()) as url:
        node.url = url
        yield node
