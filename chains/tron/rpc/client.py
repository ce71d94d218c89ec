"""What is asked of a Tron service, one method a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.rpc.endpoint import Endpoint, Unserved
from chains.rpc.jsonrpc_messages import Call, RpcResult
from chains.rpc.quantities import quantity
from chains.tron.contract_calls import ContractCalls
from chains.tron.decode import (
    Block,
    BlockReceipts,
    Receipt,
    parse_block,
    parse_receipt,
    parse_receipts,
    parse_rpc_block,
    parse_transactions,
)
from chains.tron.rpc.http_service import TronService, layer
from chains.tron.rpc.jsonrpc import json_rpc_of
from chains.tron.rpc.provider_errors import says_not_held
from chains.tron.scan.account_history import History, parse_history, parse_newest

MAX_ROWS = 200  # in one page of history


class BlockNotHeld(ChainUnavailable):
    """The node does not hold a block: not yet, or no longer."""

    def __init__(self, number: int) -> None:
        super().__init__(f"the node does not hold block {number}")
        self.number = number


class TronClient:
    """
    Asks the endpoints of one chain.

    No answer is trusted before the endpoint was seen to serve this chain.
    """

    def __init__(self, service: TronService, *, chain_id: int) -> None:
        self._http = service
        self._rpc = json_rpc_of(service)
        self._chain_id = chain_id
        self.contracts = ContractCalls(service, check=self._check)
        self._older: dict[tuple[Endpoint, bool], bool] = {}  # which of two routes shows blocks, by layer

    def paced(self, share: float) -> TronClient:
        """Return a client for work that has time: with at most this share of the rate."""
        return TronClient(self._http.paced(share), chain_id=self._chain_id)

    async def newest(self, endpoint: Endpoint, *, solid: bool = True) -> Block:
        """Return the newest (irreversible) block."""
        await self._check(endpoint)
        block = parse_block(await self._raw_block(endpoint, None, solid=solid))
        if block is None:
            raise ChainProtocolError("the node has no newest block")
        return block

    async def block(self, endpoint: Endpoint, number: int) -> Block:
        """
        Return an irreversible block by number.

        Raises:
            BlockNotHeld: it is not made yet, or the node keeps none so old.
        """
        block, _ = await self._held_block(endpoint, number)
        return block

    async def is_empty(self, endpoint: Endpoint, number: int) -> bool:
        """Say whether a block really has no transactions; raises what `block` raises."""
        _, raw = await self._held_block(endpoint, number, detail=True)
        return not raw.get("transactions")

    async def transactions(self, endpoint: Endpoint, number: int) -> dict[str, Any]:
        """Return the transactions of a block that may hold events, by id, as they came; raises what `block` raises."""
        _, raw = await self._held_block(endpoint, number, detail=True)
        return parse_transactions(raw)

    async def _held_block(self, endpoint: Endpoint, number: int, *, detail: bool = False) -> tuple[Block, Any]:
        await self._check(endpoint)
        try:
            raw = await self._raw_block(endpoint, number, solid=True, detail=detail)
        except ChainError as exc:
            if says_not_held(str(exc)):
                raise BlockNotHeld(number) from exc
            raise
        block = None if raw is None else parse_block(raw)
        if block is None:
            raise BlockNotHeld(number)
        if block.number != number:
            raise ChainProtocolError(f"asked for block {number}, got block {block.number}")
        return block, raw

    async def receipt(self, endpoint: Endpoint, tx_hash: str, *, solid: bool = True) -> Receipt | None:
        """Return the receipt of an (irreversible) transaction; None when the node does not hold one (yet)."""
        await self._check(endpoint)
        raw = await self._http.post(endpoint, layer("gettransactioninfobyid", solid=solid), {"value": tx_hash})
        receipt = parse_receipt(raw)
        if receipt is not None and receipt.tx_hash != tx_hash:
            raise ChainProtocolError(f"asked for the receipt of {tx_hash}, got another")
        return receipt

    async def receipts(self, endpoint: Endpoint, number: int) -> BlockReceipts:
        """Return all receipts of an irreversible block; none as well when the node has not indexed it yet."""
        await self._check(endpoint)
        raw = await self._http.post(endpoint, "/walletsolidity/gettransactioninfobyblocknum", {"num": number})
        return parse_receipts(raw, number)

    async def history(
        self, endpoint: Endpoint, address: str, *, first: int, last: int, fingerprint: str | None
    ) -> History:
        """Return a page of what an account received between two times in ms, oldest first."""
        await self._check(endpoint)
        # Unknown parameters are ignored without a word: a misspelt one would return everything.
        params = {
            "only_confirmed": "true",
            "only_to": "true",
            "order_by": "block_timestamp,asc",
            "limit": str(MAX_ROWS),
            "min_timestamp": str(first),
            "max_timestamp": str(last),
        }
        if fingerprint is not None:
            params["fingerprint"] = fingerprint
        return parse_history(await self._http.get(endpoint, f"/v1/accounts/{address}/transactions/trc20", params))

    async def indexed_until(self, endpoint: Endpoint, contract: str) -> int:
        """Return the time in ms of the newest irreversible event of a contract that the index knows; 0 without any."""
        await self._check(endpoint)
        params = {"only_confirmed": "true", "order_by": "block_timestamp,desc", "limit": "1"}
        return parse_newest(await self._http.get(endpoint, f"/v1/contracts/{contract}/events", params))

    async def coins(self, endpoint: Endpoint, address: str, *, solid: bool) -> int:
        """Return an account's TRX; an account that was never used holds none."""
        await self._check(endpoint)
        raw = await self._http.post(endpoint, layer("getaccount", solid=solid), {"address": address, "visible": True})
        if not isinstance(raw, dict) or (raw and raw.get("address") != address):
            raise ChainProtocolError("getaccount did not answer with the account")
        balance = raw.get("balance", 0)
        if not isinstance(balance, int) or isinstance(balance, bool) or balance < 0:
            raise ChainProtocolError("getaccount did not answer with a balance")
        return balance

    async def rpc(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[RpcResult]:
        """
        Make JSON-RPC calls, in as few requests as the endpoint takes; answers in the order asked.

        Raises:
            Unserved: this endpoint speaks no JSON-RPC.
        """
        await self._check(endpoint)
        return await self._rpc.call_batch(endpoint, calls)

    async def chain_of_rpc(self, endpoint: Endpoint) -> int:
        """Return the chain the JSON-RPC side says it serves."""
        (answer,) = await self.rpc(endpoint, [("eth_chainId", ())])
        return quantity(answer.get())

    async def _check(self, endpoint: Endpoint) -> None:
        """The last four bytes of the genesis block's id are the chain id."""
        if endpoint.checked:
            return
        genesis = parse_block(await self._raw_block(endpoint, 0, solid=True))
        if genesis is not None and genesis.number == 0:
            chain_id = int(genesis.id[-8:], 16)
        else:
            chain_id = await self._told_chain(endpoint)
        if chain_id != self._chain_id:
            raise ChainMisconfigured(f"{endpoint.label} serves chain {chain_id}, expected chain {self._chain_id}")
        endpoint.checked = True

    async def _told_chain(self, endpoint: Endpoint) -> int:
        """Return the chain a node says it serves: one that keeps only the last blocks shows no genesis block."""
        try:
            (answer,) = await self._rpc.call_batch(endpoint, [("eth_chainId", ())])
            return quantity(answer.get())
        except Unserved:
            raise ChainProtocolError("the node does not show its genesis block") from None

    async def newest_by_rpc(self, endpoint: Endpoint) -> Block | None:
        """Return the newest block, irreversible or not, as JSON-RPC tells it."""
        (answer,) = await self.rpc(endpoint, [("eth_getBlockByNumber", ("latest", False))])
        return parse_rpc_block(answer.get())

    async def _raw_block(self, endpoint: Endpoint, number: int | None, *, solid: bool, detail: bool = False) -> Any:
        """Return a block, the newest one without a number; nodes without `getblock` have a route for either."""
        if not self._older.get((endpoint, solid)):
            which = {"detail": detail} if number is None else {"id_or_num": str(number), "detail": detail}
            try:
                return await self._http.post(endpoint, layer("getblock", solid=solid), which)
            except Unserved:
                answer = await self._older_block(endpoint, number, solid=solid)
                self._older[endpoint, solid] = True
                return answer
        return await self._older_block(endpoint, number, solid=solid)

    async def _older_block(self, endpoint: Endpoint, number: int | None, *, solid: bool) -> Any:
        if number is None:
            return await self._http.post(endpoint, layer("getnowblock", solid=solid), {})
        return await self._http.post(endpoint, layer("getblockbynum", solid=solid), {"num": number})
